//! CEL expressions over the columns of a record.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::{Context, Program};
use serde_json::Value;

use super::values::Row;

/// The variable that holds the whole record.
const ROW: &str = "row";
/// The variable that holds the item of a list.
const ITEM: &str = "item";
/// What functions of CEL's extensions begin with; no columns.
const NAMESPACES: &[&str] = &["base64", "cel", "lists", "math", "optional", "sets", "strings"];

/// A compiled expression.
pub(super) struct Expression {
    program: Program,
    names: Names,
}

impl Expression {
    /// Compiles it.
    ///
    /// # Errors
    /// Where it does not parse.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        let program =
            Program::compile(source).map_err(|errors| errors.to_string().lines().collect::<Vec<_>>().join(" "))?;
        let mut names = Names::default();
        names.collect(program.expression(), &mut Vec::new());
        let is_type = |name: &str| Program::compile(name).is_ok_and(|name| name.execute(&Context::default()).is_ok());
        names.variables.retain(|name| !is_type(name));
        Ok(Self { program, names })
    }

    /// The columns without which it fails, in a record that has a fixed set of them.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let variables = self.names.variables.iter().filter(|name| ![ROW, ITEM].contains(&name.as_str()));
        variables.chain(self.names.keys.difference(&self.names.optional_keys)).map(String::as_str)
    }

    /// What it gives for a record and, in a list, an item.
    pub(super) fn execute(
        &self,
        functions: &Context<'_, '_>,
        row: &Row<'_>,
        item: Option<&Value>,
    ) -> Result<cel::Value, String> {
        let mut context = functions.new_inner_scope();
        for name in &self.names.variables {
            let value = match (name.as_str(), item) {
                (ITEM, Some(item)) => Some(cel_value(item)),
                (ROW, _) => Some(row.whole()),
                _ => row.variable(name),
            };
            if let Some(value) = value {
                context.add_variable_from_value(name.clone(), value.map_err(|error| error.to_string())?);
            }
        }
        self.program.execute(&context).map_err(|error| error.to_string())
    }
}

/// What an expression speaks of.
#[derive(Default)]
struct Names {
    /// Variables that it does not bind itself.
    variables: BTreeSet<String>,
    /// `row["key"]` or `row.key`.
    keys: BTreeSet<String>,
    /// Keys that it asks for with `in` or `has` before it takes them.
    optional_keys: BTreeSet<String>,
}

impl Names {
    /// Adds the names in an expression; `bound` are those that the macros around it bind.
    fn collect<'a>(&mut self, expression: &'a IdedExpr, bound: &mut Vec<&'a str>) {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => {}
            Expr::Ident(name) => {
                if !name.starts_with('@') && !bound.contains(&name.as_str()) {
                    self.variables.insert(name.clone());
                }
            }
            Expr::Select(select) => {
                if is_row(&select.operand) {
                    let keys = if select.test { &mut self.optional_keys } else { &mut self.keys };
                    keys.insert(select.field.clone());
                }
                self.collect(&select.operand, bound);
            }
            Expr::Call(call) => {
                match (call.func_name.as_str(), call.args.as_slice()) {
                    ("_[_]", [of, key]) if is_row(of) => self.keys.extend(text(key)),
                    ("@in", [key, of]) if is_row(of) => self.optional_keys.extend(text(key)),
                    _ => {}
                }
                let target = call.target.as_deref().filter(|target| !is_namespace(target));
                target.into_iter().chain(&call.args).for_each(|part| self.collect(part, bound));
            }
            Expr::List(list) => list.elements.iter().for_each(|part| self.collect(part, bound)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, bound)),
            Expr::Struct(made) => made.entries.iter().for_each(|entry| self.entry(&entry.expr, bound)),
            Expr::Comprehension(each) => {
                self.collect(&each.iter_range, bound);
                self.collect(&each.accu_init, bound);
                let outside = bound.len();
                bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
                bound.extend(each.iter_var2.as_deref());
                for part in [&each.loop_cond, &each.loop_step, &each.result] {
                    self.collect(part, bound);
                }
                bound.truncate(outside);
            }
        }
    }

    fn entry<'a>(&mut self, entry: &'a EntryExpr, bound: &mut Vec<&'a str>) {
        match entry {
            EntryExpr::StructField(field) => self.collect(&field.value, bound),
            EntryExpr::MapEntry(entry) => {
                self.collect(&entry.key, bound);
                self.collect(&entry.value, bound);
            }
        }
    }
}

fn is_row(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if name == ROW)
}

fn is_namespace(expression: &IdedExpr) -> bool {
    matches!(&expression.expr, Expr::Ident(name) if NAMESPACES.contains(&name.as_str()))
}

fn text(expression: &IdedExpr) -> Option<String> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
        _ => None,
    }
}

/// A JSON value as one of CEL, with plain numbers; money never goes this way.
pub(super) fn cel_value(value: &Value) -> Result<cel::Value, cel::SerializationError> {
    cel::to_value(Plain(value))
}

struct Plain<'a>(&'a Value);

impl serde::Serialize for Plain<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => serializer.serialize_i64(whole),
                (None, Some(fraction)) => serializer.serialize_f64(fraction),
                (None, None) => serializer.serialize_none(),
            },
            Value::Array(items) => serializer.collect_seq(items.iter().map(Plain)),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(name, value)| (name, Plain(value)))),
            other => other.serialize(serializer),
        }
    }
}
