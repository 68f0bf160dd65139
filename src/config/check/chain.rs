//! The steps of a stage: whether each takes what the one before gives, and what comes out.

use std::collections::{BTreeMap, HashSet};

use skuflow_processors::{alerts, catalog, dedup, features, route, validate};
use skuflow_schemas::{Family, Span, TopicSpec};

use super::Check;
use crate::config::model::{StageConfig, StepConfig};
use crate::config::problem::Problem;
use crate::config::tree::At::{self, Field, Item};

/// Shortest and longest time that ids are remembered, and that offers stand.
const WINDOW: (Span, Span) = (Span::from_days(1), Span::from_days(3_650));

impl Check<'_> {
    pub(super) fn stage(&mut self, index: usize, stage: &StageConfig) {
        let mut families = Vec::new();
        let mut keys = BTreeMap::new();
        for (at, name) in stage.from.iter().enumerate() {
            let path = [Field("stage"), Item(index), Field("from"), Item(at)];
            if let Some(topic) = self.topic(&path, name) {
                families.push(topic.family);
                keys.insert(key_of(topic), name);
            }
        }
        if keys.len() > 1 {
            let named: Vec<String> = keys.iter().map(|(key, name)| format!("`{name}` is by {key}")).collect();
            let path = [Field("stage"), Item(index), Field("from")];
            let message = format!("these topics cannot be joined: {}", named.join(", "));
            self.report(
                "SKU-041",
                &path,
                message,
                "read topics with one key in a stage; `route` changes listing to product",
            );
        }
        let by_product = |step: &&StepConfig| matches!(step, StepConfig::Features(_) | StepConfig::Alerts(_));
        if let (Some(name), Some(step)) = (keys.get("listing"), stage.steps.iter().find(by_product)) {
            let path = [Field("stage"), Item(index), Field("from")];
            let message = format!("`{}` goes by product, and `{name}` is by listing", traits(step).0);
            self.report("SKU-041", &path, message, "read the copies that `route` makes, like product-offers.v1");
        }
        let given = self.chain(index, stage, families);
        for (at, name) in stage.to.iter().enumerate() {
            let path = [Field("stage"), Item(index), Field("to"), Item(at)];
            let Some(topic) = self.topic(&path, name) else { continue };
            if given.as_ref().is_some_and(|given| !given.iter().any(|(family, copies)| fits(topic, *family, *copies))) {
                let message = format!("the steps of stage `{}` give nothing for `{name}`", stage.name);
                self.report("SKU-033", &path, message, "remove it, or add the step that makes its events");
            }
        }
    }

    /// Follows the families through the steps: what comes out, and whether as copies by product too.
    fn chain(&mut self, index: usize, stage: &StageConfig, families: Vec<Family>) -> Option<Vec<(Family, bool)>> {
        let mut given = families;
        let mut copies = false;
        let mut seen = HashSet::new();
        let mut ended_by = None;
        let is_raw = stage.from.iter().any(|topic| topic.starts_with("raw."));
        if stage.steps.is_empty() {
            let path = [Field("stage"), Item(index), Field("steps")];
            self.report(
                "SKU-040",
                &path,
                format!("stage `{}` has no steps", stage.name),
                "begin with { validate = {} }",
            );
            return None;
        }
        for (at, step) in stage.steps.iter().enumerate() {
            let path = [Field("stage"), Item(index), Field("steps"), Item(at)];
            let (name, takes, gives) = traits(step);
            if !seen.insert(name) {
                self.report("SKU-040", &path, format!("step `{name}` is there twice"), "keep one");
            }
            // What is not raw was validated before.
            if (name == "validate" && at > 0) || (name != "validate" && at == 0 && is_raw) {
                let message = format!("step `{name}` cannot stand here");
                self.report(
                    "SKU-040",
                    &path,
                    message,
                    "`validate` comes first, and only it: no later step may refuse a record",
                );
            }
            if let Some(last) = ended_by.filter(|last| *last != name && name != "validate") {
                let message = format!("step `{name}` cannot stand behind `{last}`");
                self.report("SKU-040", &path, message, &format!("`{last}` comes last"));
            }
            let unfit: Vec<&str> =
                given.iter().filter(|family| !takes.contains(family)).map(|family| family.name()).collect();
            if !unfit.is_empty() {
                let message = format!("step `{name}` does not take {}", unfit.join(", "));
                let names: Vec<&str> = takes.iter().map(|family| family.name()).collect();
                self.report("SKU-040", &path, message, &format!("it takes {}", names.join(", ")));
                return None;
            }
            match step {
                StepConfig::Validate(config) => self.rules(&path, config),
                StepConfig::Catalog(_) => {
                    given = gives.to_vec();
                    ended_by = Some(name);
                }
                StepConfig::Route(_) => {
                    given.retain(|family| gives.contains(family));
                    copies = true;
                    ended_by = Some(name);
                }
                StepConfig::Dedup(config) => self.window(&path, config),
                StepConfig::Features(config) => {
                    given.retain(|family| gives.contains(family));
                    given.push(Family::Features);
                    self.standing(&path, config);
                }
                StepConfig::Alerts(_) => {
                    given.push(Family::Alert);
                    ended_by = Some(name);
                }
            }
        }
        let both = given.into_iter().flat_map(|family| [(family, false), (family, copies)]);
        Some(both.collect())
    }

    /// The rules of `validate` at `path`.
    fn rules(&mut self, path: &[At<'_>], config: &validate::Config) {
        for unknown in config.unknown_rules() {
            let path = [path, &[Field("validate"), Field("rules"), Field(unknown)]].concat();
            let rules = validate::RULES.iter().map(|rule| rule.id);
            let problem = Problem::new("SKU-050", self.tree.span_at(&path), format!("there is no rule `{unknown}`"));
            let help = format!("the rules are: {}", rules.clone().collect::<Vec<_>>().join(", "));
            self.problems.push(problem.closest(unknown, rules).help(help));
        }
    }

    /// How long offers stand for `features` at `path`.
    fn standing(&mut self, path: &[At<'_>], config: &features::Config) {
        if !(WINDOW.0..=WINDOW.1).contains(&config.active_within) {
            let path = [path, &[Field("features"), Field("active_within")]].concat();
            let help = format!("choose {} to {}", WINDOW.0, WINDOW.1);
            self.report("SKU-020", &path, format!("`active_within` cannot be {}", config.active_within), &help);
        }
    }

    /// The window of `dedup` at `path`.
    fn window(&mut self, path: &[At<'_>], config: &dedup::Config) {
        let is_whole = config.window.micros() % WINDOW.0.micros() == 0;
        if !is_whole || !(WINDOW.0..=WINDOW.1).contains(&config.window) {
            let path = [path, &[Field("dedup"), Field("window")]].concat();
            let help = format!("ids are remembered by whole days: choose {} to {}", WINDOW.0, WINDOW.1);
            self.report("SKU-020", &path, format!("a window of {} is not possible", config.window), &help);
        }
    }
}

/// What decides the partition of a topic's records.
fn key_of(topic: &TopicSpec) -> &'static str {
    match topic.family {
        Family::Catalog | Family::Features | Family::Alert => "product",
        _ if topic.name.starts_with("product-") => "product",
        _ => "listing",
    }
}

/// Whether a topic holds events of `family`, as copies by product or not.
fn fits(topic: &TopicSpec, family: Family, copies: bool) -> bool {
    topic.family == family && topic.name.starts_with("product-") == copies && !topic.name.starts_with("raw.")
}

fn traits(step: &StepConfig) -> (&'static str, &'static [Family], &'static [Family]) {
    match step {
        StepConfig::Validate(_) => ("validate", validate::FAMILIES, validate::FAMILIES),
        StepConfig::Dedup(_) => ("dedup", dedup::FAMILIES, dedup::FAMILIES),
        StepConfig::Catalog(_) => ("catalog", catalog::TAKES, catalog::GIVES),
        StepConfig::Route(_) => ("route", route::TAKES, route::GIVES),
        StepConfig::Features(_) => ("features", features::TAKES, features::GIVES),
        StepConfig::Alerts(_) => ("alerts", alerts::TAKES, alerts::GIVES),
    }
}
