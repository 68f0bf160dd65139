//! The config as a tree that knows where everything stands.

use std::collections::HashSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::variables::Variables;

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
    /// An integer that no setting is large enough for.
    Huge,
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
            Self::Huge => "an integer that is too large",
            Self::Float(_) => "a number",
            Self::Bool(_) => "a boolean",
            Self::Time => "a date or time",
            Self::List(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    /// The value of a field, where this is a table that has it.
    pub(super) fn field(&self, name: &str) -> Option<&Node> {
        let Value::Table(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node)
    }

    /// What a path leads to.
    pub(super) fn at(&self, path: &[At<'_>]) -> Option<&Node> {
        path.iter().try_fold(self, |node, at| match (at, &node.value) {
            (At::Field(name), _) => node.field(name),
            (At::Item(index), Value::List(items)) => items.get(*index),
            (At::Item(_), _) => None,
        })
    }

    /// Takes out the nodes with these ids.
    pub(super) fn prune(&mut self, ids: &HashSet<u32>) {
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

/// What a text parses to.
pub(super) struct Parsed {
    /// `None` where it is no TOML.
    pub(super) tree: Option<Node>,
    pub(super) problems: Vec<Problem>,
    /// Values that are to be left out, because a variable in them is not set.
    pub(super) unset: HashSet<u32>,
    pub(super) variables: Variables,
    /// Places of the values with a variable in them.
    pub(super) filled: Vec<Range<usize>>,
}

/// Parses TOML and fills in variables.
pub(super) fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Parsed {
    let parsed = Parsed {
        tree: None,
        problems: Vec::new(),
        unset: HashSet::new(),
        variables: Variables::default(),
        filled: Vec::new(),
    };
    let mut building = Building { variable, next_id: 1, parsed };
    match DeTable::parse(text) {
        Ok(table) => {
            let span = table.span();
            let value = building.table(table.into_inner());
            building.parsed.tree = Some(Node { id: 0, span, value });
        }
        Err(error) => {
            let span = error.span().unwrap_or(0..0);
            building.parsed.problems.push(Problem::new("SKU-002", span, error.message().to_owned()));
        }
    }
    building.parsed
}

struct Building<'v> {
    variable: &'v dyn Fn(&str) -> Option<String>,
    next_id: u32,
    parsed: Parsed,
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
            DeValue::String(text) => Value::Text(self.fill(id, &span, &text)),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).map_or(Value::Huge, Value::Integer)
            }
            DeValue::Float(float) => Value::Float(float.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(truth) => Value::Bool(truth),
            DeValue::Datetime(_) => Value::Time,
            DeValue::Array(items) => Value::List(items.into_iter().map(|item| self.node(item)).collect()),
            DeValue::Table(table) => self.table(table),
        };
        Node { id, span, value }
    }

    fn fill(&mut self, id: u32, span: &Range<usize>, text: &str) -> String {
        let parsed = &mut self.parsed;
        match parsed.variables.fill(text, self.variable) {
            Ok(filled) => {
                if filled != text {
                    parsed.filled.push(span.clone());
                }
                filled
            }
            Err(reason) => {
                let help = "write ${NAME}, ${NAME:-default} or ${NAME:?message}; $${ for a plain ${";
                parsed.problems.push(Problem::new("SKU-003", span.clone(), reason).help(help));
                parsed.unset.insert(id);
                String::new()
            }
        }
    }
}
