//! What `DuckDB` and `PyIceberg` read.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value, json};
use skuflow_runtime::testing::lake_readers;
use skuflow_schemas::{Event, Money};
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::lake::{CATALOG_FILE, CATALOG_NAME, TABLES};

use super::world::{BEGIN, NOW, PACE, SMALL, broker, events, land};

/// What the readers find, an object per table and reader; `begin..end` is the stretch of time that is asked for.
fn read(python: &str, folder: &Path, begin: i64, end: i64) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lake/read.py");
    let output = Command::new(python)
        .arg(script)
        .arg(folder.canonicalize().expect("there"))
        .args([CATALOG_FILE, CATALOG_NAME, &begin.to_string(), &end.to_string()])
        .output()
        .expect("starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// Some of the columns that a row has, said without the sink's help.
fn expected(partition: u32, offset: u64, event: &Event) -> Map<String, Value> {
    let envelope = event.envelope().expect("has one");
    let mut row = json!({
        "_topic": event.topic(), "_partition": partition, "_offset": offset, "_ingested_at": NOW,
        "event_id": envelope.event_id.to_string(), "customer": envelope.customer, "source": envelope.source,
        "observed_at": envelope.observed_at.micros(), "ingested_at": envelope.ingested_at.micros(),
        "source_version": envelope.source_version, "source_event_id": null,
        "cause_id": envelope.cause_id.map(|id| id.to_string()),
    });
    let more = match event {
        Event::Offer(offer) => json!({
            "native_id": offer.native_id, "seller": offer.seller,
            "price": offer.price.and_then(decimal), "price_minor": offer.price.map(|price| price.minor),
            "price_exponent": offer.price.map(|price| price.exponent),
            "price_currency": offer.price.map(|price| price.currency.as_str().to_owned()),
            "shipping": offer.shipping.and_then(decimal), "landed_price": null, "availability": offer.availability,
            "stock_level": offer.stock_level, "rating": offer.rating,
            "ranks": (!offer.ranks.is_empty()).then(|| serde_json::to_string(&offer.ranks).expect("plain")),
            "suspect": (!offer.suspect.is_empty()).then_some(r#"["magnitude-jump"]"#),
            "pack_quantity": offer.pack.as_ref().map(|pack| pack.quantity),
        }),
        Event::Sale(sale) => json!({
            "order_id": sale.order_id, "units": sale.units, "unit_price": sale.unit_price.and_then(decimal),
            "status": sale.status, "business_date": sale.business_date.to_string(),
        }),
        Event::Inventory(stock) => {
            json!({ "location": stock.location, "quantity": stock.quantity, "relation": stock.relation })
        }
        Event::Features(features) => json!({
            "product": features.product, "price_index": features.values.price_index, "product_price_current": null,
            "change_listing": features.change.as_ref().map(|change| &change.listing),
            "change_entered": features.change.as_ref().map(|change| change.entered),
        }),
        Event::Alert(alert) => json!({
            "rule": alert.rule, "severity": alert.severity, "message": alert.message, "value": alert.value,
            "dedup_key": alert.dedup_key.to_string(),
        }),
        other => panic!("{} has no table", other.family().name()),
    };
    let (row, Value::Object(more)) = (row.as_object_mut().expect("an object"), more) else { panic!("an object") };
    row.extend(more);
    std::mem::take(row)
}

/// As `DECIMAL(18,6)` is written; `None` where it does not fit.
fn decimal(money: Money) -> Option<String> {
    let micros = money.micros();
    let (sign, amount) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    (amount < 10_u128.pow(18)).then(|| format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000))
}

/// The rows that are asked for, each with the columns that `expected` says.
fn found(rows: &Value, columns: &Map<String, Value>) -> BTreeSet<String> {
    let rows = rows.as_array().expect("a list").iter();
    let text = |row: &Value| {
        let chosen = columns.keys().map(|name| (name.clone(), row.get(name).expect("a column of the table").clone()));
        Value::Object(chosen.collect()).to_string()
    };
    rows.map(text).collect()
}

#[test]
fn duckdb_and_pyiceberg_read_the_rows_of_the_topics_and_leave_out_files() {
    let Some(python) = lake_readers() else { return };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("lake");
    let broker = broker(500);
    for table in &TABLES {
        land(&broker, &folder, table, Cut { records_max: 200, ..SMALL }, None);
    }
    let (begin, end) = (BEGIN + 100 * PACE, BEGIN + 120 * PACE);
    let seen = read(&python, &folder, begin, end);
    assert_eq!(seen.len(), TABLES.len() * 3, "each table in three ways");
    for reading in &seen {
        let what = format!("{} by {}", reading["table"], reading["reader"]);
        let table = TABLES.iter().find(|table| reading["table"] == table.full_name).expect("one of ours");
        let events = events(&broker, table);
        let columns = expected(0, 0, &events[0].1);
        let row = |(partition, event, offset): &(u32, Event, u64)| {
            Value::Object(expected(*partition, *offset, event)).to_string()
        };
        let all: BTreeSet<String> = events.iter().map(row).collect();
        assert_eq!(found(&reading["rows"], &columns), all, "{what}");
        assert_eq!(reading["rows"].as_array().map(Vec::len), Some(500), "{what}");
        let within = |event: &Event| (begin..end).contains(&event.observed_at().micros());
        let some: BTreeSet<String> = events.iter().filter(|(_, event, _)| within(event)).map(row).collect();
        assert_eq!(found(&reading["some"], &columns), some, "{what}, some of the time");
        assert!(!some.is_empty());
        let (read, files) = (reading["files_read"].as_u64(), reading["files"].as_u64());
        assert!(read.is_some() && read < files, "{what}: {read:?} of {files:?} files");
    }
}
