//! Rules as they are written.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer};
use skuflow_schemas::{Severity, Span};

pub use super::names::Given;

/// A file of rules.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct File {
    /// The rules.
    pub rule: Vec<RuleConfig>,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleConfig {
    /// Its name, `[a-z0-9-]{1,64}`, unique; it names the rule's state and is part of its alerts' ids.
    pub id: String,
    /// When there is an alert: a CEL expression that is true or not.
    pub when: String,
    /// How far it went: a CEL expression for a number.
    #[serde(default)]
    pub value: Option<String>,
    /// When there may be an alert again, a CEL expression; left out: when `when` is false.
    #[serde(default)]
    pub clear: Option<String>,
    /// How bad it is.
    pub severity: Level,
    /// Event time, 0s to 365d, in which the same matter gives no further alert. More: quieter.
    #[serde(default = "a_day")]
    pub cooldown: Span,
    /// A value that is worse by this than that of the last alert gives another at once.
    #[serde(default)]
    pub worse_by: Option<f64>,
    /// Which values are worse.
    #[serde(default)]
    pub worse: Worse,
    /// Whose matter it is.
    #[serde(default)]
    pub per: Per,
    /// What the alert says; `{…}` is a name or `value`, `{{` a brace.
    pub message: String,
    /// What it should say to given figures.
    #[serde(default)]
    pub case: Vec<CaseConfig>,
}

fn a_day() -> Span {
    Span::from_days(1)
}

/// How bad alerts of a rule are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Level {
    Info,
    Warning,
    Critical,
}

impl From<Level> for Severity {
    fn from(level: Level) -> Self {
        match level {
            Level::Info => Self::Info,
            Level::Warning => Self::Warning,
            Level::Critical => Self::Critical,
        }
    }
}

/// Which values are worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Worse {
    #[default]
    Larger,
    Smaller,
}

/// Whose matter a rule is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Per {
    /// One matter per product.
    #[default]
    Product,
    /// One per product and seller whose offer changed.
    Seller,
}

/// What a rule should say to given figures; what is not given is null.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseConfig {
    /// Figures.
    #[serde(default)]
    pub features: BTreeMap<String, f64>,
    /// Figures of the vector before.
    #[serde(default)]
    pub previous: BTreeMap<String, f64>,
    /// Of the catalog entry.
    #[serde(default)]
    pub catalog: BTreeMap<String, Given>,
    /// Of the offer that changed.
    #[serde(default)]
    pub change: BTreeMap<String, Given>,
    /// Whether there is an alert.
    pub alert: bool,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Plain;
        impl Visitor<'_> for Plain {
            type Value = Given;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, a text, true or false")
            }
            fn visit_bool<E: de::Error>(self, truth: bool) -> Result<Given, E> {
                Ok(Given::Truth(truth))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Given, E> {
                Ok(Given::Number(number as f64))
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Given, E> {
                Ok(Given::Number(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
                Ok(Given::Text(text.into()))
            }
        }
        deserializer.deserialize_any(Plain)
    }
}
