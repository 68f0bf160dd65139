//! What holds of every simulated market.

use std::collections::{BTreeMap, HashMap};

use expect_test::{Expect, expect};
use skuflow_schemas::{Encoder, Event, EventId, body_hash};
use xxhash_rust::xxh3::Xxh3;

use super::feed::Feed;
use super::noise::{Form, Item};
use super::observation::{DAY, Fact, OWN, Observation, Seat};
use super::records::Records;
use super::truth::{Reading, history, readings};
use super::{Noise, Rule, Settings, Simulator, truth};
use crate::{Connector, ConnectorError, Cursor, Mapped, Page, Poll};

fn market(products: u32, days: u32) -> Settings {
    Settings { products, days, ..Settings::default() }
}

fn simulator(settings: &Settings, page_records: usize) -> Simulator {
    let mut simulator = Simulator::new("market", "demo", settings).expect("valid settings");
    simulator.page_records = page_records;
    simulator
}

fn committed(page: Page, cursor: &mut Cursor) -> Vec<Event> {
    cursor.extend(page.changes.into_iter().filter_map(|(name, entry)| Some((name, entry?))));
    let event = |mapped| match mapped {
        Mapped::Event(event, _) => event,
        Mapped::Rejected(row) => panic!("{row:?}"),
    };
    page.records.into_iter().map(event).collect()
}

/// Everything behind `cursor`, which moves along.
fn drain(simulator: &mut Simulator, cursor: &mut Cursor) -> Vec<Event> {
    let mut events = Vec::new();
    while let Poll::Page(page) = simulator.poll(cursor).expect("simulated") {
        events.extend(committed(page, cursor));
    }
    events
}

fn items(settings: &Settings) -> Vec<Item> {
    Feed::new(settings).collect()
}

fn check(settings: &Settings, expected: Expect) {
    let mut hash = Xxh3::new();
    let mut counts = [0; 4];
    for event in drain(&mut simulator(settings, 1_000), &mut Cursor::new()) {
        let mut bytes = Vec::new();
        Encoder.encode(&event, &mut bytes);
        hash.update(&event.compute_id().0);
        hash.update(&bytes);
        counts[event.family() as usize] += 1;
    }
    let [offers, sales, stock, catalog] = counts;
    let shown = format!("{catalog} catalog {offers} offers {sales} sales {stock} stock {:016x}", hash.digest());
    expected.assert_eq(&shown);
}

#[test]
fn the_same_seed_gives_the_same_events() {
    check(&market(20, 10), expect!["35 catalog 5835 offers 4986 sales 813 stock 620bb51149bd0114"]);
    check(
        &Settings { seed: 8, ..market(20, 10) },
        expect!["31 catalog 5967 offers 4396 sales 811 stock d8fee6c73c54ea5f"],
    );
}

#[test]
fn pages_and_restarts_change_nothing() {
    let settings = Settings {
        noise: Noise { duplicates: 0.1, repeats: 0.1, dirty: 0.1, late: 0.2, reordered: 0.3 },
        ..market(2, 3)
    };
    let whole = drain(&mut simulator(&settings, usize::MAX), &mut Cursor::new());
    assert!(whole.len() > 300, "{}", whole.len());
    for page_records in [1, 7, 64] {
        assert_eq!(
            drain(&mut simulator(&settings, page_records), &mut Cursor::new()),
            whole,
            "pages of {page_records}"
        );
    }
    let mut steady = simulator(&settings, 1);
    let mut wandering = simulator(&settings, 1);
    let mut cursor = Cursor::new();
    for (position, event) in whole.iter().enumerate() {
        let before = cursor.clone();
        let Ok(Poll::Page(page)) = steady.poll(&before) else { panic!("a page at {position}") };
        assert_eq!(committed(page, &mut cursor), std::slice::from_ref(event), "at {position}");
        let mut restarted = simulator(&settings, 64);
        assert_eq!(drain(&mut restarted, &mut before.clone()), whole[position..], "from {position} on");
        let Ok(Poll::Page(page)) = wandering.poll(&before) else { panic!("a page at {position}") };
        assert_eq!(committed(page, &mut before.clone()), std::slice::from_ref(event), "forth to {position}");
        wandering.poll(&Cursor::new()).expect("and back");
    }
    assert!(matches!(steady.poll(&cursor), Ok(Poll::Done)));
    assert!(matches!(simulator(&settings, 1).poll(&cursor), Ok(Poll::Done)), "done stays done");
}

#[test]
fn the_catalog_comes_first_whatever_the_pace() {
    let settings = Settings { rate_per_s: 1, ..market(50, 2) };
    let Ok(Poll::Page(page)) = simulator(&settings, 5_000).poll(&Cursor::new()) else { panic!("a page") };
    let events = committed(page, &mut Cursor::new());
    assert_eq!(events.len(), 50);
    assert!(events.iter().all(|event| matches!(event, Event::Catalog(_))), "{events:?}");
}

#[test]
fn the_cursor_of_another_market_is_refused() {
    let mut cursor = Cursor::new();
    let mut first = simulator(&market(2, 3), 5);
    let Ok(Poll::Page(page)) = first.poll(&cursor) else { panic!("a page") };
    committed(page, &mut cursor);
    assert!(matches!(simulator(&market(3, 3), 5).poll(&cursor), Err(ConnectorError::Fatal(_))));
    let faster = Settings { rate_per_s: 1_000_000, ..market(2, 3) };
    assert!(simulator(&faster, 5).poll(&cursor).is_ok(), "the pace is no part of the market");
}

#[test]
fn every_rule_is_crossed_by_plan_and_by_itself() {
    let settings = market(120, 60);
    let crossings = truth(&settings);
    assert_eq!(crossings, truth(&settings));
    let mut counts: HashMap<Rule, [usize; 3]> = HashMap::new();
    for crossing in &crossings {
        let counts = counts.entry(crossing.rule).or_default();
        counts[usize::from(!crossing.planted)] += 1;
        counts[2] += usize::from(crossing.silenced);
    }
    let shown: Vec<String> = Rule::ALL
        .iter()
        .map(|rule| {
            let [planted, natural, silenced] = counts.get(rule).copied().unwrap_or_default();
            assert!(planted > 0 && natural > 0, "{}: {planted} planted, {natural} by itself", rule.id());
            format!("{}: {planted} planted, {natural} by itself; {silenced} silenced\n", rule.id())
        })
        .collect();
    expect![[r"
        competitor-price-drop: 40 planted, 2160 by itself; 10 silenced
        price-war: 55 planted, 778 by itself; 153 silenced
        competitor-out-of-stock: 59 planted, 1340 by itself; 7 silenced
        new-competitor: 58 planted, 169 by itself; 0 silenced
        own-price-below-floor: 35 planted, 66 by itself; 0 silenced
        own-price-above-ceiling: 43 planted, 4 by itself; 0 silenced
        buy-box-lost: 28 planted, 1411 by itself; 120 silenced
        rank-drop: 28 planted, 57 by itself; 0 silenced
        rating-drop: 25 planted, 32 by itself; 0 silenced
        stock-out-soon: 18 planted, 565 by itself; 43 silenced
        margin-low: 21 planted, 21 by itself; 0 silenced
        demand-spike: 19 planted, 167 by itself; 0 silenced
        demand-drop: 15 planted, 601 by itself; 0 silenced
    "]]
    .assert_eq(&shown.concat());
}

/// What has no size is always noticed; of the rest, what is planted around a threshold crosses it often, and often not.
#[test]
fn what_is_planted_is_there() {
    let settings = market(120, 60);
    let mut planted: HashMap<Rule, [usize; 2]> = HashMap::new();
    for number in 0..settings.products {
        for incident in history(&settings, number).1.incidents {
            planted.entry(incident.rule).or_default()[0] += 1;
        }
    }
    for crossing in truth(&settings).iter().filter(|crossing| crossing.planted) {
        planted.entry(crossing.rule).or_default()[1] += 1;
    }
    for rule in Rule::ALL {
        let [incidents, crossings] = planted[&rule];
        let has_size = !matches!(rule, Rule::CompetitorOutOfStock | Rule::NewCompetitor | Rule::BuyBoxLost);
        let expected = if has_size { incidents / 3..=incidents * 9 / 10 } else { incidents..=incidents };
        assert!(expected.contains(&crossings), "{}: {crossings} of {incidents} crossed", rule.id());
    }
}

/// How far a reading goes, as a multiple of what makes an alert.
fn ratios(reading: &Reading) -> Vec<(Rule, f64)> {
    let Some(value) = reading.value else { return Vec::new() };
    let rule = reading.rule;
    match rule {
        Rule::CompetitorPriceDrop => vec![(rule, value / 5.0), (Rule::PriceWar, value)], // 1 % makes a war
        Rule::RankDrop => vec![(rule, value / 20.0)],
        Rule::RatingDrop => vec![(rule, value / 0.3)],
        Rule::StockOutSoon => vec![(rule, value / 7.0)],
        Rule::MarginLow => vec![(rule, value / 0.1)],
        Rule::DemandSpike => vec![(rule, value / 50.0)],
        Rule::DemandDrop => vec![(rule, value / 30.0)],
        _ => Vec::new(),
    }
}

/// Of the moves that could be taken for one that makes an alert, half to double as far, a fifth at least is within a fifth of
/// it.
#[test]
fn many_moves_are_hard_to_judge() {
    let settings = market(120, 60);
    let mut counts: BTreeMap<Rule, [u32; 4]> = BTreeMap::new();
    for number in 0..settings.products {
        let happened = history(&settings, number).1;
        let mut last = HashMap::new();
        for reading in readings(&settings, &happened.observations) {
            let is_move = last.insert((reading.rule, reading.seat), reading.value) != Some(reading.value);
            for (rule, ratio) in ratios(&reading).into_iter().filter(|_| is_move) {
                let [moves, could_be, below, above] = counts.entry(rule).or_default();
                *moves += 1;
                *could_be += u32::from((0.5..2.0).contains(&ratio));
                *below += u32::from((0.8..1.0).contains(&ratio));
                *above += u32::from((1.0..=1.2).contains(&ratio));
            }
        }
    }
    let shown = counts.iter().map(|(rule, [moves, could_be, below, above])| {
        assert!(5 * (below + above) >= *could_be, "{}", rule.id());
        assert!(*below > 0 && *above > 0, "{}", rule.id());
        let share = 100 * (below + above) / could_be;
        format!("{}: {below} below and {above} above, {share} % of {could_be}; {moves} moves in all\n", rule.id())
    });
    expect![[r"
        competitor-price-drop: 473 below and 412 above, 31 % of 2837; 32027 moves in all
        price-war: 706 below and 671 above, 38 % of 3534; 32027 moves in all
        rank-drop: 161 below and 84 above, 27 % of 881; 7078 moves in all
        rating-drop: 79 below and 87 above, 46 % of 357; 2979 moves in all
        stock-out-soon: 2127 below and 3301 above, 29 % of 18241; 28329 moves in all
        margin-low: 24 below and 15 above, 28 % of 137; 3277 moves in all
        demand-spike: 150 below and 89 above, 30 % of 795; 5393 moves in all
        demand-drop: 365 below and 296 above, 37 % of 1752; 5393 moves in all
    "]]
    .assert_eq(&shown.collect::<String>());
}

/// Of two falls in a row the second would be a crossing of its own only if something stood between them.
#[test]
fn no_price_falls_twice_in_a_row() {
    let settings = market(60, 60);
    for number in 0..settings.products {
        let mut last: HashMap<Seat, (i64, bool)> = HashMap::new();
        for observation in history(&settings, number).1.observations {
            let Fact::Offer(offered) = observation.fact else { continue };
            let (before, fell) = last.get(&offered.seat).copied().unwrap_or((offered.landed, false));
            let falls = offered.landed * 100 < before * 95;
            assert!(!(falls && fell) || offered.seat == OWN, "{observation:?}");
            let fell = if offered.landed == before { fell } else { falls };
            last.insert(offered.seat, (offered.landed, fell));
        }
    }
}

#[test]
fn nothing_is_lost_invented_or_changed_on_the_way() {
    let settings = market(30, 30);
    let mut latent: HashMap<(u32, i64, String), u32> = HashMap::new();
    let mut units = 0;
    let key = |observation: &Observation| (observation.product, observation.at, format!("{:?}", observation.fact));
    for number in 0..settings.products {
        for observation in history(&settings, number).1.observations {
            units += if let Fact::Sale(sold) = observation.fact { sold.units } else { 0 };
            assert_eq!(*latent.entry(key(&observation)).and_modify(|count| *count += 1).or_insert(1), 1);
        }
    }
    let (mut sold, mut last_position) = (0, i64::MIN);
    for item in items(&settings) {
        assert!(item.delivered >= last_position, "in the order in which it comes in");
        last_position = item.delivered;
        if matches!(item.form, Form::Clean | Form::Late) {
            assert!(latent.remove(&key(&item.observation)).is_some(), "{item:?} never happened, or came before");
            sold += if let Fact::Sale(sold) = item.observation.fact { sold.units } else { 0 };
        }
    }
    assert!(latent.is_empty(), "{} observations never came in", latent.len());
    assert_eq!(sold, units);
    assert!(units > 0);
}

#[test]
fn shares_of_noise_are_as_configured() {
    let noise = Noise { duplicates: 0.05, repeats: 0.04, dirty: 0.03, late: 0.02, reordered: 0.0 };
    let settings = Settings { noise, ..market(60, 30) };
    let items = items(&settings);
    let count = |suits: &dyn Fn(&Item) -> bool| items.iter().filter(|item| suits(item)).count() as f64;
    let clean = |item: &Item| matches!(item.form, Form::Clean | Form::Late);
    let is_offer = |item: &Item| matches!(item.observation.fact, Fact::Offer(_));
    let all = count(&clean);
    let offers = count(&|item| clean(item) && is_offer(item));
    let looks = count(&|item| clean(item) && is_offer(item) && !item.observation.news);
    let of = |form: Form| count(&|item| item.form == form);
    let dirty = count(&|item| matches!(item.form, Form::Dirty(_)));
    let close = |name: &str, share: f64, expected: f64| {
        assert!((share / expected - 1.0).abs() < 0.1, "{name}: {share} for {expected}");
    };
    close("duplicates", of(Form::Duplicate) / all, 0.05);
    close("repeats", of(Form::Repeat) / offers, 0.04);
    close("dirty", dirty / all, 0.03);
    close("late", of(Form::Late) / looks, 0.02);
    let week = count(&|item| item.form == Form::Late && item.delivered - item.observation.at > 7 * DAY);
    close("a week late", week / looks, 0.02 * 5.0 / 11.0);
    assert!(items.iter().all(|item| item.form != Form::Clean || item.delivered == item.observation.at));
    let quiet = Noise { duplicates: 0.0, repeats: 0.0, dirty: 0.0, late: 0.0, reordered: 0.0 };
    let settings = Settings { noise: quiet, ..settings };
    assert!(self::items(&settings).iter().all(|item| item.form == Form::Clean));
}

/// Late records and those out of order are looks and sales; a change never comes in behind a later one of its offer.
#[test]
fn noise_hides_no_change() {
    let noise = Noise { reordered: 0.5, late: 0.5, ..Noise::default() };
    let settings = Settings { noise, ..market(30, 20) };
    let mut last: HashMap<(u32, Seat), i64> = HashMap::new();
    let mut overtaken = 0;
    let mut latest = 0;
    for item in items(&settings) {
        let Observation { at, product, news, fact } = item.observation;
        match (item.form, fact) {
            (Form::Late | Form::Clean, Fact::Sale(_)) => {
                assert_eq!(at / DAY, item.delivered / DAY, "a sale comes in on its day");
            }
            (Form::Clean, Fact::Offer(offered)) if news => {
                assert!(
                    last.insert((product, offered.seat), at).is_none_or(|last| last <= at),
                    "{item:?} came too late"
                );
            }
            (Form::Late, _) => assert!(!news, "{item:?}"),
            _ => {}
        }
        overtaken += u32::from(at < latest);
        latest = latest.max(at);
    }
    assert!(overtaken > 1_000, "{overtaken} are out of order");
}

/// One id, one body: what is delivered again is the same, what is another observation has another id.
#[test]
fn no_two_observations_share_an_id() {
    let noise = Noise { duplicates: 0.1, repeats: 0.2, dirty: 0.2, late: 0.1, reordered: 0.2 };
    let settings = Settings { noise, ..market(30, 20) };
    let records = Records::new(&settings, "demo");
    let mut bodies: HashMap<EventId, u64> = HashMap::new();
    for item in items(&settings) {
        let event = records.event(&item);
        let id = event.compute_id();
        let mut bytes = Vec::new();
        Encoder.encode(&event, &mut bytes);
        let body = body_hash(&bytes);
        let before = bodies.insert(id, body);
        assert_eq!(before, (item.form == Form::Duplicate).then_some(body), "{event:?}");
    }
}
