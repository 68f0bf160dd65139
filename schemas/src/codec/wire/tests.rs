//! Both ways of reading and writing a datum, held against each other.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_avro_fast::ser::SerializerConfig;

use super::super::tests::{empty, full};
use super::super::{RELEASED, frame, latest, resolved, schemas, writer_index};
use super::Wire;
use crate::{Decoder, Encoder, Event, Family, Sale};

/// Calls `$check` with the type of the event's family.
macro_rules! of_family {
    ($event:expr, $check:ident($($argument:expr),*)) => {
        match $event {
            Event::Offer(event) => $check(event.as_ref() $(, $argument)*),
            Event::Sale(event) => $check(event.as_ref() $(, $argument)*),
            Event::Inventory(event) => $check(event.as_ref() $(, $argument)*),
            Event::Catalog(event) => $check(event.as_ref() $(, $argument)*),
            Event::Listing(event) => $check(event.as_ref() $(, $argument)*),
            Event::Quality(event) => $check(event.as_ref() $(, $argument)*),
            Event::Features(event) => $check(event.as_ref() $(, $argument)*),
            Event::Alert(event) => $check(event.as_ref() $(, $argument)*),
        }
    };
}

fn by_name<T: Serialize>(event: &T, family: Family) -> Vec<u8> {
    let mut config = SerializerConfig::new(&schemas()[writer_index(family)]);
    serde_avro_fast::to_datum_vec(event, &mut config).expect("fits its schema")
}

fn reads_alike<T: Wire + DeserializeOwned + PartialEq + std::fmt::Debug>(_: &T, family: Family, datum: &[u8]) {
    let here = latest::<T>(datum);
    let there = resolved::<T>(datum, &schemas()[writer_index(family)]);
    if here.is_ok() || there.is_ok() {
        // as text, because a NaN is unlike itself
        assert_eq!(format!("{here:?}"), format!("{there:?}"), "{datum:?}");
    }
}

fn holds(event: &Event) {
    let mut value = Vec::new();
    Encoder.encode(event, &mut value);
    let (index, datum) = frame(&value).expect("just framed");
    assert_eq!(RELEASED[index].family, event.family());
    assert_eq!(datum, of_family!(event, by_name(event.family())), "{event:?}");
    of_family!(event, reads_alike(event.family(), datum));
}

#[test]
fn every_byte_is_as_the_schema_says() {
    full().iter().chain(&empty()).for_each(holds);
}

/// Damaged bytes that are an event still are the same event both ways, and are written the same; others fail both ways.
#[test]
fn both_ways_agree_on_bytes_of_any_kind() {
    let mut random = 7_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    let (full, mut readable) = (full(), 0);
    for round in 0..30_000 {
        let event = &full[round % full.len()];
        let mut value = Vec::new();
        Encoder.encode(event, &mut value);
        for _ in 0..=next(3) {
            let at = 5 + next(value.len() - 5);
            match next(3) {
                0 => value[at] = next(256) as u8,
                1 => value.insert(at, next(4) as u8),
                _ => drop(value.remove(at)),
            }
        }
        of_family!(event, reads_alike(event.family(), &value[5..]));
        if let Ok(event) = Decoder.decode(&value) {
            readable += 1;
            holds(&event);
        }
    }
    assert!(readable > 1_000, "{readable} are too few to show anything");
}

/// A datum that was written before a field was there has that field's default.
#[test]
fn an_older_version_is_read_by_the_names_of_its_fields() {
    let mut json: serde_json::Value = serde_json::from_str(crate::schema_json(Family::Sale)).expect("JSON");
    json["fields"]
        .as_array_mut()
        .expect("a list")
        .retain(|field| field["name"] != "track" && field["name"] != "suspect");
    let older: serde_avro_fast::Schema = json.to_string().parse().expect("a schema");
    let Event::Sale(sale) = &full()[1] else { panic!("the second is a sale") };
    let sale = Sale { suspect: vec![], track: None, ..sale.as_ref().clone() };
    let mut datum = Vec::new();
    sale.write(&mut datum);
    datum.truncate(datum.len() - 2); // the last two fields, empty, take a byte each
    let (read, rest) = resolved::<Sale>(&datum, &older).expect("readable");
    assert_eq!((read, rest), (sale, 0));
}
