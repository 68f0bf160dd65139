//! Family `alert`: a rule came true for a product.

use serde::{Deserialize, Serialize};

use crate::{Envelope, EventId, Family, Text};

/// A rule came true.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Common fields; the id is made of cause and rule, and `cause_id` is the event that made the rule true.
    pub envelope: Envelope,
    /// The product.
    pub product: Text,
    /// Id of the rule.
    pub rule: Text,
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// The message, as the rule's template has it.
    pub message: Text,
    /// The seller it is about, for rules about sellers.
    #[serde(default)]
    pub seller: Option<Text>,
    /// Equal for every alert of this rule on this product and seller.
    pub dedup_key: EventId,
    /// How far it went, in the rule's own measure.
    #[serde(default)]
    pub value: Option<f64>,
    /// The figures that the rule looked at.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Severity {
    Info,
    Warning,
    Critical,
    #[default]
    #[serde(other)]
    Unknown,
}

/// A figure that a rule looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its name.
    pub name: Text,
    /// Its value.
    #[serde(default)]
    pub value: Option<f64>,
    /// Its value before.
    #[serde(default)]
    pub previous: Option<f64>,
}

impl Severity {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl Alert {
    /// The key under which alerts of one rule, product and seller are one matter.
    pub fn dedup_key(customer: &str, rule: &str, product: &str, seller: Option<&Text>) -> EventId {
        let seller = seller.map_or("", Text::as_str);
        EventId::of(Family::Alert, customer, &[rule.as_bytes(), product.as_bytes(), seller.as_bytes()])
    }

    /// The headers of `CloudEvents` 1.0 in binary mode, as its Kafka binding names them.
    pub fn headers(&self) -> Vec<(&'static str, Vec<u8>)> {
        let envelope = &self.envelope;
        let text = |text: String| text.into_bytes();
        vec![
            ("ce_specversion", b"1.0".to_vec()),
            ("ce_id", text(envelope.event_id.to_string())),
            ("ce_source", text(format!("/skuflow/{}", envelope.customer))),
            ("ce_type", b"skuflow.alert.v1".to_vec()),
            ("ce_subject", text(self.product.to_string())),
            ("ce_time", text(envelope.observed_at.to_string())),
            ("ce_severity", self.severity.name().as_bytes().to_vec()),
            ("ce_rule", text(self.rule.to_string())),
            ("content-type", b"application/vnd.confluent.avro".to_vec()),
        ]
    }
}
