#![expect(clippy::unnecessary_wraps, clippy::too_many_lines, reason = "fixtures as the events have them")]

use super::*;
use crate::{
    Availability, BuyBox, Catalog, Condition, Currency, Envelope, EventId, Extraction, Fulfilment, Inventory, Listing,
    ListingRef, Money, Offer, Outcome, Quality, QuantityRelation, Rank, Role, Sale, SaleStatus, Timestamp, Track,
    Vantage,
};

fn encode(event: &Event) -> Vec<u8> {
    let mut value = Vec::new();
    Encoder.encode(event, &mut value);
    value
}

fn full_envelope() -> Envelope {
    Envelope {
        event_id: EventId([7; 16]),
        ingested_at: Timestamp::from_micros(1_700_000_000_000_001),
        customer: "demo".into(),
        source: "shop".into(),
        marketplace: "de".into(),
        observed_at: Timestamp::from_micros(-5),
        source_event_id: Some("evt-1".into()),
        source_version: Some("2".into()),
        cause_id: Some(EventId([9; 16])),
    }
}

fn money(minor: i64) -> Option<Money> {
    Some(Money { minor, currency: Currency::parse("EUR").expect("three letters"), exponent: 2 })
}

fn track() -> Option<Track> {
    Some(Track { product: "P-1".into(), role: Role::Competitor, retracted: true })
}

/// An event of each family with everything said, in the order of [`Family::ALL`].
pub(super) fn full() -> Vec<Event> {
    let listing = |id: &str| ListingRef { source: "shop".into(), marketplace: "de".into(), native_id: id.into() };
    vec![
        Event::Offer(Box::new(Offer {
            envelope: full_envelope(),
            native_id: "B000000001".into(),
            seller: Some("a seller with a name that is longer than twenty-four bytes".into()),
            price: money(1999),
            shipping: money(0),
            landed_price: money(1999),
            list_price: money(i64::MAX),
            availability: Availability::MadeToOrder,
            stock_level: Some(3),
            condition: Condition::OpenBox,
            fulfilment: Fulfilment::Pickup,
            buy_box: BuyBox::None,
            offer_count: Some(12),
            ranks: vec![Rank { category: "kitchen".into(), rank: 1 }, Rank { category: "ä".into(), rank: i64::MIN }],
            rating: Some(4.5),
            rating_best: Some(10.0),
            review_count: Some(99),
            vantage: Vantage {
                country: Some("DE".into()),
                postal: Some("10115".into()),
                membership: Some("plus".into()),
            },
            extraction: Some(Extraction { method: "json-ld".into(), confidence: Some(0.5) }),
            suspect: vec!["magnitude-jump".into()],
            track: track(),
        })),
        Event::Sale(Box::new(Sale {
            envelope: full_envelope(),
            native_id: "SKU".into(),
            order_id: "O-1".into(),
            line_id: "1".into(),
            units: -2,
            unit_price: money(-1),
            status: SaleStatus::Cancelled,
            business_date: crate::BusinessDate(14_000),
            suspect: vec!["units-zero".into()],
            track: track(),
        })),
        Event::Inventory(Box::new(Inventory {
            envelope: full_envelope(),
            native_id: "SKU".into(),
            location: "leeds".into(),
            quantity: 10,
            relation: QuantityRelation::AtLeast,
            suspect: vec!["x".into()],
            track: track(),
        })),
        Event::Catalog(Box::new(Catalog {
            envelope: full_envelope(),
            product: "P-1".into(),
            name: Some("Kettle".into()),
            category: Some("kitchen".into()),
            currency: Some("EUR".into()),
            cost: money(1),
            price_floor: money(2),
            price_ceiling: money(3),
            own: vec![listing("1")],
            competitors: vec![listing("2"), listing("3")],
            active: false,
        })),
        Event::Listing(Box::new(Listing {
            envelope: full_envelope(),
            listing: listing("1"),
            product: "P-1".into(),
            role: Role::Own,
        })),
        Event::Quality(Box::new(Quality {
            customer: "demo".into(),
            source: "shop".into(),
            family: "offer".into(),
            hour: Timestamp::from_micros(3_600_000_000),
            outcome: Outcome::Rejected,
            rule: "price-not-positive".into(),
            count: 7,
            latest_observed_at: Timestamp::from_micros(3_600_000_001),
        })),
    ]
}

pub(super) fn empty() -> Vec<Event> {
    vec![
        Event::Offer(Box::default()),
        Event::Sale(Box::default()),
        Event::Inventory(Box::default()),
        Event::Catalog(Box::default()),
        Event::Listing(Box::default()),
        Event::Quality(Box::default()),
    ]
}

#[test]
fn events_round_trip_full_and_empty() {
    for event in full().into_iter().chain(empty()) {
        assert_eq!(Decoder.decode(&encode(&event)), Ok(event.clone()), "{event:?}");
        assert_eq!(Decoder.decode_family(&encode(&event), event.family()), Ok(event));
    }
}

#[test]
fn every_error_has_its_code() {
    let value = encode(&full()[0]);
    let code = |value: &[u8]| Decoder.decode(value).map_err(|error| error.code()).err();
    assert_eq!(code(b""), Some("no-value"));
    assert_eq!(code(b"{}"), Some("not-framed"));
    assert_eq!(code(&[0, 0, 0]), Some("not-framed"));
    assert_eq!(code(&[0, 0, 0, 1, 0, 1]), Some("schema-unknown"));
    assert_eq!(code(&[value.clone(), vec![0]].concat()), Some("schema-mismatch"), "bytes behind the datum");
    for length in 5..value.len() {
        assert_eq!(code(&value[..length]), Some("schema-mismatch"), "cut at {length}");
    }
    let huge = [&value[..5], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]].concat(); // a text of 2^54 bytes
    assert_eq!(code(&huge), Some("schema-mismatch"));
    let wrong = Decoder.decode_family(&value, Family::Sale).map_err(|error| error.code());
    assert_eq!(wrong, Err("wrong-family"));
}

#[test]
fn random_bytes_never_panic() {
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    for round in 0..20_000 {
        let mut value = encode(&full()[round % 6]);
        for _ in 0..=next() % 4 {
            let at = 5 + usize::from(next()) % (value.len() - 5);
            value[at] = next();
        }
        let _either_is_fine = Decoder.decode(&value);
    }
}

#[test]
fn the_body_is_what_is_said_not_when_it_was_taken_in() {
    for mut event in full().into_iter().filter(|event| event.envelope().is_some()) {
        let before = body_hash(&encode(&event));
        let envelope = event.envelope_mut().expect("filtered");
        (envelope.event_id, envelope.ingested_at) = (EventId([1; 16]), Timestamp::MAX);
        assert_eq!(body_hash(&encode(&event)), before);
        event.envelope_mut().expect("filtered").source = "other".into();
        assert_ne!(body_hash(&encode(&event)), before);
    }
}

/// Fixtures are append-only: `fixtures/<family>/v<N>.{avsc,avro,json}` of every released version.
fn fixture(family: Family, name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(family.name()).join(name)
}

#[test]
fn what_was_released_reads_as_it_did() {
    for event in full() {
        let family = event.family();
        let read = |name: &str| std::fs::read(fixture(family, name)).expect("a fixture");
        if std::env::var_os("UPDATE_EXPECT").is_some() && !fixture(family, "v1.avro").exists() {
            std::fs::create_dir_all(fixture(family, "")).expect("can be made");
            std::fs::write(fixture(family, "v1.avsc"), schema_json(family)).expect("writable");
            std::fs::write(fixture(family, "v1.avro"), encode(&event)).expect("writable");
            let json = serde_json::to_string_pretty(&event).expect("plain data") + "\n";
            std::fs::write(fixture(family, "v1.json"), json).expect("writable");
        }
        let released = RELEASED.iter().find(|released| released.family == family).expect("released");
        assert_eq!(released.json.as_bytes(), read("v1.avsc"), "a released schema never changes");
        let decoded = Decoder.decode(&read("v1.avro")).expect("old bytes are read");
        let json = serde_json::to_string_pretty(&decoded).expect("plain data") + "\n";
        assert_eq!(json.as_bytes(), read("v1.json"));
    }
}

/// Why a reader with schema `reader` cannot read what was written with `writer`: the rules of the Avro specification for what
/// our schemas use.
fn unreadable(reader: &serde_json::Value, writer: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    let variants = |schema: &Value| schema.as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    if reader.is_array() || writer.is_array() {
        let readers = variants(reader);
        let lost = variants(writer).into_iter().find(|w| readers.iter().all(|r| unreadable(r, w).is_some()));
        return lost.map(|lost| format!("nothing reads {lost}"));
    }
    let kind = |schema: &Value| schema["type"].as_str().or(schema.as_str()).unwrap_or_default().to_owned();
    let (read, written) = (kind(reader), kind(writer));
    if read != written {
        return Some(format!("{read} does not read {written}"));
    }
    match read.as_str() {
        "record" => reader["fields"].as_array()?.iter().find_map(|field| {
            let same = writer["fields"].as_array()?.iter().find(|other| other["name"] == field["name"]);
            match same {
                Some(same) => unreadable(&field["type"], &same["type"]),
                None => field.get("default").is_none().then(|| format!("{} has no default", field["name"])),
            }
        }),
        "enum" => {
            let symbols = reader["symbols"].as_array()?;
            let covered = writer["symbols"].as_array()?.iter().all(|symbol| symbols.contains(symbol));
            (!covered && reader.get("default").is_none()).then(|| format!("{} has no default", reader["name"]))
        }
        "array" => unreadable(&reader["items"], &writer["items"]),
        _ => (reader["logicalType"] != writer["logicalType"]).then(|| "another logical type".to_owned()),
    }
}

#[test]
fn all_released_versions_read_each_other() {
    let parse = |released: &Released| -> serde_json::Value { serde_json::from_str(released.json).expect("JSON") };
    for reader in RELEASED {
        for writer in RELEASED.iter().filter(|writer| writer.family == reader.family) {
            assert_eq!(unreadable(&parse(reader), &parse(writer)), None, "{}", reader.family.name());
        }
    }
    let mut ids: Vec<u32> = RELEASED.iter().map(|released| released.id).collect();
    ids.dedup();
    assert_eq!(ids.len(), RELEASED.len(), "ids are unique");
}

/// The negative control: changes that would break readers are found.
#[test]
fn a_breaking_change_is_found() {
    let schema: serde_json::Value = serde_json::from_str(schema_json(Family::Sale)).expect("JSON");
    let mut renamed = schema.clone();
    renamed["fields"][1]["name"] = "sku".into();
    assert!(unreadable(&renamed, &schema).is_some(), "a new field without a default");
    assert!(unreadable(&schema, &renamed).is_some(), "a removed field without a default");
    let mut retyped = schema.clone();
    retyped["fields"][4]["type"] = "string".into();
    assert!(unreadable(&retyped, &schema).is_some(), "another type");
    let mut added = schema.clone();
    let field = serde_json::json!({ "name": "note", "type": ["null", "string"], "default": null });
    added["fields"].as_array_mut().expect("a list").push(field);
    assert_eq!((unreadable(&added, &schema), unreadable(&schema, &added)), (None, None), "an optional field is fine");
}

fn enums(schema: &serde_json::Value, into: &mut Vec<serde_json::Value>) {
    match schema {
        serde_json::Value::Object(fields) => {
            if fields.get("type").is_some_and(|kind| kind == "enum") {
                into.push(schema.clone());
            }
            fields.values().for_each(|field| enums(field, into));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| enums(item, into)),
        _ => {}
    }
}

#[test]
fn every_enum_has_the_default_unknown_and_the_names_of_its_type() {
    fn agrees<T: serde::de::DeserializeOwned + serde::Serialize>(symbols: &serde_json::Value) {
        for symbol in symbols.as_array().expect("a list") {
            let value: T = serde_json::from_value(symbol.clone()).expect("a name of the type");
            assert_eq!(serde_json::to_value(&value).expect("plain data"), *symbol);
        }
    }
    let mut found = Vec::new();
    for family in Family::ALL {
        enums(&serde_json::from_str(schema_json(*family)).expect("JSON"), &mut found);
    }
    assert!(found.len() >= 8);
    for schema in found {
        assert_eq!(schema["default"], "unknown", "{}", schema["name"]);
        let symbols = &schema["symbols"];
        match schema["name"].as_str().expect("a name") {
            "Availability" => agrees::<Availability>(symbols),
            "Condition" => agrees::<Condition>(symbols),
            "Fulfilment" => agrees::<Fulfilment>(symbols),
            "BuyBox" => agrees::<BuyBox>(symbols),
            "Role" => agrees::<Role>(symbols),
            "SaleStatus" => agrees::<SaleStatus>(symbols),
            "QuantityRelation" => agrees::<QuantityRelation>(symbols),
            "Outcome" => agrees::<Outcome>(symbols),
            other => panic!("{other} has no type here"),
        }
    }
}
