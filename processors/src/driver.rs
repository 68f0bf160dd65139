//! The steps without a runtime, for tests: scenarios written as text, and what becomes of them.
//!
//! ```text
//!  scenarios/*.txt ──parse──▶ inputs ─┬─▶ run: the steps, one record at a time ──▶ report ──▶ text, as in the file
//!                                     └─▶ any task that has the same steps     ──▶ report ──▶ the same text
//! ```
//!
//! A scenario holds for every runtime: its inputs are in the order in which a task takes them, whatever the order of its
//! topics, and its outcome is shown by topic.

mod script;
#[cfg(test)]
mod states;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use skuflow_schemas::{
    DEAD_LETTER_PREFIX, Day, Decoder, Encoder, Envelope, Event, EventId, Family, Key, LATE_PREFIX, Outcome, Quality,
    Timestamp, body_hash,
};

pub use script::report;

use crate::{
    Context, Counted, GRACE_MICROS, Input, Outbox, Output, Processor, Reject, Rows, Seen, SeenIds, State, Stated,
    Timer, alerts, catalog, codec, dedup, features, route, validate,
};

/// Ends the inputs of a scenario; what follows is its outcome.
const OUTCOME: &str = "----\n";
/// Timers that fire before a record at most, as in a task; the rest fire behind it.
const WAKES_PER_RECORD_MAX: usize = 10_000;

/// A record that goes into a stage or comes out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The key.
    pub key: String,
    /// The framed value; none for the end of a row.
    pub value: Option<Vec<u8>>,
    /// Why it is a dead letter, as `<code>: <message>`; none for any other record.
    pub refused: Option<String>,
}

/// Records for one partition of a stage with default settings, and what becomes of them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its file's name, without the ending.
    pub name: String,
    /// `clean` (validate, dedup, route), `catalog` (validate, catalog) `compete` (features) or
    /// `alerts` (features, alerts by the rules of the market).
    pub stage: &'static str,
    /// What goes in, in this order.
    pub inputs: Vec<Message>,
    /// What comes out, as [`report`] shows it.
    pub expected: String,
}

/// All scenarios, by name.
pub fn scenarios() -> impl Iterator<Item = Scenario> {
    files().into_iter().map(|path| {
        let text = std::fs::read_to_string(&path).expect("a scenario is text");
        let name = path.file_stem().expect("a file has a name").to_string_lossy();
        Scenario::parse(&name, &text).unwrap_or_else(|why| panic!("{name}: {why}"))
    })
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let entries = std::fs::read_dir(folder).expect("the scenarios are beside the source");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("can be listed").path()).collect();
    files.sort();
    files
}

impl Scenario {
    /// Reads a scenario: its stage, a record a line, and behind `----` its outcome.
    ///
    /// # Errors
    /// The line that is none, and why.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let (head, expected) = text.split_once(OUTCOME).unwrap_or((text, ""));
        let mut lines = head.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let stage = match lines.next() {
            Some("stage clean") => "clean",
            Some("stage catalog") => "catalog",
            Some("stage compete") => "compete",
            Some("stage alerts") => "alerts",
            other => return Err(format!("first comes `stage` clean, catalog, compete or alerts, not {other:?}")),
        };
        let inputs = lines.map(|line| script::parse(line).map_err(|why| format!("{line}: {why}")));
        Ok(Self { name: name.into(), stage, inputs: inputs.collect::<Result<_, _>>()?, expected: expected.into() })
    }

    /// What comes out, record by record: of each topic in the order of its log. What a step passes on from a topic that
    /// the stage reads is not published.
    pub fn run(&self) -> Vec<Message> {
        let read: BTreeSet<&str> = self.inputs.iter().map(|input| input.topic.as_str()).collect();
        let mut published = run(&steps(self.stage), &self.inputs);
        published.retain(|message| !read.contains(message.topic.as_str()));
        published
    }
}

fn steps(stage: &str) -> Vec<Box<dyn Step>> {
    let validate = Box::new(validate::Validate::new(validate::Config::default()));
    match stage {
        "compete" => vec![Box::new(features::Features::new(features::Config::default()))],
        "alerts" => vec![
            Box::new(features::Features::new(features::Config::default())),
            Box::new(alerts::Alerts::new(alerts::Rules::market().into())),
        ],
        "catalog" => vec![validate, Box::new(catalog::Catalog::new(catalog::Config::default()))],
        _ => vec![
            validate,
            Box::new(dedup::Dedup::new(dedup::Config::default())),
            Box::new(route::Route::new(route::Config::default())),
        ],
    }
}

fn run(steps: &[Box<dyn Step>], inputs: &[Message]) -> Vec<Message> {
    let mut kept = Kept::default();
    inputs.iter().flat_map(|input| process(steps, &mut kept, input)).collect()
}

/// A processor whose state is bytes, whatever its type.
trait Step {
    fn refuses(&self, state: Option<&Vec<u8>>, input: &Input) -> Option<Reject>;
    /// Gives the new state, if it was written to.
    fn work(&self, state: Option<&Vec<u8>>, call: Call<'_>, context: &mut Context<'_>) -> Option<Vec<u8>>;
}

/// Why a step works.
enum Call<'a> {
    Apply(Input),
    Wake(&'a Timer),
}

impl<P: Processor> Step for P {
    fn refuses(&self, state: Option<&Vec<u8>>, input: &Input) -> Option<Reject> {
        self.check(input, &load(state)).err()
    }

    fn work(&self, state: Option<&Vec<u8>>, call: Call<'_>, context: &mut Context<'_>) -> Option<Vec<u8>> {
        let mut state = Stated::clean(load::<P::State>(state));
        match call {
            Call::Apply(input) => self.apply(input, &mut state, context),
            Call::Wake(timer) => self.wake(timer, &mut state, context),
        }
        state.is_dirty().then(|| store(&*state))
    }
}

fn load<S: State>(bytes: Option<&Vec<u8>>) -> S {
    bytes.map_or_else(S::default, |bytes| codec::decode(bytes).expect("what was stored can be read"))
}

fn store<S: State>(state: &S) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(state, &mut bytes);
    assert!(load::<S>(Some(&bytes)) == *state, "a state that is stored and read back is the same");
    bytes
}

/// All that a task keeps from record to record.
#[derive(Clone, Debug, Default, PartialEq)]
struct Kept {
    /// By step and key.
    states: BTreeMap<(usize, String), Vec<u8>>,
    /// By step, key and number.
    rows: BTreeMap<(usize, String, u64), Vec<u8>>,
    seen: SeenByDay,
    timers: BTreeSet<Timer>,
    stream_time: Option<Timestamp>,
}

/// Processes one record as one transaction; gives what it publishes.
fn process(steps: &[Box<dyn Step>], kept: &mut Kept, message: &Message) -> Vec<Message> {
    let input = match decode(message) {
        Ok(input) => input,
        Err(reject) => return refused(message, None, &reject),
    };
    if message.key.is_empty() {
        let why = "the record has no key, or one that is no UTF-8".into();
        return refused(message, input.event(), &Reject { rule: "key-missing", message: why });
    }
    let key = Key::entity(&message.key);
    if let Some(reject) = steps[0].refuses(kept.states.get(&(0, key.into())), &input) {
        return refused(message, input.event(), &reject);
    }
    let time = input.stream_time();
    let mut published = Vec::new();
    if time > kept.stream_time {
        kept.stream_time = time;
        fire_due(None, steps, kept, message, &mut published);
    }
    let value = message.value.as_deref();
    Turn { steps, kept, topic: &message.topic, value, published: &mut published }.call(0, key, Call::Apply(input));
    let grace = kept.stream_time.map(|time| time.plus_micros(-GRACE_MICROS));
    // What the record has set may be due already.
    while fire_due(grace, steps, kept, message, &mut published) == WAKES_PER_RECORD_MAX {}
    published
}

/// Fires the timers that are due, in their order, unless the first of them was due before `from`; how many.
fn fire_due(
    from: Option<Timestamp>,
    steps: &[Box<dyn Step>],
    kept: &mut Kept,
    message: &Message,
    published: &mut Vec<Message>,
) -> usize {
    for fired in 0..WAKES_PER_RECORD_MAX {
        let due = kept.timers.first().map(|timer| timer.due);
        if due > kept.stream_time || due < from {
            return fired;
        }
        let Some(timer) = kept.timers.pop_first() else { return fired };
        let mut turn = Turn { steps, kept, topic: &message.topic, value: None, published };
        turn.call(timer.step.into(), &timer.key, Call::Wake(&timer));
    }
    WAKES_PER_RECORD_MAX
}

/// Only a row of a table can end; anywhere else no value is an error.
fn decode(message: &Message) -> Result<Input, Reject> {
    let family = family_of(message);
    match &message.value {
        None if matches!(family, Family::Listing | Family::Catalog) => {
            Ok(Input::Tombstone { family, key: Key::from(message.key.as_str()) })
        }
        value => {
            let value = value.as_deref().unwrap_or_default();
            let event = Decoder.decode_family(value, family);
            let event = event.map_err(|error| Reject { rule: error.code(), message: error.to_string() })?;
            Ok(Input::Event { event, body: body_hash(value), as_read: true, again: false })
        }
    }
}

fn family_of(message: &Message) -> Family {
    skuflow_schemas::topic(&message.topic).unwrap_or_else(|| panic!("no topic is called {}", message.topic)).family
}

/// The dead letter, and its count.
fn refused(message: &Message, event: Option<&Event>, reject: &Reject) -> Vec<Message> {
    let letter = Message {
        topic: format!("{DEAD_LETTER_PREFIX}{}", message.topic),
        refused: Some(format!("{}: {}", reject.rule, reject.message)),
        ..message.clone()
    };
    let unreadable = Envelope::default();
    let envelope = event.and_then(Event::envelope).unwrap_or(&unreadable);
    let counted = Counted { family: family_of(message), envelope, outcome: Outcome::Rejected, rule: reject.rule };
    vec![letter, count_of_one(&counted)]
}

fn message_of(topic: &str, event: &Event) -> Message {
    let mut value = Vec::new();
    Encoder.encode(event, &mut value);
    Message { topic: topic.into(), key: event.key().as_str().into(), value: Some(value), refused: None }
}

/// [`report`] adds counts up, however a runtime had added them up before.
fn count_of_one(counted: &Counted<'_>) -> Message {
    let quality = Quality {
        customer: counted.envelope.customer.clone(),
        source: counted.envelope.source.clone(),
        family: counted.family.name().into(),
        hour: counted.envelope.observed_at.hour(),
        outcome: counted.outcome,
        rule: counted.rule.into(),
        count: 1,
        latest_observed_at: counted.envelope.observed_at,
    };
    message_of("quality.v1", &Event::Quality(Box::new(quality)))
}

/// One record, or what comes of a timer, on its way through the steps.
struct Turn<'a> {
    steps: &'a [Box<dyn Step>],
    kept: &'a mut Kept,
    topic: &'a str,
    /// As it was read; none for a timer.
    value: Option<&'a [u8]>,
    published: &'a mut Vec<Message>,
}

impl Turn<'_> {
    /// Gives `input` to step number `at`; what left the last is published.
    fn feed(&mut self, at: usize, key: &str, input: Input) {
        if at < self.steps.len() {
            return self.call(at, key, Call::Apply(input));
        }
        let message = self.out(&input);
        self.published.push(message);
    }

    /// Lets step number `at` work, and gives what it gives to the next, depth first.
    fn call(&mut self, at: usize, key: &str, call: Call<'_>) {
        let (mut outgoing, stream_time) = (Outgoing::default(), self.kept.stream_time.unwrap_or(Timestamp::MIN));
        let context = &mut Context {
            stream_time,
            value: self.value.unwrap_or_default(),
            seen: &mut self.kept.seen,
            rows: &mut RowsOf { at, key, rows: &mut self.kept.rows },
            outbox: &mut outgoing,
        };
        let place = (at, key.to_owned());
        if let Some(state) = self.steps[at].work(self.kept.states.get(&place), call, context) {
            self.kept.states.insert(place, state);
        }
        let timer = |due| Timer { due, step: at as u8, key: key.into() };
        self.kept.timers.extend(outgoing.wakes.into_iter().map(timer));
        let late_topic = format!("{LATE_PREFIX}{}", self.topic);
        self.published.extend(outgoing.late.iter().map(|event| message_of(&late_topic, event)));
        self.published.extend(outgoing.counts);
        for output in outgoing.given {
            self.feed(at + 1, key, output);
        }
    }

    fn out(&self, output: &Output) -> Message {
        match output {
            Output::Event { event, as_read, .. } => {
                let message = message_of(output.topic(), event);
                assert!(
                    !as_read || message.value.as_deref() == self.value,
                    "an event as it was read was changed: {event:?}"
                );
                message
            }
            Output::Tombstone { key, .. } => {
                Message { topic: output.topic().into(), key: key.as_str().into(), value: None, refused: None }
            }
        }
    }
}

/// A step's rows of one key.
struct RowsOf<'a> {
    at: usize,
    key: &'a str,
    rows: &'a mut BTreeMap<(usize, String, u64), Vec<u8>>,
}

impl Rows for RowsOf<'_> {
    fn put(&mut self, row: u64) -> &mut Vec<u8> {
        let value = self.rows.entry((self.at, self.key.into(), row)).or_default();
        value.clear();
        value
    }

    fn edit(&mut self, row: u64) -> &mut Vec<u8> {
        self.rows.entry((self.at, self.key.into(), row)).or_default()
    }

    fn remove(&mut self, row: u64) {
        self.rows.remove(&(self.at, self.key.into(), row));
    }

    fn get(&mut self, row: u64) -> Option<Vec<u8>> {
        self.rows.get(&(self.at, self.key.into(), row)).cloned()
    }

    fn refuse(&mut self, row: u64, reason: &str) {
        panic!("row {row:x} of {}: {reason}", self.key);
    }
}

/// What a step does besides changing its state.
#[derive(Default)]
struct Outgoing {
    given: Vec<Output>,
    counts: Vec<Message>,
    late: Vec<Event>,
    wakes: Vec<Timestamp>,
}

impl Outbox for Outgoing {
    fn forward(&mut self, output: Output) {
        self.given.push(output);
    }

    fn count(&mut self, counted: Counted<'_>) {
        self.counts.push(count_of_one(&counted));
    }

    fn late(&mut self, event: &Event) {
        self.late.push(event.clone());
    }

    fn wake_at(&mut self, due: Timestamp) {
        self.wakes.push(due);
    }
}

/// The ids seen, each with the day it was taken in and what it said.
#[derive(Clone, Debug, Default, PartialEq)]
struct SeenByDay {
    ids: BTreeMap<EventId, (Day, u64)>,
    latest: Day,
}

impl SeenIds for SeenByDay {
    fn insert(&mut self, taken_in: Day, window_days: u16, id: EventId, body: u64) -> Seen {
        self.latest = self.latest.max(taken_in);
        let first_live = Day(self.latest.0 - i32::from(window_days));
        match self.ids.get(&id) {
            Some((day, known)) if *day >= first_live => [Seen::Different, Seen::Same][usize::from(*known == body)],
            _ => {
                self.ids.insert(id, (taken_in, body));
                Seen::New
            }
        }
    }
}
