//! A rule, compiled.

use std::ops::Range;

use skuflow_schemas::{Change, EventId, Evidence, Family, Severity, Span, Text};

use super::config::{CaseConfig, Per, RuleConfig, Worse};
use super::expression::{Asked, Expression, Fault};
use super::message::Message;
use super::names::{Entry, Inputs, Name, Value, set_change};

/// Longest cooldown.
const COOLDOWN_MAX: Span = Span::from_days(365);

/// A rule, ready to be asked.
#[derive(Debug)]
pub struct Rule {
    id: Text,
    /// Names its state.
    pub(super) hash: u64,
    when: Expression,
    value: Option<Expression>,
    clear: Option<Expression>,
    severity: Severity,
    pub(super) cooldown_micros: i64,
    worse_by: Option<f64>,
    worse: Worse,
    per: Per,
    message: Message,
    /// What it names, each once.
    names: Vec<Name>,
    asked: Trigger,
    cases: Vec<CaseConfig>,
}

/// When a rule is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trigger {
    /// When an offer changed: each change for which it is true is a matter of its own, and nothing has to clear.
    Change,
    /// When one of these figures or, where it says so, the catalog entry changed.
    Condition { figures: u64, entry: bool },
    /// With every vector: it looks at the vector before.
    Vector { entry: bool },
}

/// Something wrong in a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where, as a path from the rule on: names of fields, and in `case` a number.
    pub path: Vec<String>,
    /// What.
    pub fault: Fault,
}

impl Rule {
    /// Compiles a rule.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(config: &RuleConfig) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let when = compile("when", Some(&config.when), Asked::Truth, &mut mistakes);
        let value = compile("value", config.value.as_ref(), Asked::Number, &mut mistakes);
        let clear = compile("clear", config.clear.as_ref(), Asked::Truth, &mut mistakes);
        let message = match Message::parse(&config.message) {
            Ok(message) => Some(message),
            Err(faults) => {
                mistakes.extend(faults.into_iter().map(|fault| Mistake { path: vec!["message".into()], fault }));
                None
            }
        };
        mistakes.extend(combinations(config, when.as_ref(), message.as_ref()));
        mistakes.extend(config.case.iter().enumerate().flat_map(|(at, case)| case_mistakes(at, case)));
        let (Some(when), Some(message), []) = (when, message, mistakes.as_slice()) else { return Err(mistakes) };
        let judged = [Some(&when), value.as_ref(), clear.as_ref()];
        let judged: Vec<Name> = judged.into_iter().flatten().flat_map(Expression::names).copied().collect();
        let asked = trigger(&judged);
        let mut names: Vec<Name> = Vec::new();
        for name in judged.into_iter().chain(message.names()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(Self {
            id: config.id.as_str().into(),
            hash: hash(&config.id),
            when,
            value,
            clear,
            severity: config.severity.into(),
            cooldown_micros: config.cooldown.micros(),
            worse_by: config.worse_by,
            worse: config.worse,
            per: config.per,
            message,
            names,
            asked,
            cases: config.case.clone(),
        })
    }

    /// Its name.
    pub fn id(&self) -> &Text {
        &self.id
    }

    pub(super) fn severity(&self) -> Severity {
        self.severity
    }

    /// Whether each change of an offer is a matter of its own.
    pub(super) fn is_about_changes(&self) -> bool {
        matches!(self.asked, Trigger::Change)
    }

    /// Whether what changed may make it true or false.
    pub(super) fn is_asked(&self, figures_changed: u64, entry_changed: bool, is_change: bool) -> bool {
        match self.asked {
            Trigger::Change => is_change,
            Trigger::Condition { figures, entry } => figures & figures_changed != 0 || (entry && entry_changed),
            Trigger::Vector { entry } => figures_changed != 0 || !entry_changed || entry,
        }
    }

    /// Whose matter it is, besides the product's.
    pub(super) fn seller(&self, inputs: &Inputs<'_>) -> Option<Text> {
        inputs.change.filter(|_| self.per == Per::Seller).and_then(|change| change.seller.clone())
    }

    /// Whether it is true; `None` where that is unknown.
    pub(super) fn is_true(&self, inputs: &Inputs<'_>) -> Option<bool> {
        self.when.truth(inputs)
    }

    /// Whether what was true is so no more, `when` being `truth`.
    pub(super) fn clears(&self, truth: Option<bool>, inputs: &Inputs<'_>) -> bool {
        match &self.clear {
            Some(clear) => clear.truth(inputs) == Some(true),
            None => truth == Some(false),
        }
    }

    pub(super) fn value(&self, inputs: &Inputs<'_>) -> Option<f64> {
        self.value.as_ref()?.number(inputs)
    }

    /// Whether `value` is so much worse than at the last alert that it gives another.
    pub(super) fn is_worse(&self, value: Option<f64>, last: Option<f64>) -> bool {
        let (Some(step), Some(value), Some(last)) = (self.worse_by, value, last) else { return false };
        match self.worse {
            Worse::Larger => value - last >= step,
            Worse::Smaller => last - value >= step,
        }
    }

    pub(super) fn message(&self, inputs: &Inputs<'_>, value: Option<f64>) -> String {
        self.message.text(inputs, value)
    }

    /// The numbers it looks at. Figures are called by their own name, others as in the rule.
    pub(super) fn evidence(&self, inputs: &Inputs<'_>) -> Vec<Evidence> {
        let mut evidence: Vec<Evidence> = Vec::new();
        for name in &self.names {
            let (called, value) = match name {
                Name::Figure(at) | Name::Previous(at) => (Text::from(name.path().1), Name::Figure(*at).value(inputs)),
                _ => (Text::from(format!("{}.{}", name.path().0, name.path().1)), name.value(inputs)),
            };
            let is_number = matches!(name, Name::Figure(_) | Name::Previous(_)) || value.as_number().is_some();
            if is_number && evidence.iter().all(|known| known.name != called) {
                evidence.push(Evidence { name: called, value: value.as_number(), previous: name.before(inputs) });
            }
        }
        evidence
    }

    /// The figures it names, as a set.
    pub(super) fn figures(&self) -> u64 {
        figures_of(&self.names)
    }

    /// Tries the cases beside the rule.
    pub fn test(&self) -> impl Iterator<Item = Tried> {
        self.cases.iter().map(|case| self.try_case(case))
    }

    fn try_case(&self, case: &CaseConfig) -> Tried {
        let figures = |given: &std::collections::BTreeMap<String, f64>| {
            let mut figures = [None; _];
            for (name, number) in given {
                if let Some(Name::Figure(at)) = Name::find("features", name) {
                    figures[usize::from(at)] = Some(*number);
                }
            }
            figures
        };
        let (mut entry, mut change) = (Entry::default(), Change::default());
        case.catalog.iter().for_each(|(name, given)| entry.set(name, given));
        case.change.iter().for_each(|(name, given)| set_change(&mut change, name, given));
        let change = (!case.change.is_empty()).then_some(&change);
        let (now, previous) = (figures(&case.features), figures(&case.previous));
        let inputs = Inputs { now: &now, previous: &previous, entry: &entry, change, currency: None };
        let truth = self.is_true(&inputs);
        let nulls = self.when.names().iter().filter(|name| name.value(&inputs) == Value::Null);
        Tried {
            expected: case.alert,
            truth,
            nulls: nulls.map(|name| format!("{}.{}", name.path().0, name.path().1)).collect(),
            message: self.message(&inputs, self.value(&inputs)),
        }
    }
}

/// What became of a case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Whether there should be an alert.
    pub expected: bool,
    /// Whether the rule is true; `None` where that is unknown.
    pub truth: Option<bool>,
    /// What the condition names and the case leaves null.
    pub nulls: Vec<String>,
    /// What the alert says.
    pub message: String,
}

impl Tried {
    /// Whether it came as expected.
    pub fn is_ok(&self) -> bool {
        self.expected == (self.truth == Some(true))
    }
}

/// The first 8 bytes of SHA-256: stored, so it never changes.
fn hash(id: &str) -> u64 {
    let EventId(bytes) = EventId::of(Family::Alert, "", &[id.as_bytes()]);
    bytes[..8].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

fn compile(field: &str, source: Option<&String>, asked: Asked, mistakes: &mut Vec<Mistake>) -> Option<Expression> {
    match Expression::compile(source?, asked) {
        Ok(expression) => Some(expression),
        Err(faults) => {
            mistakes.extend(faults.into_iter().map(|fault| Mistake { path: vec![field.into()], fault }));
            None
        }
    }
}

fn figures_of(names: &[Name]) -> u64 {
    let bit = |name: &Name| if let Name::Figure(at) | Name::Previous(at) = name { 1 << *at } else { 0 };
    names.iter().map(bit).fold(0, |set, bit: u64| set | bit)
}

fn trigger(names: &[Name]) -> Trigger {
    let entry = names.iter().any(|name| matches!(name, Name::Entry(_)));
    if names.iter().any(|name| matches!(name, Name::Change(_))) {
        Trigger::Change
    } else if names.iter().any(|name| matches!(name, Name::Previous(_))) {
        Trigger::Vector { entry }
    } else {
        Trigger::Condition { figures: figures_of(names), entry }
    }
}

/// Settings that do not go together.
fn combinations(config: &RuleConfig, when: Option<&Expression>, message: Option<&Message>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut add = |field: &str, at: Range<usize>, what: &str, help: &str| {
        mistakes.push(Mistake { path: vec![field.into()], fault: Fault::new(at, what, help) });
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if config.id.is_empty() || config.id.len() > 64 || !config.id.bytes().all(plain) {
        let what = format!("`{}` is no name", config.id);
        add("id", 0..config.id.len(), &what, "use 1 to 64 characters out of a-z, 0-9 and `-`");
    }
    if config.cooldown > COOLDOWN_MAX {
        let what = format!("a cooldown of {} is too long", config.cooldown);
        add("cooldown", 0..0, &what, &format!("choose 0s to {COOLDOWN_MAX}"));
    }
    if config.worse_by.is_some_and(|step| !(step > 0.0 && step.is_finite())) {
        add("worse_by", 0..0, "worse by how much has to be above 0", "leave it out: worse values give no alert then");
    }
    if config.value.is_none() && config.worse_by.is_some() {
        add("worse_by", 0..0, "there is no `value` that could get worse", "add `value = \"…\"`, or remove it");
    }
    if config.value.is_none() && message.is_some_and(Message::has_value) {
        add("message", 0..config.message.len(), "there is no `value` to show", "add `value = \"…\"`, or remove it");
    }
    let Some(when) = when else { return mistakes };
    let has_change = when.names().iter().any(|name| matches!(name, Name::Change(_)));
    if when.names().is_empty() {
        add("when", 0..config.when.len(), "this looks at nothing", "name a figure, like features.product_margin");
    }
    if config.per == Per::Seller && !has_change {
        add("per", 0..0, "only an offer that changed has a seller", "name something of `change` in `when`");
    }
    if has_change && config.clear.is_some() {
        let what = "a change is over at once: there is nothing to clear";
        add("clear", 0..0, what, "remove it; `cooldown` keeps alerts apart");
    }
    let names_change = |name: &Name| matches!(name, Name::Change(_));
    if !has_change && message.is_some_and(|message| message.names().any(|name| names_change(&name))) {
        let what = "only a rule about changes knows what changed";
        add("message", 0..config.message.len(), what, "name something of `change` in `when`");
    }
    mistakes
}

/// Names and values of a case that cannot be.
fn case_mistakes(at: usize, case: &CaseConfig) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    let mut add = |space: &str, name: &str, fault| {
        mistakes.push(Mistake { path: vec!["case".into(), at.to_string(), space.into(), name.into()], fault });
    };
    let unknown = |space: &str, name: &str| Fault::unknown(0..0, name, Name::known(space), &format!(" in `{space}`"));
    for (space, given) in [("features", &case.features), ("previous", &case.previous)] {
        for name in given.keys().filter(|name| Name::find(space, name).is_none()) {
            add(space, name, unknown(space, name));
        }
    }
    for (space, fields) in [("catalog", &case.catalog), ("change", &case.change)] {
        for (name, given) in fields {
            let Some(found) = Name::find(space, name) else {
                add(space, name, unknown(space, name));
                continue;
            };
            if let Err(texts) = given.fits(found.kind()) {
                let other = Fault::new(0..0, format!("`{name}` cannot be this"), "");
                let text = if let super::Given::Text(text) = given { text.as_str() } else { "" };
                let fault = if texts.is_empty() { other } else { Fault::unknown(0..0, text, texts.to_vec(), " there") };
                add(space, name, fault);
            }
        }
    }
    mistakes
}
