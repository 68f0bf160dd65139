//! How scenarios write records, one a line, and how outcomes are shown, in the same words.
//!
//! ```text
//! offer <time> <native id>                               [field=value]…
//! sale  <time> <native id> <order> <line> <units>        [field=value]…
//! stock <time> <native id> <location> <quantity>         [field=value]…
//! entry <time> <product>                                 [field=value]…
//! row   <time> <native id> <product> <role>              [field=value]…
//! gone  <topic> <key>                                    a tombstone
//! bytes <topic> <key> <hex digits>                       whatever a value may be
//! ```
//!
//! Times are `<days>d<hours>:<minutes>[:<seconds>]` since 2024-01-01 in UTC. Fields are called as in the schema, those of
//! the envelope without `envelope.`; unsaid are customer `demo`, source `shop`, marketplace `de`, and taken in when
//! observed. `key=` and `topic=` replace the record's own. Values: amounts `9.99EUR`, times, listings `A,B`, long texts
//! `x*1025`, JSON, or a word. `track=P-1:own`, and `track=P-1:own:retracted`, make an event the copy for a product.
//!
//! Of figures only those are shown that changed since the product's last: `name=value`, or `name:reason` of null.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use skuflow_schemas::{
    Catalog, Currency, Decoder, Envelope, Event, FEATURES, Family, Features, Inventory, Listing, ListingRef, Money,
    Offer, Quality, Sale, Timestamp,
};

use super::{Message, message_of};

/// 2024-01-01T00:00:00Z.
const START: Timestamp = Timestamp::from_millis(1_704_067_200_000);
const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Longest text that is shown whole.
const SHOWN_BYTES_MAX: usize = 64;

/// Reads a line.
pub(super) fn parse(line: &str) -> Result<Message, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let raw = |topic: &str, key: &str, value| Message { topic: topic.into(), key: key.into(), value, refused: None };
    match words.as_slice() {
        ["gone", topic, key] => Ok(raw(topic, key, None)),
        ["bytes", topic, key, "-"] => Ok(raw(topic, key, Some(Vec::new()))),
        ["bytes", topic, key, digits] => Ok(raw(topic, key, Some(unhex(digits).ok_or("hex digits are pairs")?))),
        ["offer", time, words @ ..] => event(Family::Offer, &["native_id"], time, words),
        ["sale", time, words @ ..] => event(Family::Sale, &["native_id", "order_id", "line_id", "units"], time, words),
        ["stock", time, words @ ..] => event(Family::Inventory, &["native_id", "location", "quantity"], time, words),
        ["entry", time, words @ ..] => event(Family::Catalog, &["product"], time, words),
        ["row", time, words @ ..] => event(Family::Listing, &["listing.native_id", "product", "role"], time, words),
        _ => Err("no such record".into()),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pairs = (0..digits.len()).step_by(2).map(|at| digits.get(at..at + 2));
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

fn event(family: Family, names: &[&str], time: &str, words: &[&str]) -> Result<Message, String> {
    let (given, more) = words.split_at_checked(names.len()).ok_or_else(|| format!("first come {names:?}"))?;
    let mut fields = said(&unsaid(family));
    set(&mut fields, "observed_at", time)?;
    set(&mut fields, "ingested_at", time)?;
    for (name, word) in names.iter().zip(given) {
        set(&mut fields, name, word)?;
    }
    let (mut topic, mut key) = (None, None);
    for word in more {
        match word.split_once('=').ok_or_else(|| format!("{word} is not field=value"))? {
            ("topic", other) => topic = Some(other),
            ("key", other) => key = Some(other),
            (name, word) => set(&mut fields, name, word)?,
        }
    }
    let mut event = build(family, fields).map_err(|error| error.to_string())?;
    let id = event.compute_id();
    event.envelope_mut().ok_or("counts are not written")?.event_id = id;
    let raw = family.raw_topic().filter(|_| !event.topic().starts_with("product-"));
    let mut message = message_of(topic.or(raw).unwrap_or(event.topic()), &event);
    message.key = key.map_or(message.key, str::to_owned);
    Ok(message)
}

/// An event of `family` of which nothing is said.
fn unsaid(family: Family) -> Event {
    let (customer, source, marketplace) = ("demo".into(), "shop".into(), "de".into());
    let envelope = Envelope { customer, source, marketplace, ..Envelope::default() };
    match family {
        Family::Offer => Event::Offer(Box::new(Offer { envelope, ..Offer::default() })),
        Family::Sale => Event::Sale(Box::new(Sale { envelope, ..Sale::default() })),
        Family::Inventory => Event::Inventory(Box::new(Inventory { envelope, ..Inventory::default() })),
        Family::Catalog => Event::Catalog(Box::new(Catalog { envelope, active: true, ..Catalog::default() })),
        Family::Listing => Event::Listing(Box::new(Listing { envelope, listing: listing(""), ..Listing::default() })),
        Family::Quality => Event::Quality(Box::default()),
        Family::Features => Event::Features(Box::default()),
        Family::Alert => Event::Alert(Box::default()),
    }
}

fn listing(native_id: &str) -> ListingRef {
    ListingRef { source: "shop".into(), marketplace: "de".into(), native_id: native_id.into(), seller: None }
}

fn said(event: &Event) -> Value {
    serde_json::to_value(event).expect("plain data")
}

fn build(family: Family, fields: Value) -> serde_json::Result<Event> {
    fn typed<T: DeserializeOwned>(fields: Value) -> serde_json::Result<Box<T>> {
        serde_json::from_value(fields).map(Box::new)
    }
    match family {
        Family::Offer => typed(fields).map(Event::Offer),
        Family::Sale => typed(fields).map(Event::Sale),
        Family::Inventory => typed(fields).map(Event::Inventory),
        Family::Catalog => typed(fields).map(Event::Catalog),
        Family::Listing => typed(fields).map(Event::Listing),
        Family::Quality => typed(fields).map(Event::Quality),
        Family::Features => typed(fields).map(Event::Features),
        Family::Alert => typed(fields).map(Event::Alert),
    }
}

fn set(fields: &mut Value, name: &str, word: &str) -> Result<(), String> {
    let path = format!("/{}", name.replace('.', "/"));
    let path = if fields.pointer(&path).is_some() { path } else { format!("/envelope{path}") };
    let field = fields.pointer_mut(&path).ok_or_else(|| format!("no field is called {name}"))?;
    *field = if field.is_string() && !word.starts_with('"') { text(word) } else { value(name, word) };
    Ok(())
}

fn value(name: &str, word: &str) -> Value {
    if matches!(name, "own" | "competitors") && !word.starts_with('[') {
        return word.split(',').map(|id| serde_json::to_value(listing(id)).expect("plain data")).collect();
    }
    if name == "track" && !word.starts_with('{') {
        let retracted = word.strip_suffix(":retracted");
        let (product, role) = retracted.unwrap_or(word).rsplit_once(':').unwrap_or((word, ""));
        return serde_json::json!({ "product": product, "role": role, "retracted": retracted.is_some() });
    }
    let time = || parse_time(word).map(|time| time.micros().into());
    let amount = || {
        let (number, code) = word.split_at_checked(word.len().checked_sub(3)?)?;
        let amount = Money::parse(number, '.', Currency::parse(code).ok()?).ok()?;
        serde_json::to_value(amount).ok()
    };
    time().or_else(amount).or_else(|| serde_json::from_str(word).ok()).unwrap_or_else(|| text(word))
}

/// `x*3` is `xxx`.
fn text(word: &str) -> Value {
    let repeated = word.split_once('*').and_then(|(part, times)| Some(part.repeat(times.parse().ok()?)));
    Value::String(repeated.unwrap_or_else(|| word.into()))
}

fn parse_time(word: &str) -> Option<Timestamp> {
    let (days, clock) = word.split_once('d')?;
    let mut micros = days.parse::<i64>().ok()? * DAY;
    for (part, unit) in clock.split(':').zip([3600, 60, 1]) {
        micros += part.parse::<i64>().ok()? * unit * SECOND;
    }
    Some(START.plus_micros(micros))
}

fn show_time(time: Timestamp) -> String {
    let micros = time.micros_since(START);
    let (days, second) = (micros.div_euclid(DAY), micros.rem_euclid(DAY) / SECOND);
    let seconds = if second % 60 == 0 { String::new() } else { format!(":{:02}", second % 60) };
    format!("{days}d{:02}:{:02}{seconds}", second / 3600, second / 60 % 60)
}

/// Shows what a stage published, by topic in the order of their names, within a topic in the order of its log; the counts
/// added up, and last. Counts of what could not be read tell no hour: it is the hour of arrival.
pub fn report(published: &[Message]) -> String {
    let mut by_topic: BTreeMap<&str, String> = BTreeMap::new();
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let mut figures: BTreeMap<String, BTreeMap<&str, String>> = BTreeMap::new();
    for message in published {
        let mut shown = show(message);
        match message.value.as_deref().map(|value| Decoder.decode(value)) {
            Some(Ok(Event::Quality(quality))) => {
                *counts.entry(show_cell(&quality)).or_default() += quality.count;
                continue;
            }
            Some(Ok(Event::Features(features))) => {
                shown += &show_figures(&features, figures.entry(message.key.clone()).or_default());
            }
            _ => {}
        }
        let why = message.refused.as_ref().map_or_else(String::new, |why| format!("    {why}\n"));
        *by_topic.entry(&message.topic).or_default() += &format!("{shown}\n{why}");
    }
    let counts = counts.iter().map(|(cell, count)| format!("{cell} {count}\n"));
    by_topic.into_values().chain(counts).collect()
}

/// The figures that are others than in `last`, each on a line, and puts them there.
fn show_figures(features: &Features, last: &mut BTreeMap<&str, String>) -> String {
    let figures = FEATURES.iter().zip(features.values.in_order()).zip(features.reasons.in_order());
    let mut lines = String::new();
    for ((spec, value), reason) in figures {
        let null = || format!(":{}", serde_json::json!(reason).as_str().unwrap_or("?"));
        let shown = value.map_or_else(null, |value| format!("={value}"));
        if last.get(spec.name) != Some(&shown) {
            lines += &format!("\n    {}{shown}", spec.name);
            last.insert(spec.name, shown);
        }
    }
    lines
}

fn show_cell(quality: &Quality) -> String {
    let Quality { customer, source, family, outcome, rule, .. } = quality;
    let unreadable = source.is_empty() && customer.is_empty();
    let hour = if unreadable { "-".into() } else { show_time(quality.hour) };
    let whose = if unreadable { "-".into() } else { format!("{customer}/{source}") };
    format!("quality.v1 {whose} {family} {hour} {} {rule}", outcome.name()).trim_end().into()
}

/// A record in one line; a value that is no event in hex.
fn show(message: &Message) -> String {
    let key = if message.key.is_empty() { "-".into() } else { shorten(&message.key) };
    let value = match message.value.as_deref().map(|value| Decoder.decode(value).map_err(|_| value)) {
        None => "gone".to_owned(),
        Some(Ok(event)) => show_event(&event),
        Some(Err([])) => "bytes -".to_owned(),
        Some(Err(bytes)) => bytes.iter().fold("bytes ".to_owned(), |hex, byte| format!("{hex}{byte:02x}")),
    };
    format!("{} {key} {value}", message.topic)
}

/// Its time, and what is said.
fn show_event(event: &Event) -> String {
    let (mut fields, mut unsaid_fields) = (Vec::new(), Vec::new());
    flatten("", &said(event), &mut fields);
    fields.retain(|(path, _)| !path.starts_with("values.") && !path.starts_with("reasons."));
    flatten("", &said(&unsaid(event.family())), &mut unsaid_fields);
    let time = show_time(event.observed_at());
    let unsaid_fields: BTreeMap<_, _> = unsaid_fields.into_iter().collect();
    let is_said = |(path, shown): &&(String, String)| {
        if path.starts_with("change.") && matches!(shown.as_str(), "null" | "unknown") {
            return false;
        }
        let unsaid = unsaid_fields.get(path).map_or("false", String::as_str);
        shown != unsaid && path != "observed_at" && (path != "ingested_at" || *shown != time)
    };
    fields.iter().filter(is_said).fold(time.clone(), |line, (path, shown)| format!("{line} {path}={shown}"))
}

/// The fields and what they say, in the order of the schema.
fn flatten(path: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.contains_key("minor") => {
            for (name, field) in fields {
                let is_outer = matches!(path, "" | "envelope");
                flatten(&if is_outer { name.clone() } else { format!("{path}.{name}") }, field, into);
            }
        }
        field => into.push((path.into(), show_field(path, field))),
    }
}

fn show_field(name: &str, field: &Value) -> String {
    match field {
        Value::String(id) if name.ends_with("_id") && id.len() == 32 => id[..8].into(), // enough to tell them apart
        Value::String(text) if text.contains(|c: char| c.is_whitespace() || c.is_control()) => field.to_string(),
        Value::String(text) => shorten(text),
        Value::Array(items) => items.iter().map(|item| show_field("", item)).collect::<Vec<_>>().join(","),
        Value::Number(micros) if name.ends_with("_at") => {
            micros.as_i64().map_or_else(|| micros.to_string(), |micros| show_time(Timestamp::from_micros(micros)))
        }
        Value::Object(item) if item.contains_key("native_id") => item["native_id"].as_str().unwrap_or("?").into(),
        _ => match serde_json::from_value::<Money>(field.clone()) {
            Ok(amount) => amount.to_string().replace(' ', ""),
            Err(_) => field.to_string(),
        },
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= SHOWN_BYTES_MAX {
        return text.into();
    }
    let start: String = text.chars().take(16).collect();
    format!("{start}…{}-bytes", text.len())
}
