//! Rules and what they say to vectors: a line each, `<hour> <name>=<value>…`, and the alerts as `<hour> <rule> …`.

use skuflow_schemas::{Change, Currency, Features, Key, Money, Values};

use super::expression::{Asked, Expression};
use super::*;
use crate::{Counted, Outbox, Rows, SELLERS_PER_LISTING_MAX, Seen, SeenIds, codec};

const HOUR: i64 = 3_600_000_000;

fn rules(text: &str) -> std::sync::Arc<Rules> {
    let file: File = toml::from_str(text).expect("rules");
    let rules =
        file.rule.iter().map(|rule| Rule::compile(rule).unwrap_or_else(|wrong| panic!("{}: {wrong:?}", rule.id)));
    std::sync::Arc::new(Rules::new(rules.collect()))
}

/// One rule; the fields that are not said are plain.
fn one(fields: &str) -> std::sync::Arc<Rules> {
    rules(&format!("[[rule]]\nid = \"r\"\nseverity = \"info\"\nmessage = \"m\"\n{fields}"))
}

/// What a step gives, and nothing else.
#[derive(Default)]
struct Given(Vec<Output>);

impl Outbox for Given {
    fn forward(&mut self, output: Output) {
        self.0.push(output);
    }
    fn count(&mut self, _: Counted<'_>) {}
    fn late(&mut self, _: &Event) {}
    fn wake_at(&mut self, _: Timestamp) {}
}

struct Nothing;

impl SeenIds for Nothing {
    fn insert(&mut self, _: skuflow_schemas::Day, _: u16, _: EventId, _: u64) -> Seen {
        unreachable!("not used by the step")
    }
}

impl Rows for Nothing {
    fn put(&mut self, _: u64) -> &mut Vec<u8> {
        unreachable!("not used by the step")
    }
    fn edit(&mut self, _: u64) -> &mut Vec<u8> {
        unreachable!("not used by the step")
    }
    fn remove(&mut self, _: u64) {}
    fn get(&mut self, _: u64) -> Option<Vec<u8>> {
        None
    }
    fn refuse(&mut self, _: u64, _: &str) {
        unreachable!("not used by the step")
    }
}

/// A product, its state stored and read back after every record.
struct Product {
    step: Alerts,
    state: Watched,
}

impl Product {
    fn new(rules: std::sync::Arc<Rules>) -> Self {
        Self { step: Alerts::new(rules), state: Watched::default() }
    }

    /// Gives the alerts; what went in has to come out first.
    fn take(&mut self, input: Input) -> Vec<Alert> {
        let (mut given, mut seen, mut rows) = (Given::default(), Nothing, Nothing);
        let context = &mut Context {
            stream_time: Timestamp::MIN,
            value: &[],
            seen: &mut seen,
            rows: &mut rows,
            outbox: &mut given,
        };
        let mut state = Stated::clean(self.state.clone());
        self.step.apply(input.clone(), &mut state, context);
        assert!(state.is_dirty() || *state == self.state, "what was not written to is the same");
        let mut stored = Vec::new();
        codec::encode(&*state, &mut stored);
        self.state = codec::decode(&stored).expect("was just written");
        assert!(self.state == *state, "what is stored is read back");
        let mut outputs = given.0.into_iter();
        assert_eq!(format!("{:?}", outputs.next()), format!("{:?}", Some(input)), "passed on"); // no number equals itself if it is none
        let alert = |output| match output {
            Input::Event { event: Event::Alert(alert), .. } => *alert,
            other => panic!("no alert: {other:?}"),
        };
        outputs.map(alert).collect()
    }

    /// Takes the lines of a script.
    fn play(&mut self, script: &str) -> String {
        let mut said = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            for alert in self.take(input(line)) {
                let hour = alert.envelope.observed_at.micros() / HOUR;
                let seller = alert.seller.map_or_else(String::new, |seller| format!(" {seller}"));
                let value = alert.value.map_or_else(String::new, |value| format!(" {value}"));
                said.push_str(&format!("{hour} {}{seller}{value}\n", alert.rule));
            }
        }
        said
    }
}

fn play(rules: std::sync::Arc<Rules>, script: &str) -> String {
    Product::new(rules).play(script)
}

fn eur(number: &str) -> Option<Money> {
    Money::parse(number, '.', Currency::parse("EUR").expect("three letters")).ok()
}

/// `<hour> <figure>=<number> change.<field>=<value>`, `<hour> catalog <field>=<value>` or `gone`.
fn input(line: &str) -> Input {
    let mut words = line.split_whitespace();
    let first = words.next().expect("an hour");
    if first == "gone" {
        return Input::Tombstone { family: Family::Catalog, key: Key::from("demo/p") };
    }
    let observed_at = Timestamp::from_micros(first.parse::<i64>().expect("an hour") * HOUR);
    let envelope = Envelope { customer: "demo".into(), observed_at, ingested_at: observed_at, ..Envelope::default() };
    let mut words = words.peekable();
    if words.next_if_eq(&"catalog").is_some() {
        let mut entry = Catalog { envelope, product: "p".into(), active: true, ..Catalog::default() };
        for (name, value) in words.map(|word| word.split_once('=').expect("name=value")) {
            match name {
                "price_floor" => entry.price_floor = eur(value),
                "currency" => entry.currency = Some(value.into()),
                "active" => entry.active = value == "true",
                _ => entry.name = Some(value.into()),
            }
        }
        return Input::made(Event::Catalog(Box::new(entry)));
    }
    let mut figures = serde_json::Map::new();
    let mut change = Change::default();
    for (name, value) in words.map(|word| word.split_once('=').expect("name=value")) {
        match name.strip_prefix("change.") {
            Some("entered") => change.entered = true,
            Some(field @ ("price" | "previous_price")) => {
                names::set_change(&mut change, field, &config::Given::Number(value.parse().expect("a number")));
            }
            Some(field) => names::set_change(&mut change, field, &config::Given::Text(value.into())),
            None => _ = figures.insert(name.into(), value.parse::<f64>().expect("a number").into()),
        }
    }
    let values: Values = serde_json::from_value(figures.into()).expect("figures");
    let change = (change != Change::default()).then_some(change);
    let mut event =
        Event::Features(Box::new(Features { envelope, product: "p".into(), values, change, ..Features::default() }));
    let id = event.compute_id();
    event.envelope_mut().expect("has one").event_id = id;
    Input::made(event)
}

const LOW: &str = "when = \"features.product_margin < 0.1\"\nvalue = \"features.product_margin\"\ncooldown = \"24h\"\n";

#[test]
fn an_alert_is_an_edge_and_needs_a_false_in_between() {
    let script = "0 product_margin=0.2\n 1 product_margin=0.05\n 2 product_margin=0.04\n 60 product_margin=0.03
        61 product_margin=0.1\n 62 product_margin=0.02";
    assert_eq!(play(one(LOW), script), "1 r 0.05\n62 r 0.02\n");
}

#[test]
fn the_first_vector_is_an_edge_too() {
    assert_eq!(play(one(LOW), "5 product_margin=0.05"), "5 r 0.05\n");
}

#[test]
fn within_the_cooldown_an_edge_is_silent_and_used_up() {
    let script = "0 product_margin=0.05\n 1 product_margin=0.2\n 23 product_margin=0.05\n 30 product_margin=0.04
        31 product_margin=0.2\n 32 product_margin=0.05";
    assert_eq!(play(one(LOW), script), "0 r 0.05\n32 r 0.05\n");
    assert_eq!(play(one(LOW), &script.replace("23 ", "24 ")), "0 r 0.05\n24 r 0.05\n", "24h are over after 24h");
}

#[test]
fn a_worse_value_breaks_the_cooldown() {
    let worse = |more: &str| one(&format!("{LOW}worse_by = 0.02\n{more}"));
    let script = "0 product_margin=0.06\n 1 product_margin=0.05\n 2 product_margin=0.035\n 3 product_margin=0.02
        4 product_margin=0.2\n 5 product_margin=-0.1";
    assert_eq!(play(worse("worse = \"smaller\""), script), "0 r 0.06\n2 r 0.035\n5 r -0.1\n");
    assert_eq!(play(worse(""), script), "0 r 0.06\n", "larger is worse unless said otherwise");
    let larger = "0 product_margin=0.01\n 1 product_margin=0.02\n 2 product_margin=0.04";
    assert_eq!(play(worse(""), larger), "0 r 0.01\n2 r 0.04\n");
}

#[test]
fn hysteresis_arms_only_when_it_is_clear() {
    let clear = one(&format!("{LOW}clear = \"features.product_margin >= 0.15\"").replace("24h", "1h"));
    let script = "0 product_margin=0.05\n 10 product_margin=0.12\n 20 product_margin=0.05\n 30 product_margin=0.15
        40 product_margin=0.05";
    assert_eq!(play(clear, script), "0 r 0.05\n40 r 0.05\n");
}

#[test]
fn null_is_neither_true_nor_false() {
    let low = || one(&LOW.replace("24h", "1h"));
    assert_eq!(play(low(), "0 product_rating_avg=4\n 1 price_gap=1"), "");
    let script = "0 product_margin=0.05\n 10 product_rating_avg=1\n 20 product_margin=0.05";
    assert_eq!(play(low(), script), "0 r 0.05\n", "what was not known in between did not clear");
    let not = one("when = \"!(features.product_margin < 0.1)\"");
    assert_eq!(play(not, "0 price_gap=1\n 1 product_margin=0.5"), "1 r\n");
    let either = one("when = \"features.product_margin < 0.1 || features.price_gap > 0.0\"");
    assert_eq!(play(either, "0 price_gap=1"), "0 r\n", "one side is enough");
    let asked = one("when = \"features.product_margin == null && features.price_gap > 0.0\"");
    assert_eq!(play(asked, "0 price_gap=1"), "0 r\n");
}

#[test]
fn each_change_is_a_matter_of_its_own_and_each_seller_has_a_cooldown() {
    let drop = "per = \"seller\"\nwhen = \"change.price < 0.95 * change.previous_price\"
        value = \"change.previous_price - change.price\"\nworse_by = 5.0";
    let script = "0 change.seller=a change.price=9 change.previous_price=10
        1 change.seller=b change.price=9 change.previous_price=10
        2 change.seller=a change.price=8 change.previous_price=9
        3 change.seller=a change.price=2 change.previous_price=8
        4 change.price=8 change.previous_price=9
        26 change.seller=b change.price=8 change.previous_price=9
        27 product_margin=1";
    assert_eq!(play(one(drop), script), "0 r a 1\n1 r b 1\n3 r a 6\n4 r 1\n26 r b 1\n");
    let product = drop.replace("per = \"seller\"", "");
    assert_eq!(play(one(&product), script), "0 r 1\n3 r 6\n", "the product's matter, whoever sells");
}

#[test]
fn sellers_are_bounded_and_the_oldest_gives_way() {
    let mut product = Product::new(one("per = \"seller\"\nwhen = \"change.entered\"\ncooldown = \"300d\""));
    for seller in 0..=SELLERS_PER_LISTING_MAX {
        let line = format!("{seller} change.seller=s{seller} change.entered=true");
        assert_eq!(product.play(&line), format!("{seller} r s{seller}\n"));
    }
    assert_eq!(product.state.matters.len(), SELLERS_PER_LISTING_MAX);
    assert_eq!(product.play("600 change.seller=s1 change.entered=true"), "", "remembered");
    assert_eq!(product.play("601 change.seller=s0 change.entered=true"), "601 r s0\n", "forgotten");
    product.play("99999 change.seller=x change.entered=true");
    assert_eq!(product.state.matters.len(), 1, "what is over is not kept");
}

#[test]
fn a_late_vector_changes_nothing() {
    let mut product = Product::new(one(LOW));
    product.play("10 product_margin=0.2");
    let before = product.state.clone();
    assert_eq!(product.play("9 product_margin=0.01"), "");
    assert!(product.state == before);
    assert_eq!(product.play("10 product_margin=0.01"), "10 r 0.01\n", "of the same time is not late");
}

#[test]
fn a_catalog_entry_is_asked_about_at_once() {
    let floor = || one("when = \"features.product_price_current < catalog.price_floor\"");
    assert_eq!(play(floor(), "0 catalog price_floor=10\n 1 product_price_current=9"), "1 r\n");
    assert_eq!(play(floor(), "0 product_price_current=9\n 1 catalog price_floor=10"), "1 r\n");
    assert_eq!(
        play(floor(), "5 product_price_current=9\n 1 catalog price_floor=10"),
        "5 r\n",
        "both are true from then"
    );
    assert_eq!(
        play(floor(), "0 product_price_current=9\n 1 catalog price_floor=10 currency=USD"),
        "",
        "not comparable"
    );
    let unknown = one("when = \"catalog.price_floor == null\"");
    assert_eq!(
        play(unknown, "0 catalog name=Tea\n 1 price_gap=1"),
        "1 r\n",
        "with the first vector, though it names no figure"
    );
    let gone = "0 catalog price_floor=10\n 1 product_price_current=9\n gone\n 2 product_price_current=8
        3 catalog price_floor=10";
    assert_eq!(play(floor(), gone), "1 r\n3 r\n", "a product that ended begins anew");
    let inactive = gone.replace("gone", "2 catalog active=false");
    assert_eq!(play(floor(), &inactive), "1 r\n3 r\n");
}

#[test]
fn the_vector_before_is_seen() {
    let fell = one("when = \"features.product_rating_avg < previous.product_rating_avg\"\ncooldown = \"0s\"");
    let script = "0 product_rating_avg=4\n 1 product_rating_avg=3\n 2 product_rating_avg=3 price_gap=1
        3 product_rating_avg=2\n 4 product_rating_avg=1";
    assert_eq!(play(fell, script), "1 r\n3 r\n", "falling on is the same edge");
}

#[test]
fn other_rules_begin_with_nothing_known_before() {
    let mut product = Product::new(one(LOW));
    assert_eq!(product.play("0 product_margin=0.05"), "0 r 0.05\n");
    let more = "[[rule]]\nid = \"s\"\nseverity = \"info\"\nmessage = \"\"\nwhen = \"features.price_gap > 0.0\"\n";
    let text = format!("{more}[[rule]]\nid = \"r\"\nseverity = \"info\"\nmessage = \"m\"\n{LOW}");
    product.step = Alerts::new(rules(&text));
    assert_eq!(product.play("1 product_margin=0.05 price_gap=1"), "1 s\n", "r holds on");
}

#[test]
fn an_alert_says_what_it_saw_and_why() {
    let text = "when = \"features.product_price_current < catalog.price_floor\"
        value = \"catalog.price_floor - features.product_price_current\"
        message = \"{{{catalog.name}}} {features.product_price_current} {value} {features.price_gap}\"";
    let rules = rules(&format!("[[rule]]\nid = \"r\"\nseverity = \"critical\"\n{text}"));
    let mut product = Product::new(rules);
    product.play("0 catalog price_floor=10 name=Tea\n 1 product_price_current=11");
    let Input::Event { event: Event::Features(mut vector), .. } = input("2 product_price_current=9.5") else {
        panic!("a vector");
    };
    let caused = |product: &mut Product, vector: &Features| {
        product.take(Input::made(Event::Features(Box::new(vector.clone())))).pop().expect("an alert")
    };
    let state = product.state.clone();
    let own = caused(&mut product, &vector);
    assert_eq!(own.envelope.cause_id, Some(vector.envelope.event_id), "only time moved it");
    vector.envelope.cause_id = Some(EventId([7; 16]));
    product.state = state;
    let alert = caused(&mut product, &vector);
    assert_eq!(alert.envelope.cause_id, Some(EventId([7; 16])));
    assert_eq!(alert.message, "{Tea} 9.50 0.5 unknown");
    assert_eq!(alert.envelope.event_id, Event::Alert(Box::new(alert.clone())).compute_id());
    assert_eq!(alert.envelope.source, "skuflow");
    assert_eq!(alert.dedup_key, Alert::dedup_key("demo", "r", "p", None));
    let evidence =
        |at: usize| (alert.evidence[at].name.as_str(), alert.evidence[at].value, alert.evidence[at].previous);
    assert_eq!(evidence(0), ("product_price_current", Some(9.5), Some(11.0)));
    assert_eq!(evidence(1), ("catalog.price_floor", Some(10.0), None));
    assert_eq!(evidence(2), ("price_gap", None, None));
    assert_eq!(alert.evidence.len(), 3);
}

/// A small generator of numbers; the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// An expression for a number.
    fn number(&mut self, depth: usize) -> String {
        if depth == 0 || self.below(4) == 0 {
            let names =
                ["features.price_gap", "previous.price_gap", "catalog.cost", "change.price", "features.price_index"];
            return self.one_of(&[names[0], names[1], names[2], names[3], names[4], "0.0", "1.5", "100.0"]).into();
        }
        match self.below(6) {
            0 => format!("(-{})", self.number(depth - 1)),
            1 => format!("({} ? {} : {})", self.truth(depth - 1), self.number(depth - 1), self.number(depth - 1)),
            _ => format!(
                "({} {} {})",
                self.number(depth - 1),
                self.one_of(&["+", "-", "*", "/"]),
                self.number(depth - 1)
            ),
        }
    }

    /// An expression that is true or false.
    fn truth(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .one_of(&["true", "change.entered", "change.role == \"own\"", "features.price_gap != null"])
                .into();
        }
        match self.below(8) {
            0 => format!("!({})", self.truth(depth - 1)),
            1 => format!("({} && {})", self.truth(depth - 1), self.truth(depth - 1)),
            2 => format!("({} || {})", self.truth(depth - 1), self.truth(depth - 1)),
            3 => format!("({} ? {} : {})", self.truth(depth - 1), self.truth(depth - 1), self.truth(depth - 1)),
            4 => format!("catalog.name {} change.seller", self.one_of(&["<", ">=", "==", "!="])),
            5 => format!("{} {} {}", self.number(depth - 1), self.one_of(&["<", ">", "=="]), self.one_of(&["0", "3"])),
            _ => {
                let operator = self.one_of(&["<", "<=", ">", ">=", "==", "!="]);
                format!("{} {operator} {}", self.number(depth - 1), self.number(depth - 1))
            }
        }
    }

    fn maybe(&mut self) -> Option<f64> {
        self.one_of(&[None, None, Some(0.0), Some(-0.0), Some(1.0), Some(1.5), Some(-3.0), Some(1e308), Some(0.1)])
    }
}

/// Asks both, of the same inputs.
fn compare(source: &str, asked: Asked, random: &mut Random) {
    let compiled = Expression::compile(source, asked).unwrap_or_else(|wrong| panic!("{source}: {wrong:?}"));
    let interpreted = Expression::interpreted(source, asked);
    assert!(compiled.is_compiled() && !interpreted.is_compiled(), "{source}");
    for _ in 0..20 {
        let (mut now, mut previous) = ([None; FEATURES.len()], [None; FEATURES.len()]);
        now.iter_mut().chain(&mut previous).for_each(|figure| *figure = random.maybe());
        let text = |random: &mut Random| random.one_of(&[None, Some("a"), Some("b")]).map(Text::from);
        let entry = Entry { name: text(random), cost: random.maybe(), ..Entry::default() };
        let mut change = Change { seller: text(random), entered: random.below(2) == 0, ..Change::default() };
        change.price = eur(random.one_of(&["9.99", "0", "x"]));
        change.role = random.one_of(&[skuflow_schemas::Role::Own, skuflow_schemas::Role::Competitor]);
        let change = (random.below(3) > 0).then_some(&change);
        let inputs = Inputs { now: &now, previous: &previous, entry: &entry, change, currency: None };
        assert_eq!(compiled.truth(&inputs), interpreted.truth(&inputs), "{source}");
        let bits = |number: Option<f64>| number.map(f64::to_bits);
        assert_eq!(bits(compiled.number(&inputs)), bits(interpreted.number(&inputs)), "{source}");
    }
}

#[test]
fn what_is_compiled_says_what_the_interpreter_of_cel_says() {
    let mut random = Random(11);
    for round in 0..1_500 {
        let depth = 1 + round % 4;
        let (truth, number) = (random.truth(depth), random.number(depth));
        compare(&truth, Asked::Truth, &mut random);
        compare(&number, Asked::Number, &mut random);
    }
    let file: File = toml::from_str(MARKET).expect("rules");
    for rule in &file.rule {
        compare(&rule.when, Asked::Truth, &mut random);
        rule.value.iter().for_each(|value| compare(value, Asked::Number, &mut random));
    }
}

#[test]
fn what_is_not_compiled_is_interpreted() {
    let said = |source: &str, name: Option<&str>| {
        let expression =
            Expression::compile(source, Asked::Truth).unwrap_or_else(|wrong| panic!("{source}: {wrong:?}"));
        assert!(!expression.is_compiled(), "{source}");
        let entry = Entry { name: name.map(Text::from), ..Entry::default() };
        let now = [Some(3.0); FEATURES.len()];
        expression.truth(&Inputs { now: &now, previous: &now, entry: &entry, change: None, currency: None })
    };
    assert_eq!(said("catalog.name.startsWith(\"tea\")", Some("tea pot")), Some(true));
    assert_eq!(said("catalog.name.startsWith(\"tea\")", None), None);
    assert_eq!(said("catalog.name in [\"tea\", \"mug\"] && features.price_gap > 1.0", Some("mug")), Some(true));
    assert_eq!(said("[1.0, 2.0].exists(x, x > features.price_gap)", None), Some(false));
    assert_eq!(said("double(7 / 2) == features.price_gap", None), Some(true));
}

#[test]
fn mistakes_are_found_where_they_are() {
    let said = |source: &str| {
        let faults = Expression::compile(source, Asked::Truth).expect_err(source);
        let shown = faults.iter().map(|fault| format!("{} @ {}", fault.message, &source[fault.at.clone()]));
        shown.collect::<Vec<_>>().join("; ")
    };
    assert_eq!(said("features.product_marign < 0.1"), "there is no `product_marign` in `features` @ product_marign");
    assert_eq!(said("é.x > 1"), "the expression does not parse: Syntax error: token recognition error at: 'é' @ é");
    assert_eq!(said("feature.price_gap < 0.1"), "there is no `feature` @ feature");
    assert_eq!(said("features.price_gap * 2 > 1.0"), "`*` does not take a number with and one without decimals @ *");
    assert_eq!(said("features.price_gap"), "this is a number, not true or false @ features.price_gap");
    assert_eq!(said("features.price_gap > \"1\""), "a number and a text do not compare @ >");
    assert_eq!(said("features.price_gap < null"), "null is neither smaller nor larger than anything @ <");
    assert_eq!(said("change.role == \"competitr\""), "there is no `competitr` there @ \"competitr\"");
    assert_eq!(
        said("has(features.price_gap)").split(" @").next(),
        Some("`price_gap` is always there, and null where nothing is known")
    );
    assert_eq!(said("features.price_gap && true"), "this is a number, not true or false @ .");
    assert!(said("features.size() > 1").starts_with("`features` alone is no value"));
    assert!(said("frobnicate(catalog.cost)").starts_with("this cannot be computed"));
    assert!(said(&format!("{}true", "!".repeat(3_000))).starts_with("an expression has at most"));
}

#[test]
fn every_case_of_the_rules_that_come_along_is_ok() {
    let rules = rules(MARKET);
    assert_eq!(rules.iter().count(), 13);
    for rule in rules.iter() {
        let tried: Vec<Tried> = rule.test().collect();
        assert!(tried.iter().all(Tried::is_ok), "{}: {tried:?}", rule.id());
        let some = |expected| tried.iter().any(|tried| tried.expected == expected);
        assert!(some(true) && some(false), "{}: a case for each", rule.id());
    }
}

#[test]
fn no_vector_makes_it_panic() {
    let mut random = Random(3);
    let mut product = Product::new(rules(MARKET));
    let mut alerts = 0;
    for _ in 0..5_000 {
        let mut figures = serde_json::Map::new();
        for feature in FEATURES {
            if let Some(number) = random.maybe() {
                figures.insert(feature.name.into(), number.into());
            }
        }
        let mut values: Values = serde_json::from_value(figures.into()).expect("figures");
        values.product_margin = random.one_of(&[Some(f64::NAN), Some(f64::INFINITY), Some(f64::MIN), None]);
        let micros =
            random.one_of(&[i64::MIN, i64::MAX, 0, -1]).wrapping_add(random.below(1_000_000) as i64 * HOUR / 100);
        let observed_at =
            Timestamp::from_micros(if random.below(50) == 0 { micros } else { random.below(1 << 40) as i64 });
        let envelope = Envelope { observed_at, ..Envelope::default() };
        let mut change = Change { entered: random.below(2) == 0, ..Change::default() };
        change.price = random.one_of(&[
            None,
            eur("1"),
            Some(Money { minor: i64::MIN, exponent: 255, ..eur("1").expect("an amount") }),
        ]);
        change.previous_price = eur("2");
        change.seller = random.one_of(&[None, Some("a"), Some("b")]).map(Text::from);
        change.role = skuflow_schemas::Role::Competitor;
        let change = (random.below(2) == 0).then_some(change);
        let vector = Features { envelope, product: "p".into(), values, change, ..Features::default() };
        if random.below(100) == 0 {
            product.state = Watched::default(); // or nothing would ever come after the end of time
        }
        alerts += product.take(Input::made(Event::Features(Box::new(vector)))).len();
    }
    assert!(alerts > 100, "{alerts} alerts");
}
