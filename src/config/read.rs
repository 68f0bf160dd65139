//! Reads settings out of the tree with serde, and finds all problems instead of the first.
//!
//! serde itself says which fields a struct has (`deserialize_struct`), so there is no second list of them. An unknown
//! field is reported and passed over. A value that does not fit is reported, and everything is read again without it, so
//! that the next mistake shows too.

#![expect(clippy::result_large_err, reason = "a config is read once, and its mistakes are few")]

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::problem::Problem;
use super::tree::{Entry, Node, Value};

/// Mistakes that are looked for, one after the other, at most.
const ROUNDS_MAX: usize = 100;

/// Reads a `T` without the values in `left_out`; `None` where too little of it is left. The second answer says whether
/// nothing had to be left out; what was is taken out of the tree.
pub(super) fn read<T: DeserializeOwned>(
    tree: &mut Node,
    left_out: HashSet<u32>,
    problems: &mut Vec<Problem>,
) -> (Option<T>, bool) {
    let session = Session { skipped: RefCell::new(left_out), ..Session::default() };
    let mut result = None;
    for _ in 0..ROUNDS_MAX {
        match T::deserialize(At { node: &*tree, session: &session }) {
            Ok(value) => {
                result = Some(value);
                break;
            }
            Err(error) => {
                let span = error.span.clone().unwrap_or(tree.span.clone());
                // A field that is missing because it was left out was reported already.
                if !error.caused {
                    session.report(Problem {
                        did_you_mean: error.did_you_mean,
                        help: error.help,
                        ..Problem::new(error.code, span.clone(), error.message)
                    });
                }
                if error.node.is_none_or(|node| node == tree.id || !session.skipped.borrow_mut().insert(node)) {
                    break;
                }
            }
        }
    }
    let skipped = session.skipped.into_inner();
    problems.extend(session.problems.into_inner());
    let whole = skipped.is_empty();
    tree.prune(&skipped);
    (result, whole)
}

#[derive(Default)]
struct Session {
    problems: RefCell<Vec<Problem>>,
    /// Values that are left out.
    skipped: RefCell<HashSet<u32>>,
}

impl Session {
    fn report(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    fn is_skipped(&self, node: &Node) -> bool {
        self.skipped.borrow().contains(&node.id)
    }
}

/// Why a value cannot be read, and where.
#[derive(Debug)]
struct ReadError {
    code: &'static str,
    span: Option<Range<usize>>,
    /// The value that it is about.
    node: Option<u32>,
    message: String,
    did_you_mean: Option<String>,
    help: Option<String>,
    /// It follows from a mistake that was reported.
    caused: bool,
}

impl ReadError {
    fn at(self, node: &Node) -> Self {
        self.at_key(&node.span, node)
    }

    /// About `node`, to be shown at its key.
    fn at_key(mut self, key: &Range<usize>, node: &Node) -> Self {
        self.span.get_or_insert_with(|| key.clone());
        self.node.get_or_insert(node.id);
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            code: "SKU-011",
            span: None,
            node: None,
            message: message.to_string(),
            did_you_mean: None,
            help: None,
            caused: false,
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { code: "SKU-012", ..Self::custom(format_args!("`{field}` is missing here")) }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let problem = Problem::new("SKU-013", 0..0, "").closest(variant, expected.iter().copied());
        Self {
            code: "SKU-013",
            did_you_mean: problem.did_you_mean,
            help: Some(format!("expected one of: {}", expected.join(", "))),
            ..Self::custom(format_args!("`{variant}` is not known here"))
        }
    }
}

/// A node, to be read.
#[derive(Clone, Copy)]
struct At<'a, 's> {
    node: &'a Node,
    session: &'s Session,
}

impl<'a> At<'a, '_> {
    fn expected(&self, what: &str) -> ReadError {
        let message = format!("expected {what}, found {}", self.node.value.kind());
        <ReadError as de::Error>::custom(message).at(self.node)
    }

    fn table(&self, what: &str) -> Result<&'a [Entry], ReadError> {
        match &self.node.value {
            Value::Table(entries) => Ok(entries),
            _ => Err(self.expected(what)),
        }
    }
}

impl<'de> Deserializer<'de> for At<'de, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::Integer(integer) => visitor.visit_i64(*integer),
            Value::Float(float) => visitor.visit_f64(*float),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Time | Value::Huge => Err(self.expected("another value")),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter(), session: self.session }),
            Value::Table(entries) => {
                visitor.visit_map(Fields { entries: entries.iter(), value: None, session: self.session })
            }
        }
        .map_err(|error: ReadError| error.at(self.node))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let entries = self.table("a table")?;
        for unknown in entries.iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
            let message = format!("unknown field `{}`", unknown.key);
            let known = fields.iter().copied();
            let problem = Problem::new("SKU-010", unknown.key_span.clone(), message).closest(&unknown.key, known);
            self.session.report(problem.help(format!("expected one of: {}", fields.join(", "))));
        }
        let known: Vec<&Entry> = entries.iter().filter(|entry| fields.contains(&entry.key.as_str())).collect();
        // What is missing may be what was misspelt, or left out because of its value.
        let lost = known.len() < entries.len() || known.iter().any(|entry| self.session.is_skipped(&entry.node));
        visitor.visit_map(Fields { entries: known.into_iter(), value: None, session: self.session }).map_err(|error| {
            let caused = error.caused || (error.code == "SKU-012" && error.span.is_none() && lost);
            ReadError { caused, ..error.at(self.node) }
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match &self.node.value {
            Value::Text(name) => visitor.visit_enum(Variant { name, node: None, session: self.session }),
            Value::Table(entries) => match entries.as_slice() {
                [only] => visitor
                    .visit_enum(Variant { name: &only.key, node: Some(&only.node), session: self.session })
                    .map_err(|error| error.at_key(&only.key_span, self.node)),
                _ => Err(ReadError {
                    code: "SKU-013",
                    help: Some(format!("give exactly one of: {}", variants.join(", "))),
                    ..de::Error::custom("it is not clear which kind this is")
                }),
            },
            _ => Err(self.expected("a name, or a table with one kind")),
        }
        .map_err(|error: ReadError| error.at(self.node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'a, 's, I: Iterator<Item = &'a Node>> {
    items: I,
    session: &'s Session,
}

impl<'de, I: Iterator<Item = &'de Node>> SeqAccess<'de> for Items<'de, '_, I> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let session = self.session;
        let Some(node) = self.items.find(|node| !session.is_skipped(node)) else { return Ok(None) };
        seed.deserialize(At { node, session }).map(Some).map_err(|error| error.at(node))
    }
}

struct Fields<'a, 's, I: Iterator<Item = &'a Entry>> {
    entries: I,
    value: Option<&'a Node>,
    session: &'s Session,
}

impl<'de, I: Iterator<Item = &'de Entry>> MapAccess<'de> for Fields<'de, '_, I> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let session = self.session;
        let Some(entry) = self.entries.find(|entry| !session.is_skipped(&entry.node)) else { return Ok(None) };
        self.value = Some(&entry.node);
        let key = de::value::BorrowedStrDeserializer::<ReadError>::new(&entry.key);
        seed.deserialize(key).map(Some).map_err(|error| error.at_key(&entry.key_span, &entry.node))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ReadError> {
        let node = self.value.take().expect("serde asks for a value after its key");
        seed.deserialize(At { node, session: self.session }).map_err(|error| error.at(node))
    }
}

struct Variant<'a, 's> {
    name: &'a str,
    node: Option<&'a Node>,
    session: &'s Session,
}

impl<'de> EnumAccess<'de> for Variant<'de, '_> {
    type Error = ReadError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ReadError> {
        let name = de::value::BorrowedStrDeserializer::<ReadError>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de, '_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        let missing =
            || de::Error::custom(format_args!("write `{{ {} = {{}} }}`, with its settings inside", self.name));
        let node = self.node.ok_or_else(missing)?;
        seed.deserialize(At { node, session: self.session }).map_err(|error: ReadError| error.at(node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, ReadError> {
        Err(de::Error::custom("settings are never tuples"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], _: V) -> Result<V::Value, ReadError> {
        Err(de::Error::custom("settings have types of their own"))
    }
}
