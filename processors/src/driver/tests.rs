use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};

use skuflow_schemas::{
    BusinessDate, Catalog, Currency, Inventory, Listing, ListingRef, Money, Offer, Rank, Role, Sale, Text, Track,
    Vantage,
};

use super::*;
use crate::REASON_BYTES_MAX;
use crate::codec::{Damage, Reader, Writer};
use crate::validate::{Action, RULES};

#[test]
fn scenarios_come_out_as_they_say() {
    for (scenario, path) in scenarios().zip(files()) {
        let outcome = report(&scenario.run());
        if std::env::var_os("UPDATE_EXPECT").is_none() {
            assert_eq!(outcome, scenario.expected, "{}: UPDATE_EXPECT=1 takes over what comes out", scenario.name);
        } else if outcome != scenario.expected {
            let text = std::fs::read_to_string(&path).expect("was read before");
            let (inputs, _) = text.split_once(OUTCOME).unwrap_or((&text, ""));
            std::fs::write(&path, format!("{inputs}{OUTCOME}{outcome}")).expect("can be written");
        }
    }
}

/// The negative control: each record matters to the outcome, so the outcome would tell if one were lost.
#[test]
fn a_lost_record_shows() {
    for scenario in scenarios() {
        for lost in 0..scenario.inputs.len() {
            let mut without = scenario.clone();
            without.inputs.remove(lost);
            assert_ne!(report(&without.run()), scenario.expected, "{}: without input {lost}", scenario.name);
        }
    }
}

/// What is delivered again is counted, and changes nothing else.
#[test]
fn a_record_delivered_again_changes_nothing() {
    let but_counts = |scenario: &Scenario| -> Vec<Message> {
        let published = scenario.run().into_iter();
        published.filter(|message| message.refused.is_none() && message.topic != "quality.v1").collect()
    };
    for scenario in scenarios() {
        let once = but_counts(&scenario);
        for at in 0..scenario.inputs.len() {
            let mut twice = scenario.clone();
            twice.inputs.insert(at, scenario.inputs[at].clone());
            assert_eq!(report(&but_counts(&twice)), report(&once), "{}: input {at}", scenario.name);
        }
    }
}

/// Picks the ends of what each field can hold, the same in every run of a seed.
struct Extremes(u64);

impl Extremes {
    fn pick<T: Clone>(&mut self, values: &[T]) -> T {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        values[(self.0 >> 33) as usize % values.len()].clone()
    }

    fn number(&mut self) -> i64 {
        self.pick(&[i64::MIN, i64::MIN + 1, -1_000_000, -1, 0, 1, 1_000_000_000, i64::MAX - 1, i64::MAX])
    }

    fn fraction(&mut self) -> Option<f64> {
        self.pick(&[None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY), Some(f64::MAX), Some(4.5)])
    }

    fn text(&mut self) -> Text {
        self.pick(&["", "A", "A", "demo", "\0", "ä/|%:", &"x".repeat(1_025), &"ü".repeat(2_000)]).into()
    }

    fn maybe_text(&mut self) -> Option<Text> {
        let text = self.text();
        self.pick(&[None, Some(text)])
    }

    fn amount(&mut self) -> Option<Money> {
        let currency = Currency::parse(self.pick(&["EUR", "JPY", "QQQ"])).expect("three letters");
        let exponent = self.pick(&[0, 2, 6, 7, 18, 19, 20, 64, 255]);
        let minor = self.number();
        self.pick(&[None, Some(Money { minor, currency, exponent })])
    }

    fn time(&mut self) -> Timestamp {
        let real = 1_704_067_200_000_000;
        let some = self.number();
        Timestamp::from_micros(self.pick(&[some, real, real + 1, real + 90 * 86_400_000_000]))
    }

    fn listing(&mut self) -> ListingRef {
        ListingRef { source: self.text(), marketplace: self.text(), native_id: self.text(), seller: None }
    }

    fn event(&mut self) -> Event {
        let odd = self.text();
        let envelope = Envelope {
            customer: self.pick(&["demo".into(), "demo".into(), odd]),
            source: self.text(),
            marketplace: self.text(),
            observed_at: self.time(),
            ingested_at: self.time(),
            source_event_id: self.maybe_text(),
            ..Envelope::default()
        };
        let mut event = match self.pick(&[0, 0, 1, 2, 3, 4]) {
            0 => Event::Offer(Box::new(self.offer(envelope))),
            1 => Event::Sale(Box::new(Sale {
                envelope,
                native_id: self.text(),
                order_id: self.text(),
                line_id: self.text(),
                units: self.number(),
                unit_price: self.amount(),
                business_date: BusinessDate(self.pick(&[i32::MIN, 0, i32::MAX])),
                ..Sale::default()
            })),
            2 => Event::Inventory(Box::new(Inventory {
                envelope,
                native_id: self.text(),
                location: self.text(),
                quantity: self.number(),
                ..Inventory::default()
            })),
            3 => Event::Catalog(Box::new(Catalog {
                envelope,
                product: self.text(),
                name: self.maybe_text(),
                category: self.maybe_text(),
                currency: self.maybe_text(),
                cost: self.amount(),
                price_floor: self.amount(),
                price_ceiling: self.amount(),
                own: vec![self.listing(); self.pick(&[0, 1, 2])],
                competitors: vec![self.listing()],
                active: true,
            })),
            _ => {
                let (listing, product) = (self.listing(), self.text());
                Event::Listing(Box::new(Listing { envelope, listing, product, role: Role::Own }))
            }
        };
        let id = event.compute_id();
        event.envelope_mut().expect("is no count").event_id = id;
        event
    }

    fn offer(&mut self, envelope: Envelope) -> Offer {
        Offer {
            envelope,
            native_id: self.text(),
            seller: self.maybe_text(),
            price: self.amount(),
            shipping: self.amount(),
            landed_price: self.amount(),
            list_price: self.amount(),
            stock_level: Some(self.number()),
            offer_count: Some(self.number()),
            ranks: vec![Rank { category: self.text(), rank: self.number() }],
            rating: self.fraction(),
            rating_best: self.fraction(),
            review_count: Some(self.number()),
            vantage: Vantage { country: self.maybe_text(), postal: self.maybe_text(), membership: None },
            ..Offer::default()
        }
    }
}

/// Whatever a record says, and whichever rules are asked, it has an outcome, and the reason for it can be written. With
/// all rules suspecting, each is asked; with all off, everything passes.
#[test]
fn every_value_has_an_outcome() {
    for action in [None, Some(Action::Suspect), Some(Action::Off)] {
        let config = validate::Config {
            rules: RULES.iter().filter_map(|rule| Some((rule.id.to_owned(), action?))).collect(),
            ..validate::Config::default()
        };
        let mut extremes = Extremes(7);
        let mut outcomes = String::new();
        for stage in ["clean", "catalog"] {
            let mut steps = steps(stage);
            steps[0] = Box::new(validate::Validate::new(config.clone()));
            let mut kept = Kept::default();
            for _ in 0..500 {
                let event = extremes.event();
                let key = extremes.pick(&["demo/A", "demo/B", "demo/A|P-1"]);
                let topic = event.family().raw_topic().unwrap_or(event.topic());
                let message = Message { key: key.into(), ..message_of(topic, &event) };
                let published = process(&steps, &mut kept, &message);
                assert!(!published.is_empty() || event.family() == Family::Listing, "{event:?}");
                let reasons = published.iter().filter_map(|message| message.refused.as_ref());
                assert!(reasons.clone().all(|why| why.len() <= REASON_BYTES_MAX + 64), "{event:?}");
                outcomes.extend(published.iter().map(|message| message.topic.as_str()));
                outcomes.extend(reasons.map(String::as_str));
            }
        }
        assert_eq!(outcomes.contains("dlq."), action.is_none(), "{action:?}");
        assert!(outcomes.contains("product-offers.v1") || action.is_none(), "{action:?}");
    }
}

/// Whatever a copy says, however far time jumps, there are figures, and each is a number.
#[test]
fn every_copy_has_figures() {
    let mut extremes = Extremes(3);
    let (steps, mut kept) = (steps("compete"), [Kept::default(), Kept::default()]);
    let mut count = 0;
    for hour in 0..4_000_i64 {
        let mut event = extremes.event();
        // At the end of time everything has aged: another product lives in ordinary times, in a partition of its own.
        let partition = hour as usize % 2;
        let product = ["P-1", "P-2"][partition];
        if let (Some(envelope), "P-2") = (event.envelope_mut(), product) {
            envelope.observed_at = Timestamp::from_micros(1_704_067_200_000_000 + hour * 3_600_000_000);
        }
        let track = Track {
            product: product.into(),
            role: extremes.pick(&[Role::Own, Role::Competitor]),
            retracted: extremes.pick(&[false, false, true]),
        };
        match &mut event {
            Event::Offer(offer) => offer.track = Some(track),
            Event::Sale(sale) => sale.track = Some(track),
            Event::Inventory(inventory) => inventory.track = Some(track),
            _ => {}
        }
        let message = Message { key: format!("demo/{product}"), ..message_of(event.topic(), &event) };
        for given in process(&steps, &mut kept[partition], &message) {
            let given = given.value.map(|value| Decoder.decode(&value).expect("is an event"));
            if let Some(Event::Features(figures)) = given {
                count += 1;
                let values = figures.values.in_order();
                assert!(values.iter().flatten().all(|value| value.is_finite()), "{event:?}: {figures:?}");
            }
        }
    }
    assert!(count > 500, "{count} vectors");
}

/// The first input whose outcome depends on more than the record and what is kept: on what a processor saw before, or on
/// an attempt that was aborted. Outcomes are compared byte by byte, ids included, and so is what is kept after them.
fn first_impure(make: impl Fn() -> Vec<Box<dyn Step>>, inputs: &[Message]) -> Option<usize> {
    let (old, mut kept) = (make(), Kept::default());
    inputs.iter().position(|input| {
        let attempt = |steps: &[Box<dyn Step>]| {
            let mut kept = kept.clone();
            let published = process(steps, &mut kept, input);
            (published, kept)
        };
        let (aborted, redone, fresh) = (attempt(&old), attempt(&old), attempt(&make()));
        let is_impure = aborted != redone || redone != fresh;
        kept = fresh.1;
        is_impure
    })
}

#[test]
fn what_is_kept_is_all_there_is() {
    for scenario in scenarios() {
        let impure = first_impure(|| steps(scenario.stage), &scenario.inputs);
        assert_eq!(
            impure, None,
            "{}: this input comes out otherwise when done again or after a restart",
            scenario.name
        );
    }
}

/// An id names one record: what comes again under it says the same.
#[test]
fn no_two_records_share_an_id() {
    for scenario in scenarios() {
        let mut said: HashMap<(String, EventId), u64> = HashMap::new();
        for message in scenario.run().into_iter().filter(|message| message.refused.is_none()) {
            let value = message.value.unwrap_or_default();
            let event = Decoder.decode(&value).ok();
            let Some(envelope) = event.as_ref().and_then(Event::envelope) else { continue };
            let known = *said.entry((message.topic, envelope.event_id)).or_insert(body_hash(&value));
            assert_eq!(known, body_hash(&value), "{}: {event:?}", scenario.name);
        }
    }
}

/// Numbers what it gives: by its state, or by what it remembers itself.
struct Numbering {
    own: Option<AtomicU32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Number(u32);

impl State for Number {
    const VERSION: u8 = 1;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.0.into());
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        from.number().map(|number| Self(number as u32))
    }
}

impl Processor for Numbering {
    type State = Number;

    fn name(&self) -> &'static str {
        "numbering"
    }

    fn apply(&self, mut input: Input, state: &mut Stated<Number>, context: &mut Context<'_>) {
        state.0 += 1;
        if let Input::Event { event: Event::Sale(sale), as_read, .. } = &mut input {
            *as_read = false;
            sale.units = self.own.as_ref().map_or(state.0, |own| own.fetch_add(1, Ordering::Relaxed)).into();
        }
        context.forward(input);
    }
}

/// Asks at each sale to be woken an hour later, and gives its number then as an order line without units.
struct Alarm;

impl Processor for Alarm {
    type State = Number;

    fn name(&self) -> &'static str {
        "alarm"
    }

    fn apply(&self, input: Input, state: &mut Stated<Number>, context: &mut Context<'_>) {
        state.0 += 1;
        let time = input.event().map_or(Timestamp::MIN, Event::observed_at);
        context.outbox.wake_at(time.plus_micros(3_600_000_000));
        context.forward(input);
    }

    fn wake(&self, timer: &Timer, state: &mut Stated<Number>, context: &mut Context<'_>) {
        let envelope = Envelope { observed_at: timer.due, customer: "woken".into(), ..Envelope::default() };
        let sale = Sale { envelope, native_id: timer.key.clone(), units: state.0.into(), ..Sale::default() };
        context.forward(Input::made(Event::Sale(Box::new(sale))));
    }
}

/// Due timers fire before the record that makes them due, by time, then step, then key; what they give goes on from the
/// step that asked. A record from before fires none.
#[test]
fn timers_fire_before_the_record_that_makes_them_due() {
    let text = "stage clean\nsale 0d09:00 B O 1 1\nsale 0d09:00 A O 2 1\nsale 0d09:30 A O 3 1\n\
                sale 0d10:00 C O 4 1\nsale 0d09:45 C O 5 1\nsale 0d10:30 D O 6 1\n";
    let inputs = Scenario::parse("sales", text).expect("is one").inputs;
    let alarms = || -> Vec<Box<dyn Step>> { vec![Box::new(Numbering { own: None }), Box::new(Alarm)] };
    let given = run(&alarms(), &inputs).into_iter().map(|message| {
        let value = message.value.expect("no row ends");
        match Decoder.decode(&value) {
            Ok(Event::Sale(sale)) if sale.envelope.customer == "woken" => format!("{} {}", sale.native_id, sale.units),
            Ok(Event::Sale(sale)) => sale.line_id.to_string(),
            other => panic!("{other:?}"),
        }
    });
    let (a, b) = ("demo/shop:de:A 2", "demo/shop:de:B 1");
    assert_eq!(given.collect::<Vec<_>>(), ["1", "2", "3", a, b, "4", "5", a, "6"]);
    assert_eq!(first_impure(alarms, &inputs), None);
}

/// The negative control: a processor that remembers more than its state is found.
#[test]
fn memory_beside_the_state_is_found() {
    let text = "stage clean\nsale 0d09:00 A O 1 0\nsale 0d10:00 A O 2 0\n";
    let inputs = Scenario::parse("sales", text).expect("is one").inputs;
    assert_eq!(first_impure(|| vec![Box::new(Numbering { own: None })], &inputs), None);
    assert_eq!(first_impure(|| vec![Box::new(Numbering { own: Some(AtomicU32::new(1)) })], &inputs), Some(0));
}

/// A task takes the record first whose event time is first among the heads of its topics, and has the time of the record
/// before for what has none. No two topics have a head of the same time, so the order of the topics does not matter.
#[test]
fn inputs_are_in_the_order_of_a_task() {
    for scenario in scenarios() {
        let mut last_of: HashMap<&str, Timestamp> = HashMap::new();
        let times = scenario.inputs.iter().map(|input| {
            let time = last_of.entry(input.topic.as_str()).or_insert(Timestamp::MIN);
            *time = decode(input).ok().and_then(|input| input.event().map(Event::observed_at)).unwrap_or(*time);
            *time
        });
        let timed: Vec<(&str, Timestamp)> =
            scenario.inputs.iter().map(|input| input.topic.as_str()).zip(times).collect();
        for (at, (topic, time)) in timed.iter().enumerate() {
            let mut topics = vec![topic];
            for (other, head) in &timed[at..] {
                if !topics.contains(&other) {
                    topics.push(other);
                    assert!(time < head, "{}: input {at} of {topic} is not before {other}", scenario.name);
                }
            }
        }
    }
}

#[test]
fn every_rule_and_outcome_has_a_scenario() {
    let all: String = scenarios().map(|scenario| scenario.expected).collect();
    for rule in RULES {
        let outcome = if rule.default == Action::Reject { "rejected" } else { "suspect" };
        assert!(all.contains(&format!("{outcome} {} ", rule.id)), "{}", rule.id);
    }
    for outcome in ["accepted", "unchanged", "duplicate", "conflicting", "late"] {
        assert!(all.contains(&format!(" {outcome} ")), "{outcome}");
    }
}

/// Rules do what the config says, and without one what they do by default.
#[test]
fn the_config_changes_what_a_rule_does() {
    let scenario = scenarios().find(|scenario| scenario.name == "price-not-positive").expect("exists");
    let with = |action| {
        let rules = [("price-not-positive".to_owned(), action)].into();
        let config = validate::Config { rules, ..validate::Config::default() };
        report(&run(&[Box::new(validate::Validate::new(config))], &scenario.inputs))
    };
    assert!(with(Action::Reject).contains("price-not-positive: the price is 0.00 EUR"));
    assert!(with(Action::Suspect).contains("suspect=price-not-positive"));
    assert!(!with(Action::Off).contains("price-not-positive"));
    let rules = [("no-such-rule".to_owned(), Action::Off)].into();
    assert_eq!(validate::Config { rules, ..validate::Config::default() }.unknown_rules(), ["no-such-rule"]);
}
