//! The config as a tree that knows where everything stands.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Tells it from every other node of the tree; places do not, an array of tables has that of its first.
    pub(super) id: u32,
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
    /// Takes out the nodes with these ids.
    pub(super) fn prune(&mut self, ids: &std::collections::HashSet<u32>) {
        match &mut self.value {
            Value::List(items) => {
                items.retain(|item| !ids.contains(&item.id));
                for item in items {
                    item.prune(ids);
                }
            }
            Value::Table(entries) => {
                entries.retain(|entry| !ids.contains(&entry.node.id));
                for entry in entries {
                    entry.node.prune(ids);
                }
            }
            _ => {}
        }
    }

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
    let mut building = Building { variable, problems: Vec::new(), next_id: 1 };
    let span = table.span();
    let node = Node { id: 0, span, value: building.table(table.into_inner()) };
    (Some(node), building.problems)
}

struct Building<'v> {
    variable: &'v dyn Fn(&str) -> Option<String>,
    problems: Vec<Problem>,
    next_id: u32,
}

impl Building<'_> {
    fn table(&mut self, table: DeTable<'_>) -> Value {
        let entries = table.into_iter().map(|(key, value)| Entry {
            key_span: key.span(),
            key: key.into_inner().into_owned(),
            node: self.node(value),
        });
        Value::Table(entries.collect())
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let (id, span) = (self.next_id, value.span());
        self.next_id += 1;
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(interpolate(&text, self.variable).unwrap_or_else(|reason| {
                let help = "write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${ for a plain ${";
                self.problems.push(Problem::new("SKU-003", span.clone(), reason).help(help));
                text.into_owned()
            })),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Value::Time, Value::Integer)
            }
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Bool(truth),
            DeValue::Datetime(_) => Value::Time,
            DeValue::Array(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Node { id, span, value }
    }
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
