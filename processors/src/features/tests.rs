//! The step against a slow recomputation from all that came so far, over random streams.

mod slow;

use std::collections::{BTreeMap, BTreeSet};

use skuflow_schemas::{
    Availability, BuyBox, CHANGE, Catalog, Currency, Day, Envelope, Event, EventId, Family, Features as Figures,
    Inventory, Key, ListingRef, Money, Offer, Pack, Rank, Role, Sale, SaleStatus, Span, Timestamp, Track,
};

use super::{Config, Features, Market, says_something};
use crate::{Context, Counted, Input, Outbox, Output, Processor, Rows, Seen, SeenIds, Stated, Timer, codec};
use slow::slow_figures;

/// Moments are whole half hours.
const SLOT: i64 = 1_800_000_000;
const START: i64 = 1_704_067_200_000_000;

/// What happens to a product.
#[derive(Clone, Debug)]
enum Happened {
    Said(Event),
    Ended,
    Woken(Timestamp),
}

/// The step with one product.
struct Run {
    step: Features,
    state: Stated<Market>,
    rows: BTreeMap<u64, Vec<u8>>,
    timers: BTreeSet<Timestamp>,
    stream_time: Timestamp,
    happened: Vec<Happened>,
    given: Vec<Figures>,
}

#[derive(Default)]
struct Given {
    figures: Vec<Figures>,
    wakes: Vec<Timestamp>,
}

impl Outbox for Given {
    fn forward(&mut self, output: Output) {
        if let Output::Event { event: Event::Features(figures), .. } = output {
            self.figures.push(*figures);
        }
    }

    fn count(&mut self, _: Counted<'_>) {}

    fn late(&mut self, _: &Event) {}

    fn wake_at(&mut self, due: Timestamp) {
        self.wakes.push(due);
    }
}

impl Rows for BTreeMap<u64, Vec<u8>> {
    fn put(&mut self, row: u64) -> &mut Vec<u8> {
        let value = self.entry(row).or_default();
        value.clear();
        value
    }

    fn edit(&mut self, row: u64) -> &mut Vec<u8> {
        self.entry(row).or_default()
    }

    fn remove(&mut self, row: u64) {
        BTreeMap::remove(self, &row);
    }

    fn get(&mut self, row: u64) -> Option<Vec<u8>> {
        BTreeMap::get(self, &row).cloned()
    }

    fn refuse(&mut self, row: u64, reason: &str) {
        panic!("row {row}: {reason}");
    }
}

struct NoneSeen;

impl SeenIds for NoneSeen {
    fn insert(&mut self, _: Day, _: u16, _: EventId, _: u64) -> Seen {
        Seen::New
    }
}

impl Run {
    fn new(active_within: Span) -> Self {
        Self {
            step: Features::new(Config { active_within }),
            state: Stated::default(),
            rows: BTreeMap::new(),
            timers: BTreeSet::new(),
            stream_time: Timestamp::MIN,
            happened: Vec::new(),
            given: Vec::new(),
        }
    }

    /// Lets time pass as a task does, then what happens; `check` sees each of it.
    fn take(&mut self, happened: Happened, check: &mut dyn FnMut(&Self, usize)) {
        if let Happened::Said(event) = &happened
            && event.observed_at() > self.stream_time
        {
            self.stream_time = event.observed_at();
            while self.timers.first().is_some_and(|due| *due <= self.stream_time) {
                let due = self.timers.pop_first().expect("there is one");
                self.call(Happened::Woken(due), check);
            }
        }
        self.call(happened, check);
    }

    fn call(&mut self, happened: Happened, check: &mut dyn FnMut(&Self, usize)) {
        let mut given = Given::default();
        let context = &mut Context {
            stream_time: self.stream_time,
            value: &[],
            seen: &mut NoneSeen,
            rows: &mut self.rows,
            outbox: &mut given,
        };
        match &happened {
            Happened::Said(event) => self.step.apply(Input::made(event.clone()), &mut self.state, context),
            Happened::Ended => {
                let gone = Input::Tombstone { family: Family::Catalog, key: Key::new("demo", "P-1") };
                self.step.apply(gone, &mut self.state, context);
            }
            Happened::Woken(due) => {
                let timer = Timer { due: *due, step: 0, key: "demo/P-1".into() };
                self.step.wake(&timer, &mut self.state, context);
            }
        }
        // As a task does between two commits.
        let mut stored = Vec::new();
        codec::encode(&*self.state, &mut stored);
        let read: Market = codec::decode(&stored).expect("was just written");
        assert_eq!(read, *self.state, "what is stored is read back");
        self.state = Stated::clean(read);
        self.happened.push(happened);
        self.timers.extend(given.wakes);
        assert!(self.timers.len() <= 1, "one timer at most");
        let count = given.figures.len();
        self.given.extend(given.figures);
        check(self, count);
    }
}

/// Random events of one product, the same for a seed.
struct Stream {
    random: u64,
    now: i64,
    roles: BTreeMap<&'static str, Role>,
    /// The last copy of each offer.
    last: BTreeMap<(&'static str, &'static str), Offer>,
    pending: Vec<Happened>,
    orders: u64,
}

const LISTINGS: [&str; 4] = ["A", "B", "C", "D"];

impl Stream {
    fn new(seed: u64) -> Self {
        let roles = [Role::Own, Role::Own, Role::Competitor, Role::Competitor];
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: START,
            roles: LISTINGS.into_iter().zip(roles).collect(),
            last: BTreeMap::new(),
            pending: Vec::new(),
            orders: 0,
        }
    }

    fn below(&mut self, count: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % count
    }

    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        values[self.below(values.len() as u64) as usize].clone()
    }

    /// Mostly now, sometimes long before.
    fn envelope(&mut self) -> Envelope {
        let back = match self.below(8) {
            0 => self.below(48) as i64,
            1 => self.below(48 * 12) as i64,
            _ => 0,
        };
        let at = Timestamp::from_micros(self.now - back * SLOT);
        let (customer, source, marketplace) = ("demo".into(), "shop".into(), "de".into());
        Envelope { customer, source, marketplace, observed_at: at, ingested_at: at, ..Envelope::default() }
    }

    fn next(&mut self) -> Happened {
        if let Some(happened) = self.pending.pop() {
            return happened;
        }
        let passed = match self.below(40) {
            0 => 48 * self.below(12) as i64,
            1..=8 => 48,
            _ => self.below(16) as i64,
        };
        self.now += passed * SLOT;
        match self.below(24) {
            0..=12 => self.offer(),
            13..=17 => self.sale(),
            18 | 19 => self.stock(),
            20 => self.retract(),
            21 => self.flip(),
            _ => self.entry(),
        }
    }

    fn offer(&mut self) -> Happened {
        let listing = self.pick(&LISTINGS);
        let seller = self.pick(&["x", "y", "z", ""]);
        let code = self.pick(&["EUR", "EUR", "EUR", "EUR", "EUR", "USD"]);
        let amount = |minor| Money { minor, currency: Currency::parse(code).expect("three letters"), exponent: 2 };
        let price = 900 + 50 * self.below(8) as i64;
        let list = self.pick(&[None, Some(1_000), Some(1_200)]);
        let shipping = self.pick(&[None, Some(0), Some(99)]);
        let is_change = matches!(listing, "B" | "D");
        let source_version = is_change.then(|| CHANGE.into());
        let offer = Offer {
            envelope: Envelope { source_version, ..self.envelope() },
            native_id: listing.into(),
            seller: (!seller.is_empty()).then(|| seller.into()),
            price: self.pick(&[Some(price), Some(price), Some(price), None]).map(amount),
            shipping: shipping.map(amount),
            list_price: list.map(amount),
            availability: self.pick(&[
                Availability::InStock,
                Availability::Unknown,
                Availability::OutOfStock,
                Availability::Discontinued,
            ]),
            buy_box: self.pick(&[BuyBox::Won, BuyBox::Lost, BuyBox::Unknown]),
            rating: self.pick(&[None, Some(4.5), Some(3.2)]),
            rating_best: self.pick(&[None, Some(10.0)]),
            review_count: self.pick(&[None, Some(7), Some(9)]),
            ranks: self.pick(&[vec![], vec![100, 40], vec![60]]).into_iter().map(rank).collect(),
            pack: self.pick(&[None, Some(Pack { quantity: 250.0, unit: "ml".into() })]),
            suspect: self.pick(&[vec![], vec![], vec![], vec!["magnitude-jump".into()]]),
            ..Offer::default()
        };
        let known = self.last.get(&(listing, seller));
        if known.is_none_or(|known| known.envelope.observed_at <= offer.envelope.observed_at) {
            self.last.insert((listing, seller), offer.clone());
        }
        self.copy(listing, &offer, false)
    }

    fn copy(&self, listing: &str, offer: &Offer, retracted: bool) -> Happened {
        let track = Track { product: "P-1".into(), role: self.roles[listing], retracted };
        Happened::Said(Event::Offer(Box::new(Offer { track: Some(track), ..offer.clone() })))
    }

    /// Copies of the last offers of `listing`.
    fn copies(&self, listing: &str, retracted: bool) -> Vec<Happened> {
        let offers = self.last.iter().filter(|((of, _), _)| *of == listing);
        offers.map(|(_, offer)| self.copy(listing, offer, retracted)).collect()
    }

    fn retract(&mut self) -> Happened {
        let listing = self.pick(&LISTINGS);
        let again = self.copies(listing, false);
        let gone = self.copies(listing, true);
        if self.below(2) == 0 {
            self.pending.extend(again);
        }
        self.pending.extend(gone);
        self.next()
    }

    /// The listing changes sides: its last offers come again in the other role.
    fn flip(&mut self) -> Happened {
        let listing = self.pick(&LISTINGS);
        let role = if self.roles[listing] == Role::Own { Role::Competitor } else { Role::Own };
        self.roles.insert(listing, role);
        let again = self.copies(listing, false);
        self.pending.extend(again);
        self.next()
    }

    fn sale(&mut self) -> Happened {
        self.orders += 1;
        let order = self.orders - self.below(6).min(self.orders);
        Happened::Said(Event::Sale(Box::new(Sale {
            envelope: self.envelope(),
            native_id: "A".into(),
            order_id: order.to_string().into(),
            line_id: "1".into(),
            units: self.pick(&[1, 2, 5, -1]),
            status: self.pick(&[
                SaleStatus::Completed,
                SaleStatus::Cancelled,
                SaleStatus::Returned,
                SaleStatus::Pending,
            ]),
            track: Some(Track { product: "P-1".into(), role: Role::Own, retracted: false }),
            ..Sale::default()
        })))
    }

    fn stock(&mut self) -> Happened {
        Happened::Said(Event::Inventory(Box::new(Inventory {
            envelope: self.envelope(),
            native_id: self.pick(&["A", "B"]).into(),
            location: self.pick(&["north", "south"]).into(),
            quantity: self.below(50) as i64,
            track: Some(Track { product: "P-1".into(), role: Role::Own, retracted: false }),
            ..Inventory::default()
        })))
    }

    fn entry(&mut self) -> Happened {
        if self.below(8) == 0 {
            return Happened::Ended;
        }
        let listing = |id: &str| ListingRef {
            source: "shop".into(),
            marketplace: "de".into(),
            native_id: id.into(),
            seller: None,
        };
        let cost = Money { minor: 800, currency: Currency::parse("EUR").expect("three letters"), exponent: 2 };
        Happened::Said(Event::Catalog(Box::new(Catalog {
            envelope: self.envelope(),
            product: "P-1".into(),
            currency: self.pick(&[None, None, Some("EUR".into()), Some("EUR".into()), Some("USD".into())]),
            cost: self.pick(&[None, Some(cost)]),
            own: self.pick(&[vec!["A"], vec!["A", "B"]]).into_iter().map(listing).collect(),
            active: self.below(8) != 0,
            ..Catalog::default()
        })))
    }
}

fn rank(rank: i64) -> Rank {
    Rank { category: "x".into(), rank }
}

/// How `figures` differ from the slow ones of all that `happened`, which may differ in the last bits.
fn difference(figures: &Figures, happened: &[Happened], active: i64) -> Option<String> {
    let (values, reasons) = slow_figures(happened, active).split();
    // Ratings are kept in millionths of a star.
    let off =
        |name: &str| if ["rating", "quality", "overall"].iter().any(|of| name.contains(of)) { 5e-5 } else { 1e-8 };
    let close = |name: &str, one: Option<f64>, other: Option<f64>| match (one, other) {
        (Some(one), Some(other)) => (one - other).abs() <= off(name) * other.abs().max(1.0),
        (one, other) => one.is_none() && other.is_none(),
    };
    let named = skuflow_schemas::FEATURES.iter().map(|spec| spec.name);
    let ours = figures.values.in_order().into_iter().zip(figures.reasons.in_order());
    let theirs = values.in_order().into_iter().zip(reasons.in_order());
    let mut unlike = named
        .zip(ours.zip(theirs))
        .filter(|(name, (ours, theirs))| !close(name, ours.0, theirs.0) || ours.1 != theirs.1);
    unlike.next().map(|(name, (ours, theirs))| format!("{name} is {ours:?}, not {theirs:?}"))
}

/// The first difference in a stream, and how often each figure was there and was null.
fn first_difference(
    seed: u64,
    active_within: Span,
    events: usize,
    counts: &mut BTreeMap<&str, [u32; 2]>,
) -> Option<String> {
    let (mut run, mut stream) = (Run::new(active_within), Stream::new(seed));
    let mut found = None;
    for _ in 0..events {
        let happened = stream.next();
        run.take(happened, &mut |run, count| {
            assert!(count <= 1, "one vector per event at most");
            let Some(last) = run.given.last() else { return };
            let is_new = |before: &Figures| {
                let said = last.change.as_ref().is_some_and(says_something);
                said || (&before.values, &before.reasons, &before.currency)
                    != (&last.values, &last.reasons, &last.currency)
            };
            let before = run.given.len().checked_sub(2).map(|at| &run.given[at]);
            assert!(count == 0 || before.is_none_or(is_new), "seed {seed}: nothing changed");
            if found.is_none() && !matches!(run.happened.last(), Some(Happened::Ended)) {
                let active = active_within.micros();
                found = difference(last, &run.happened, active).map(|what| {
                    format!("seed {seed}, event {}: {what}: {:?}", run.happened.len(), run.happened.last())
                });
            }
        });
        if found.is_some() {
            return found;
        }
    }
    for figures in &run.given {
        for (spec, value) in skuflow_schemas::FEATURES.iter().zip(figures.values.in_order()) {
            counts.entry(spec.name).or_default()[usize::from(value.is_none())] += 1;
        }
    }
    None
}

/// Late, out of order, taken back, with the catalog first, last or gone: the figures are those of a recomputation.
#[test]
fn figures_are_those_of_a_slow_recomputation() {
    let mut counts = BTreeMap::new();
    for seed in 1..=5 {
        for active_within in [Span::from_days(30), Span::from_days(2)] {
            assert_eq!(first_difference(seed, active_within, 250, &mut counts), None);
        }
    }
    for (name, [present, null]) in counts {
        let is_made = present > 0 || slow::NOT_MADE.contains(&name);
        let is_counted = null > 0 || name.starts_with("product_price_current");
        assert!(is_made && is_counted, "{name}: {present} times present, {null} times null");
    }
}

/// The negative control: many an event shows in the figures, and where one is left out they differ.
#[test]
fn an_event_that_is_not_heard_is_found() {
    let (mut run, mut stream) = (Run::new(Span::from_days(30)), Stream::new(1));
    (0..60).for_each(|_| run.take(stream.next(), &mut |_, _| ()));
    let last = run.given.last().expect("there are figures");
    let active = Span::from_days(30).micros();
    let is_found = |at: &usize| {
        let mut without = run.happened.clone();
        without.remove(*at);
        difference(last, &without, active).is_some()
    };
    let found = (0..run.happened.len()).filter(is_found).count();
    assert!(found * 4 > run.happened.len(), "{found} of {}", run.happened.len());
}
