//! The config as a tree that knows where everything stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) span: Range<usize>,
    pub(super) value: Value,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A date or time, which no setting is.
    Time,
    List(Vec<Node>),
    Table(Vec<Entry>),
}

/// A field of a table.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) node: Node,
}

/// A step of a path into the tree.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'a> {
    Field(&'a str),
    Item(usize),
}

impl Value {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Time => "a date or time",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The place of what `path` leads to, or of the last thing on the way that is there.
    pub(super) fn span_at(&self, path: &[At<'_>]) -> Range<usize> {
        let Some((first, rest)) = path.split_first() else { return self.span.clone() };
        match (first, &self.value) {
            (At::Field(name), Value::Table(entries)) => match entries.iter().find(|entry| entry.key == *name) {
                // A table's own span may be far away from its name: the name is what to point at.
                Some(entry) if rest.is_empty() && matches!(entry.node.value, Value::Table(_)) => entry.key_span.clone(),
                Some(entry) => entry.node.span_at(rest),
                None => self.span.clone(),
            },
            (At::Item(index), Value::List(items)) => {
                items.get(*index).map_or_else(|| self.span.clone(), |item| item.span_at(rest))
            }
            _ => self.span.clone(),
        }
    }
}

/// Parses TOML and fills in variables; no tree where it is no TOML.
pub(super) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> (Option<Node>, Vec<Problem>) {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            return (None, vec![Problem::new("SKU-002", span, error.message().to_owned())]);
        }
    };
    let mut problems = Vec::new();
    let span = table.span();
    let node = Node { span, value: table_of(table.into_inner(), variable, &mut problems) };
    (Some(node), problems)
}

fn table_of(table: DeTable<'_>, variable: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> Value {
    let entries = table.into_iter().map(|(key, value)| Entry {
        key_span: key.span(),
        key: key.into_inner().into_owned(),
        node: node_of(value, variable, problems),
    });
    Value::Table(entries.collect())
}

fn node_of(
    value: Spanned<DeValue<'_>>,
    variable: &dyn Fn(&str) -> Option<String>,
    problems: &mut Vec<Problem>,
) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(interpolate(&text, variable).unwrap_or_else(|reason| {
            let help = "write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${ for a plain ${";
            problems.push(Problem::new("SKU-003", span.clone(), reason).help(help));
            text.into_owned()
        })),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Value::Time, Value::Integer)
        }
        DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Value::Bool(truth),
        DeValue::Datetime(_) => Value::Time,
        DeValue::Array(items) => Value::List(items.into_iter().map(|item| node_of(item, variable, problems)).collect()),
        DeValue::Table(table) => table_of(table, variable, problems),
    };
    Node { span, value }
}

/// Replaces `${NAME}`, `${NAME:-default}` and `${NAME:?message}`; `$${` stands for `${`. The value of a variable is text:
/// it cannot become anything else, and is not looked into again.
fn interpolate(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or("a `${` is not closed")?;
        let inner = &rest[at + 2..at + end];
        let (name, otherwise) = match inner.find(":-").or_else(|| inner.find(":?")) {
            Some(split) => (&inner[..split], Some((&inner[split..split + 2], &inner[split + 2..]))),
            None => (inner, None),
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(format!("`{name}` is no name of a variable"));
        }
        match (variable(name), otherwise) {
            (Some(value), _) => out.push_str(&value),
            (None, Some((":-", default))) => out.push_str(default),
            (None, Some((_, message))) => return Err(format!("the variable `{name}` is not set: {message}")),
            (None, None) => return Err(format!("the variable `{name}` is not set")),
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}
