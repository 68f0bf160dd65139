//! Alerts as anybody's Kafka client reads them: `CloudEvents` 1.0 in binary mode, in Avro.

use std::collections::BTreeMap;

use apache_avro::types::Value;
use skuflow::demo::Market;
use skuflow_runtime::testing::kafka::kafka;

use crate::client::read;
use crate::common::Project;
use crate::on;

const MARKET: Market = Market { seed: 7, products: 8, days: 14 };
const SCHEMA: &str = include_str!("../../schemas/avro/alert.avsc");

#[test]
fn any_client_reads_alerts_as_cloud_events() {
    let Some(server) = kafka() else { return };
    let project = on(server, Project::market(MARKET), "events");
    project.run_once();
    let alerts = read(server, "events.alerts.v1");
    assert!(alerts.len() > 10, "{}", alerts.len());
    let schema = apache_avro::Schema::parse_str(SCHEMA).expect("as it ships");
    let mut ids = BTreeMap::new();
    for (place, alert) in &alerts {
        let value = alert.value.as_deref().expect("an alert says something");
        assert_eq!(value[0], 0, "Confluent framing");
        let mut datum = &value[5..];
        let Ok(Value::Record(fields)) = apache_avro::from_avro_datum(&schema, &mut datum, None) else {
            panic!("{place:?} does not decode");
        };
        assert!(datum.is_empty(), "{} bytes are left", datum.len());
        let fields: BTreeMap<String, Value> = fields.into_iter().collect();
        let Value::Record(envelope) = &fields["envelope"] else { panic!("{fields:?}") };
        let envelope: BTreeMap<_, _> = envelope.iter().cloned().collect();

        assert_eq!(alert.header("ce_specversion"), "1.0");
        assert_eq!(alert.header("ce_type"), "skuflow.alert.v1");
        assert_eq!(alert.header("ce_source"), "/skuflow/demo");
        assert_eq!(alert.header("content-type"), "application/vnd.confluent.avro");
        assert_eq!(alert.header("ce_subject"), text(&fields["product"]));
        assert_eq!(alert.header("ce_rule"), text(&fields["rule"]));
        assert_eq!(alert.header("ce_id"), text(&envelope["event_id"]));
        let time: skuflow_schemas::Timestamp = alert.header("ce_time").parse().expect("RFC 3339");
        assert_eq!(Value::TimestampMicros(time.micros()), envelope["observed_at"]);
        // Names are of lower-case letters and digits; each is there once.
        for (name, _) in &alert.headers {
            let attribute = name.strip_prefix("ce_").unwrap_or("datacontenttype");
            assert!(attribute.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
        }
        let source_and_id = (alert.header("ce_source").to_owned(), alert.header("ce_id").to_owned());
        assert_eq!(ids.insert(source_and_id, place), None, "source and id name one event");
    }
}

fn text(value: &Value) -> &str {
    let Value::String(text) = value else { panic!("{value:?}") };
    text
}
