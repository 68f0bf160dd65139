//! Settings of `validate`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skuflow_schemas::Span;

use super::rules::{RULES, Rule};

/// Settings of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How far an event may be observed after it was taken in. More tolerates worse clocks; less finds them.
    pub max_future: Span,
    /// What to do when a rule objects, by rule; others do what they do by default.
    pub rules: BTreeMap<String, Action>,
}

impl Default for Config {
    fn default() -> Self {
        // A day: sources without a time zone may be off by one, sources without a time by a day.
        Self { max_future: Span::from_days(1), rules: BTreeMap::new() }
    }
}

/// What to do with a record that a rule objects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// To the dead letters.
    Reject,
    /// Let it pass with a mark.
    Suspect,
    /// Do not ask.
    Off,
}

impl Config {
    pub(super) fn action(&self, rule: &Rule) -> Action {
        if self.rules.is_empty() { rule.default } else { self.rules.get(rule.id).copied().unwrap_or(rule.default) }
    }

    /// Names in `rules` that are no rule.
    pub fn unknown_rules(&self) -> Vec<&str> {
        self.rules.keys().map(String::as_str).filter(|name| RULES.iter().all(|rule| rule.id != *name)).collect()
    }
}
