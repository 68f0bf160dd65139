//! Problems of a config, and how they are shown.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::Arc;

use serde_json::{Value, json};

use super::variables::Variables;
use crate::printable::{printable, printable_line};

/// Whether a problem stops the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// It may be meant.
    Warning,
}

/// Something wrong in a config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable code, see [`CODES`].
    pub code: &'static str,
    /// Whether it stops the run.
    pub severity: Severity,
    /// The file it is about, where that is not the config itself.
    pub source: Option<Arc<Source>>,
    /// Bytes of the text it is about.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What may have been meant.
    pub did_you_mean: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// A file that belongs to a config.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub file: String,
    /// What is in it.
    pub text: String,
}

/// All codes, and what they are about.
pub const CODES: &[(&str, &str)] = &[
    ("SKU-001", "the config cannot be read"),
    ("SKU-002", "the file is not TOML"),
    ("SKU-003", "a variable in `${…}` is not set or not written right"),
    ("SKU-004", "a file or secret that cannot be read"),
    ("SKU-010", "a field that is not known"),
    ("SKU-011", "a value of the wrong type or unit"),
    ("SKU-012", "a field that is missing"),
    ("SKU-013", "a kind that is not known, or not exactly one"),
    ("SKU-020", "a value out of its range"),
    ("SKU-021", "a name that breaks the rule or is taken"),
    ("SKU-030", "a topic that is not in the catalogue"),
    ("SKU-031", "a topic that is read but never written"),
    ("SKU-032", "a topic that is written but never read"),
    ("SKU-033", "a topic that does not take what is written to it"),
    ("SKU-034", "a topic with two writers"),
    ("SKU-035", "a topic that is named twice in a list, or a list of none"),
    ("SKU-040", "a chain whose steps do not fit"),
    ("SKU-041", "inputs of a stage that cannot be joined"),
    ("SKU-042", "stages that lead back to themselves"),
    ("SKU-050", "a setting of a connector, step or sink that cannot be"),
    ("SKU-060", "rules that cannot be read"),
    ("SKU-061", "a rule that cannot be"),
];

impl Problem {
    /// An error about `span`.
    pub fn new(code: &'static str, span: Range<usize>, message: impl Into<String>) -> Self {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "{code} is in the table");
        Self {
            code,
            severity: Severity::Error,
            source: None,
            span,
            message: message.into(),
            did_you_mean: None,
            help: None,
        }
    }

    /// With what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With the closest of what is known, if it is close.
    #[must_use]
    pub fn closest<'a>(mut self, written: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        self.did_you_mean = closest(written, known).map(str::to_owned);
        self
    }

    /// The file it is about and its text, those of the config being these.
    fn place<'a>(&'a self, file: &'a str, text: &'a str) -> (&'a str, Place<'a>) {
        let (file, text) = self.source.as_ref().map_or((file, text), |source| (&source.file, &source.text));
        (file, place(text, self.span.start))
    }

    /// The lines of its text that it is about.
    fn spanned<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        self.source.as_ref().map_or(text, |source| &source.text).get(self.span.clone())
    }

    /// With the names of variables instead of their values; `is_filled` says that it is about a value with a variable
    /// in it, of which no piece may be left either.
    pub(super) fn conceal(&mut self, variables: &Variables, is_filled: bool) {
        self.message = variables.conceal(&self.message);
        self.help = self.help.take().map(|help| variables.conceal(&help));
        if is_filled && variables.is_given_away(&self.message) {
            self.message = "the value with its variables filled in cannot be used here".into();
        }
    }

    /// As a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

/// What of `known` was probably meant.
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.into_iter().map(|known| (strsim::damerau_levenshtein(written, known), known)).min();
    near.filter(|(distance, known)| *distance > 0 && *distance <= 1 + known.len() / 4).map(|(_, known)| known)
}

/// Shows problems as text; `colour` for terminals that want it.
pub fn render(problems: &[Problem], file: &str, text: &str, colour: bool) -> String {
    let paint = |code: &str, shown: String| if colour { format!("\x1b[{code}m{shown}\x1b[0m") } else { shown };
    let mut out = String::new();
    for problem in problems {
        let (word, hue) = match problem.severity {
            Severity::Error => ("error", "1;31"),
            Severity::Warning => ("warning", "1;33"),
        };
        let head = paint(hue, format!("{word}[{}]", problem.code));
        let (file, place) = problem.place(file, text);
        line(&mut out, &format!("{head}: {}", printable(&problem.message)));
        line(&mut out, &format!("  --> {}:{}:{}", printable(file), place.line, place.column));
        if !place.text.is_empty() {
            let rest = place.text.chars().count() - (place.column - 1).min(place.text.chars().count());
            let spanned = problem.spanned(text).map_or(1, |span| span.lines().next().unwrap_or("").chars().count());
            let carets = paint(hue, "^".repeat(spanned.clamp(1, rest.max(1))));
            let meant = problem
                .did_you_mean
                .as_ref()
                .map_or(String::new(), |meant| format!(" did you mean `{}`?", printable(meant)));
            line(&mut out, "   |");
            line(&mut out, &format!("{:>3}| {}", place.line, printable_line(place.text)));
            line(&mut out, &format!("   | {}{carets}{meant}", " ".repeat(place.column - 1)));
        }
        if let Some(help) = &problem.help {
            line(&mut out, &format!("   = {}", printable(help)));
        }
        out.push('\n');
    }
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let fate = if errors > 0 { " (nothing was started, nothing was changed)" } else { "" };
    line(&mut out, &format!("{} and {}{fate}", plural(errors, "error"), plural(warnings, "warning")));
    out
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{}", text.trim_end()).expect("writing to memory does not fail");
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// Problems as JSON.
pub fn to_json(problems: &[Problem], file: &str, text: &str) -> Value {
    let shown = problems.iter().map(|problem| {
        let (file, place) = problem.place(file, text);
        json!({
            "code": problem.code,
            "severity": if problem.severity == Severity::Error { "error" } else { "warning" },
            "file": file,
            "line": place.line,
            "column": place.column,
            "message": problem.message,
            "did_you_mean": problem.did_you_mean,
            "help": problem.help,
        })
    });
    shown.collect()
}

struct Place<'a> {
    line: usize,
    column: usize,
    text: &'a str,
}

fn place(text: &str, at: usize) -> Place<'_> {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..].find('\n').map_or(text.len(), |newline| at + newline);
    let line = text[..start].matches('\n').count() + 1;
    Place { line, column: text[start..at].chars().count() + 1, text: text[start..end].trim_end_matches('\r') }
}
