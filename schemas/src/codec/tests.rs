#![expect(clippy::unnecessary_wraps, clippy::too_many_lines, reason = "fixtures as the events have them")]

use super::*;
use crate::{
    Alert, Availability, BuyBox, Catalog, Change, Condition, Currency, Envelope, EventId, Evidence, Extraction,
    Features, Fulfilment, Inventory, Listing, ListingRef, Money, Offer, Outcome, Pack, Quality, QuantityRelation, Rank,
    Reason, Reasons, Role, Sale, SaleStatus, Severity, Timestamp, Track, Values, Vantage,
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
    let listing = |id: &str| ListingRef {
        source: "shop".into(),
        marketplace: "de".into(),
        native_id: id.into(),
        seller: Some("us".into()),
    };
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
            pack: Some(Pack { quantity: 500.0, unit: "g".into() }),
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
        Event::Features(Box::new(full_features())),
        Event::Alert(Box::new(Alert {
            envelope: full_envelope(),
            product: "P-1".into(),
            rule: "price-war".into(),
            severity: Severity::Critical,
            message: "3 competitors".into(),
            seller: Some("a seller".into()),
            dedup_key: EventId([8; 16]),
            value: Some(3.0),
            evidence: vec![Evidence { name: "price_gap".into(), value: Some(-1.5), previous: None }],
        })),
    ]
}

fn full_features() -> Features {
    let mut values = Values::default();
    (values.product_price_current, values.score_overall) = (Some(19.99), Some(50.0));
    let mut reasons = Reasons { external_cpi: Reason::NoSource, ..Reasons::default() };
    (reasons.product_price_current, reasons.score_overall) = (Reason::Present, Reason::Present);
    Features {
        envelope: full_envelope(),
        product: "P-1".into(),
        currency: Some("EUR".into()),
        values,
        reasons,
        change: Some(Change {
            listing: "shop:de:1".into(),
            seller: Some("a seller".into()),
            role: Role::Competitor,
            price: money(5),
            previous_price: money(6),
            availability: Availability::InStock,
            previous_availability: Availability::OutOfStock,
            buy_box: BuyBox::Won,
            previous_buy_box: BuyBox::Lost,
            entered: true,
        }),
    }
}

pub(super) fn empty() -> Vec<Event> {
    vec![
        Event::Offer(Box::default()),
        Event::Sale(Box::default()),
        Event::Inventory(Box::default()),
        Event::Catalog(Box::default()),
        Event::Listing(Box::default()),
        Event::Quality(Box::default()),
        Event::Features(Box::default()),
        Event::Alert(Box::default()),
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
    assert_eq!(code(&vec![0; RECORD_BYTES_MAX + 1]), Some("record-too-large"));
    let wrong = Decoder.decode_family(&value, Family::Sale).map_err(|error| error.code());
    assert_eq!(wrong, Err("wrong-family"));
}

#[test]
fn random_bytes_never_panic() {
    const SEED: u64 = 1; // fixed, so that a failure comes again
    let mut random = SEED;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 56) as u8
    };
    for round in 0..20_000 {
        let mut value = encode(&full()[round % full().len()]);
        for _ in 0..=next() % 4 {
            let at = 5 + usize::from(next()) % (value.len() - 5);
            value[at] = next();
        }
        let _either_is_fine = Decoder.decode(&value);
        let noise: Vec<u8> = (0..next()).map(|_| next()).collect();
        let _either_is_fine = Decoder.decode(&[&value[..5], &noise].concat());
        let _either_is_fine = body_hash(&noise);
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

/// The released schemas of each family, with their version: the first is 1.
fn versions() -> impl Iterator<Item = (usize, &'static Released)> {
    RELEASED.iter().enumerate().map(|(at, released)| {
        let before = RELEASED[..at].iter().filter(|earlier| earlier.family == released.family).count();
        (before + 1, released)
    })
}

#[test]
fn what_was_released_reads_as_it_did() {
    for (version, released) in versions() {
        let family = released.family;
        let path = |ending: &str| fixture(family, &format!("v{version}.{ending}"));
        let is_latest = released.id == RELEASED[writer_index(family)].id;
        if std::env::var_os("UPDATE_EXPECT").is_some() && is_latest && !path("avro").exists() {
            let event = full().into_iter().find(|event| event.family() == family).expect("one of each family");
            std::fs::create_dir_all(fixture(family, "")).expect("can be made");
            std::fs::write(path("avsc"), released.json).expect("writable");
            std::fs::write(path("avro"), encode(&event)).expect("writable");
            let json = serde_json::to_string_pretty(&event).expect("plain data") + "\n";
            std::fs::write(path("json"), json).expect("writable");
        }
        let read = |ending: &str| {
            std::fs::read(path(ending)).unwrap_or_else(|error| panic!("{}: {error}", path(ending).display()))
        };
        assert_eq!(released.json.as_bytes(), read("avsc"), "{}: a released schema never changes", family.name());
        let bytes = read("avro");
        assert_eq!(bytes[1..5], released.id.to_be_bytes(), "{}: an id never changes", family.name());
        let decoded = Decoder.decode(&bytes).expect("old bytes are read");
        let now = serde_json::to_value(&decoded).expect("plain data");
        let then = serde_json::from_slice(&read("json")).expect("JSON");
        assert!(says(&now, &then), "{}: {now} is not what it was: {then}", family.name());
        if is_latest {
            assert_eq!(encode(&decoded), bytes, "{}: the latest version is written as ever", family.name());
        }
    }
}

/// Whether `now` says all that `then` says; what was added since may be there too.
fn says(now: &serde_json::Value, then: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object};
    match (now, then) {
        (Object(now), Object(then)) => then.iter().all(|(name, then)| now.get(name).is_some_and(|now| says(now, then))),
        (Array(now), Array(then)) => now.len() == then.len() && now.iter().zip(then).all(|(now, then)| says(now, then)),
        _ => now == then,
    }
}

#[test]
fn what_is_missing_or_changed_is_not_what_it_was() {
    let then = serde_json::json!({ "price": { "minor": 1 }, "own": [{ "id": "A" }] });
    let added =
        serde_json::json!({ "price": { "minor": 1, "tax": null }, "own": [{ "id": "A", "of": 1 }], "note": null });
    assert!(says(&added, &then));
    assert!(!says(&then, &added), "missing");
    assert!(!says(&serde_json::json!({ "price": { "minor": 2 }, "own": [{ "id": "A" }] }), &then), "changed");
    assert!(!says(&serde_json::json!({ "price": { "minor": 1 }, "own": [] }), &then), "fewer");
}

/// Fixtures are only added: none is there that no released schema stands for.
#[test]
fn no_released_version_is_dropped() {
    for family in Family::ALL {
        let released = versions().filter(|(_, released)| released.family == *family).count();
        let files = std::fs::read_dir(fixture(*family, "")).expect("each family has fixtures").count();
        assert_eq!(files, 3 * released, "{}: an avsc, avro and json of each version", family.name());
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
    if reader["name"] != writer["name"] {
        return Some(format!("{} does not read {}", reader["name"], writer["name"]));
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
            (!covered && !reader["default"].is_string()).then(|| format!("{} has no default", reader["name"]))
        }
        "array" => unreadable(&reader["items"], &writer["items"]),
        _ => (reader["logicalType"] != writer["logicalType"]).then(|| "another logical type".to_owned()),
    }
}

#[test]
fn all_released_versions_read_each_other() {
    let schemas = released_schemas();
    for (reader, of) in schemas.iter().zip(RELEASED) {
        for (writer, _) in schemas.iter().zip(RELEASED).filter(|(_, writer)| writer.family == of.family) {
            assert_eq!(unreadable(reader, writer), None, "{}", of.family.name());
        }
    }
    let mut ids: Vec<u32> = RELEASED.iter().map(|released| released.id).collect();
    ids.sort_unstable();
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
    let broken = |name: &str, from: &str, to: &str| {
        let text = schema_json(Family::Sale);
        assert!(text.contains(from), "{name}");
        let broken: serde_json::Value = serde_json::from_str(&text.replace(from, to)).expect("JSON");
        assert!(unreadable(&broken, &schema).or_else(|| unreadable(&schema, &broken)).is_some(), "{name}");
    };
    broken("another name of a nested type", "\"name\": \"SaleStatus\"", "\"name\": \"Status\"");
    broken("another scale of time", "timestamp-micros", "timestamp-millis");
    let mut narrower = schema.clone();
    let fields = narrower["fields"].as_array().expect("a list");
    let status = fields.iter().position(|field| field["name"] == "status").expect("a sale has a status");
    narrower["fields"][status]["type"]["symbols"].as_array_mut().expect("a list").retain(|symbol| symbol != "returned");
    assert_eq!(unreadable(&narrower, &schema), None, "a symbol that the reader lacks is `unknown`");
    narrower["fields"][status]["type"]["default"].take();
    assert!(unreadable(&narrower, &schema).is_some(), "a symbol that the reader lacks, without a default");
    let mut added = schema.clone();
    let field = serde_json::json!({ "name": "note", "type": ["null", "string"], "default": null });
    added["fields"].as_array_mut().expect("a list").push(field);
    assert_eq!((unreadable(&added, &schema), unreadable(&schema, &added)), (None, None), "an optional field is fine");
}

/// The types of a kind (`enum`, `record`) in schemas, at any depth.
fn types<'a>(kind: &str, schemas: impl IntoIterator<Item = &'a serde_json::Value>) -> Vec<&'a serde_json::Value> {
    let mut left: Vec<_> = schemas.into_iter().collect();
    let mut found = Vec::new();
    while let Some(schema) = left.pop() {
        match schema {
            serde_json::Value::Object(fields) => left.extend(fields.values()),
            serde_json::Value::Array(items) => left.extend(items),
            _ => {}
        }
        if schema["type"] == kind {
            found.push(schema);
        }
    }
    found
}

fn released_schemas() -> Vec<serde_json::Value> {
    RELEASED.iter().map(|released| serde_json::from_str(released.json).expect("JSON")).collect()
}

/// A deserializer that gives nothing, and keeps the names of the variants it is asked for.
struct Variants<'a>(&'a mut Vec<String>);

impl<'de> serde::Deserializer<'de> for Variants<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("only the names of an enum are asked for"))
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(variants.iter().map(|name| (*name).to_owned()));
        self.deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[test]
fn every_enum_has_the_default_unknown_and_the_names_of_its_type() {
    fn names<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let mut names = Vec::new();
        assert!(T::deserialize(Variants(&mut names)).is_err(), "it gives nothing");
        names.sort();
        names
    }
    let latest: Vec<serde_json::Value> =
        Family::ALL.iter().map(|family| serde_json::from_str(schema_json(*family)).expect("JSON")).collect();
    let found = types("enum", &latest);
    assert!(found.len() >= 8);
    for schema in found {
        assert_eq!(schema["default"], "unknown", "{}", schema["name"]);
        let names = match schema["name"].as_str().expect("a name") {
            "Availability" => names::<Availability>(),
            "Condition" => names::<Condition>(),
            "Fulfilment" => names::<Fulfilment>(),
            "BuyBox" => names::<BuyBox>(),
            "Role" => names::<Role>(),
            "SaleStatus" => names::<SaleStatus>(),
            "QuantityRelation" => names::<QuantityRelation>(),
            "Outcome" => names::<Outcome>(),
            "Reason" => names::<Reason>(),
            "Severity" => names::<Severity>(),
            other => panic!("{other} has no type here"),
        };
        let mut symbols: Vec<String> = serde_json::from_value(schema["symbols"].clone()).expect("texts");
        symbols.sort();
        assert_eq!(symbols, names, "{}", schema["name"]);
    }
}

/// A default must be readable as the first type of its union, or a reader cannot fill it in.
#[test]
fn every_default_fits_its_type() {
    let schemas = released_schemas();
    let records = types("record", &schemas);
    let fields = records.iter().flat_map(|record| record["fields"].as_array().expect("a record has fields"));
    let mut seen = 0;
    for field in fields.filter(|field| field.get("default").is_some()) {
        let of = if field["type"].is_array() { &field["type"][0] } else { &field["type"] };
        let default = &field["default"];
        let fits = match of["type"].as_str().or(of.as_str()).expect("a type has a name") {
            "null" => default.is_null(),
            "array" => default.is_array(),
            "boolean" => default.is_boolean(),
            "int" | "long" => default.is_i64(),
            "double" => default.is_f64(),
            "string" => default.is_string(),
            "enum" => of["symbols"].as_array().expect("a list").contains(default),
            named if named.starts_with("skuflow.") => default == "unknown", // an enum that was defined before
            "record" => default.is_object(),
            other => panic!("{field}: a default of type {other} is new here"),
        };
        assert!(fits, "{field}: the default does not fit");
        seen += 1;
    }
    assert!(seen > 30, "the fields were found");
}

/// An observation that is fetched again after an upgrade is a duplicate, not a conflict.
#[test]
fn a_field_that_says_nothing_changes_no_body() {
    for event in full().iter().chain(&empty()) {
        let Event::Offer(offer) = event else { continue };
        let offer = Offer { pack: None, ..offer.as_ref().clone() };
        let new = encode(&Event::Offer(Box::new(offer)));
        let mut old = new.clone();
        old[1..5].copy_from_slice(&1_u32.to_be_bytes());
        old.truncate(old.len() - 1); // `pack`, null, the one field that v1 has not
        assert_eq!(Decoder.decode(&old), Decoder.decode(&new));
        assert_eq!(body_hash(&old), body_hash(&new));
    }
}

#[test]
fn a_schema_is_known_by_how_it_encodes() {
    for released in RELEASED {
        assert_eq!(release_of(released.json), Some(released.id), "{}", released.family.name());
    }
    let renamed = schema_json(Family::Sale).replacen("\"units\"", "\"pieces\"", 1);
    assert_eq!(release_of(&renamed), None);
    let retold = schema_json(Family::Sale).replacen("An order line", "A line of an order", 1);
    assert_eq!(release_of(&retold), Some(schema_id(Family::Sale)));
}
