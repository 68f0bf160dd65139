//! The files of rules that `alerts` steps name: read, and checked as the config is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use skuflow_processors::alerts::{File, Mistake, Rule, RuleConfig, Rules};

use super::model::{Config, StepConfig};
use super::problem::{Problem, Source};
use super::read;
use super::tree::At::{self, Field, Item};
use super::tree::{self, Node, Parsed, Value};

/// Rules that a step may have.
const RULES_MAX: usize = 1_024;

/// Reads the rules of each step into it, and adds what is wrong with them.
pub(super) fn read_all(
    config: &mut Config,
    tree: &Node,
    base: &Path,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) {
    for (index, stage) in config.stage.iter_mut().enumerate() {
        for (at, step) in stage.steps.iter_mut().enumerate() {
            let StepConfig::Alerts(alerts) = step else { continue };
            let step = [Field("stage"), Item(index), Field("steps"), Item(at)];
            let span = tree.span_at(&[&step[..], &[Field("alerts"), Field("rules")]].concat());
            let refuse = |reason: String| {
                let help = "name a file or a pattern like \"rules/*.toml\", relative to the config";
                Problem::new("SKU-060", span.clone(), reason).help(help)
            };
            let mut found = Found { variable, rules: Vec::new(), places: BTreeMap::new(), problems: Vec::new() };
            match files(base, &alerts.rules) {
                Err(reason) => problems.push(refuse(reason)),
                Ok(files) => {
                    for path in files {
                        match std::fs::read_to_string(&path) {
                            Err(error) => problems.push(refuse(format!("{}: {error}", shown(&path)))),
                            Ok(text) => found.file(Source { file: shown(&path), text }),
                        }
                    }
                    if found.places.is_empty() && found.problems.is_empty() {
                        problems.push(refuse(format!("there is no rule in `{}`", alerts.rules)));
                    } else if found.places.len() > RULES_MAX {
                        problems.push(refuse(format!("{} rules are more than {RULES_MAX}", found.places.len())));
                    }
                }
            }
            problems.append(&mut found.problems);
            alerts.read = Arc::new(Rules::new(found.rules));
        }
    }
}

/// The files that a pattern names, by name.
fn files(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let base = glob::Pattern::escape(&base.to_string_lossy());
    let pattern_of = Path::new(&base).join(pattern);
    let found = glob::glob(&pattern_of.to_string_lossy()).map_err(|error| format!("`{pattern}`: {error}"))?;
    let files: Result<Vec<PathBuf>, _> = found.collect();
    let files = files.map_err(|error| error.to_string())?;
    if files.is_empty() { Err(format!("no file matches `{pattern}`")) } else { Ok(files) }
}

/// A path as people write it.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// The rules of a step.
struct Found<'v> {
    variable: &'v dyn Fn(&str) -> Option<String>,
    rules: Vec<Rule>,
    /// The files of the ids.
    places: BTreeMap<String, String>,
    problems: Vec<Problem>,
}

impl Found<'_> {
    fn file(&mut self, source: Source) {
        let Parsed { tree, mut problems, unset, variables, filled } = tree::parse(&source.text, self.variable);
        if let Some(mut tree) = tree {
            let (file, _) = read::read::<File>(&mut tree, unset, &mut problems);
            for (at, rule) in file.unwrap_or_default().rule.iter().enumerate() {
                self.rule(&source, &tree, at, rule, &mut problems);
            }
        }
        problems.sort_by_key(|problem| problem.span.start);
        let source = Arc::new(source);
        for mut problem in problems {
            let is_filled = filled.iter().any(|span| span.start <= problem.span.start && problem.span.end <= span.end);
            problem.conceal(&variables, is_filled);
            self.problems.push(Problem { source: Some(source.clone()), ..problem });
        }
    }

    fn rule(&mut self, source: &Source, tree: &Node, at: usize, rule: &RuleConfig, problems: &mut Vec<Problem>) {
        let place = [Field("rule"), Item(at)];
        if let Some(other) = self.places.insert(rule.id.clone(), source.file.clone()) {
            let span = tree.span_at(&[&place[..], &[Field("id")]].concat());
            let message = format!("the name `{}` is taken, in {other}", rule.id);
            problems
                .push(Problem::new("SKU-021", span, message).help("names are unique; they name what rules remember"));
        }
        match Rule::compile(rule) {
            Ok(rule) => self.rules.push(rule),
            Err(mistakes) => {
                problems.extend(mistakes.into_iter().map(|mistake| problem(&source.text, tree, &place, mistake)));
            }
        }
    }
}

fn problem(text: &str, tree: &Node, place: &[At<'_>], mistake: Mistake) -> Problem {
    let mut path = place.to_vec();
    for part in &mistake.path {
        path.push(part.parse().map_or(Field(part), Item));
    }
    let fault = mistake.fault;
    let span = part_of(text, tree, &path, &fault.at).unwrap_or_else(|| tree.span_at(&path));
    let problem = Problem::new("SKU-061", span, fault.message).closest(&fault.written, fault.known);
    if fault.help.is_empty() { problem } else { problem.help(fault.help) }
}

/// Where these bytes of a text stand in the file; `None` where it is written with escapes, or no text.
fn part_of(text: &str, tree: &Node, path: &[At<'_>], part: &Range<usize>) -> Option<Range<usize>> {
    let node = tree.at(path)?;
    let Value::Text(value) = &node.value else { return None };
    let written = text.get(node.span.clone())?;
    let quotes = if written.starts_with("'''") || written.starts_with("\"\"\"") { 3 } else { 1 };
    let inside = written.get(quotes..written.len().checked_sub(quotes)?)?;
    let newline = inside.len() - inside.strip_prefix('\n').unwrap_or(inside).len(); // the first is not part of the text
    let start = node.span.start + quotes + newline;
    (inside[newline..] == **value && !part.is_empty()).then(|| start + part.start..start + part.end)
}
