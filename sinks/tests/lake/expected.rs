//! What a row should say.

use serde_json::{Map, Value, json};
use skuflow_schemas::{Encoder, Event, Money, Text};
use skuflow_sinks::lake::Table;

/// Some of the columns that the row of an event has, said without the sink's help: times in microseconds, amounts and dates
/// as text.
pub fn expected(table: &Table, partition: u32, offset: u64, event: &Event) -> Map<String, Value> {
    let envelope = event.envelope().expect("has one");
    let mut row = json!({
        "_topic": table.topic, "_partition": partition, "_offset": offset,
        "event_id": envelope.event_id.to_string(), "customer": envelope.customer, "source": envelope.source,
        "observed_at": envelope.observed_at.micros(), "ingested_at": envelope.ingested_at.micros(),
        "source_version": envelope.source_version, "source_event_id": envelope.source_event_id,
        "cause_id": envelope.cause_id.map(|id| id.to_string()),
    });
    let more = match event {
        _ if table.is_raw() => {
            let mut value = Vec::new();
            Encoder.encode(event, &mut value);
            json!({ "key": null, "value": hex(&value), "headers": r#"[{"name":"run","value":"7"}]"# })
        }
        Event::Offer(offer) => json!({
            "native_id": offer.native_id, "seller": offer.seller,
            "price": offer.price.and_then(decimal), "price_minor": offer.price.map(|price| price.minor),
            "price_exponent": offer.price.map(|price| price.exponent),
            "price_currency": offer.price.map(|price| price.currency.as_str().to_owned()),
            "shipping": offer.shipping.and_then(decimal), "landed_price": offer.landed_price.and_then(decimal),
            "availability": offer.availability, "stock_level": offer.stock_level, "rating": offer.rating,
            "ranks": (!offer.ranks.is_empty()).then(|| serde_json::to_string(&offer.ranks).expect("plain")),
            "suspect": list(&offer.suspect), "pack_quantity": offer.pack.as_ref().map(|pack| pack.quantity),
        }),
        Event::Sale(sale) => json!({
            "order_id": sale.order_id, "units": sale.units, "unit_price": sale.unit_price.and_then(decimal),
            "status": sale.status, "business_date": sale.business_date.to_string(),
        }),
        Event::Inventory(stock) => {
            json!({ "location": stock.location, "quantity": stock.quantity, "relation": stock.relation })
        }
        Event::Features(features) => json!({
            "product": features.product, "price_index": features.values.price_index,
            "product_price_current": features.values.product_price_current,
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

/// As JSON, as it is written in a text; `None` where there is nothing in it.
fn list(texts: &[Text]) -> Option<String> {
    let quoted = texts.iter().map(|text| format!("\"{text}\""));
    (!texts.is_empty()).then(|| format!("[{}]", quoted.collect::<Vec<_>>().join(",")))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// As `DECIMAL(18,6)` is written; `None` where it does not fit.
fn decimal(money: Money) -> Option<String> {
    let micros = money.micros();
    let (sign, amount) = (if micros < 0 { "-" } else { "" }, micros.unsigned_abs());
    (amount < 10_u128.pow(18)).then(|| format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000))
}
