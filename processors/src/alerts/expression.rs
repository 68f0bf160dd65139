//! Expressions of rules: CEL, checked against the names there are, and compiled.
//!
//! ```text
//!  text ─▶ parser of crate cel ─▶ tree ─┬─▶ check: names, types ─▶ faults, with their places
//!                                       └─▶ arithmetic, comparisons, logic: a tree of our own (`Node`)
//!                                           anything else: crate cel's interpreter
//! ```
//!
//! **Null** is friendly. What CEL calls an error (arithmetic with null, or asking which of two is larger when one is
//! null) is *unknown* here, and unknown goes through `&&`, `||` and `!` as in CEL: `false && unknown` is false,
//! `true || unknown` is true, else the whole is unknown. `==` and `!=` do take null. A rule whose condition is unknown is
//! not true, and never an error.

use std::ops::Range;
use std::sync::LazyLock;

use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::types::{CelBool, CelDouble, CelNull, CelString};
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, ExecutionError, Program};

use super::names::{Inputs, Kind, Name, SPACES, Value};
use crate::EXPRESSION_BYTES_MAX;

/// Whole numbers up to here are numbers without loss.
const EXACT_MAX: u64 = 1 << 53;

/// Something wrong in a text of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which bytes of it; all, where it is about the whole.
    pub at: Range<usize>,
    /// What.
    pub message: String,
    /// The name that was written, where it should be one of `known`.
    pub written: String,
    /// The names that could stand there.
    pub known: Vec<&'static str>,
    /// What to do.
    pub help: String,
}

impl Fault {
    pub(super) fn new(at: Range<usize>, message: impl Into<String>, help: &str) -> Self {
        Self { at, message: message.into(), written: String::new(), known: Vec::new(), help: help.into() }
    }

    /// About a name that is not known.
    pub(super) fn unknown(at: Range<usize>, written: &str, known: Vec<&'static str>, place: &str) -> Self {
        let help = if known.len() > 12 {
            "`skuflow schema features` lists the figures".to_owned()
        } else {
            format!("there are: {}", known.join(", "))
        };
        Self { at, message: format!("there is no `{written}`{place}"), written: written.into(), known, help }
    }
}

/// A compiled expression.
#[derive(Debug)]
pub(super) struct Expression {
    code: Code,
    /// What it names, each once, in the order of the text.
    names: Vec<Name>,
}

#[derive(Debug)]
enum Code {
    Compiled(Node),
    Interpreted(Program),
}

/// The part of CEL that nearly all rules are made of.
#[derive(Debug)]
enum Node {
    Null,
    Number(f64),
    Text(Box<str>),
    Truth(bool),
    Name(Name),
    Not(Box<Self>),
    Negative(Box<Self>),
    Logic(Logic, Box<[Self; 2]>),
    Arithmetic(fn(f64, f64) -> f64, Box<[Self; 2]>),
    Order(fn(std::cmp::Ordering) -> bool, Box<[Self; 2]>),
    Equal(bool, Box<[Self; 2]>),
    Choice(Box<[Self; 3]>),
}

#[derive(Clone, Copy, Debug)]
enum Logic {
    And,
    Or,
}

/// What is asked of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Truth,
    Number,
}

impl Expression {
    /// Compiles an expression that gives what is asked, of whatever it names.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn compile(source: &str, asked: Asked) -> Result<Self, Vec<Fault>> {
        let whole = 0..source.len();
        if source.len() > EXPRESSION_BYTES_MAX {
            let message = format!("an expression has at most {EXPRESSION_BYTES_MAX} bytes");
            return Err(vec![Fault::new(whole, message, "make two rules of it")]);
        }
        let program = Program::compile(source).map_err(|errors| parse_faults(source, &errors))?;
        let mut check = Check { source, program: &program, names: Vec::new(), faults: Vec::new(), bound: Vec::new() };
        let (kind, node) = check.node(program.expression());
        let Check { names, mut faults, .. } = check;
        let wanted = match asked {
            Asked::Truth => Type::Truth,
            Asked::Number => Type::Number,
        };
        if faults.is_empty() && !(kind.is(wanted) || kind == Type::Whole && asked == Asked::Number) {
            faults.push(Fault::new(whole.clone(), format!("this is {}, not {}", kind.noun(), wanted.noun()), ""));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let code = node.map_or_else(|| Code::Interpreted(program), Code::Compiled);
        let expression = Self { code, names };
        expression.try_out(asked).map_err(|message| vec![Fault::new(whole, message, "")])?;
        Ok(expression)
    }

    /// The same, by the interpreter only.
    #[cfg(test)]
    pub(super) fn interpreted(source: &str, asked: Asked) -> Self {
        let program = Program::compile(source).expect("an expression");
        Self { code: Code::Interpreted(program), ..Self::compile(source, asked).expect("an expression") }
    }

    #[cfg(test)]
    pub(super) fn is_compiled(&self) -> bool {
        matches!(self.code, Code::Compiled(_))
    }

    /// What it names.
    pub(super) fn names(&self) -> &[Name] {
        &self.names
    }

    /// Whether it is true; `None` where that is unknown.
    pub(super) fn truth(&self, inputs: &Inputs<'_>) -> Option<bool> {
        match &self.code {
            Code::Compiled(node) => node.truth(inputs),
            Code::Interpreted(program) => match interpret(program, &|name| Some(name.value(inputs))) {
                Ok(cel::Value::Bool(truth)) => Some(truth),
                _ => None,
            },
        }
    }

    /// The number it gives; `None` where that is unknown, or beyond all numbers.
    pub(super) fn number(&self, inputs: &Inputs<'_>) -> Option<f64> {
        let number = match &self.code {
            Code::Compiled(node) => node.value(inputs)?.as_number(),
            Code::Interpreted(program) => match interpret(program, &|name| Some(name.value(inputs))) {
                Ok(cel::Value::Float(number)) => Some(number),
                Ok(cel::Value::Int(number)) => Some(number as f64),
                Ok(cel::Value::UInt(number)) => Some(number as f64),
                _ => None,
            },
        };
        number.filter(|number| number.is_finite())
    }

    /// Tries what is interpreted once, with a value for each name: a function that does not exist, or does not take what
    /// it is given, shows only then.
    fn try_out(&self, asked: Asked) -> Result<(), String> {
        let Code::Interpreted(program) = &self.code else { return Ok(()) };
        let example = |name: Name| match name.kind() {
            Kind::Number | Kind::Price => Some(Value::Number(1.5)),
            Kind::Text => Some(Value::Text("text")),
            Kind::OneOf(texts) => Some(Value::Text(texts[0])),
            Kind::Truth => Some(Value::Truth(true)),
        };
        match (interpret(program, &example), asked) {
            (Ok(cel::Value::Bool(_)), Asked::Truth)
            | (Ok(cel::Value::Float(_) | cel::Value::Int(_) | cel::Value::UInt(_)), Asked::Number) => Ok(()),
            (Ok(_), Asked::Truth) => Err("this is not true or false".into()),
            (Ok(_), Asked::Number) => Err("this is not a number".into()),
            // These depend on the values.
            (
                Err(
                    ExecutionError::DivisionByZero(_)
                    | ExecutionError::RemainderByZero(_)
                    | ExecutionError::IndexOutOfBounds(_)
                    | ExecutionError::Overflow(..),
                ),
                _,
            ) => Ok(()),
            (Err(error), _) => Err(format!("this cannot be computed: {error}")),
        }
    }
}

impl Node {
    /// Its value; `None` where it is unknown.
    fn value<'a>(&'a self, inputs: &Inputs<'a>) -> Option<Value<'a>> {
        Some(match self {
            Self::Null => Value::Null,
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text),
            Self::Truth(truth) => Value::Truth(*truth),
            Self::Name(name) => name.value(inputs),
            Self::Not(node) => Value::Truth(!node.truth(inputs)?),
            Self::Negative(node) => Value::Number(-node.value(inputs)?.as_number()?),
            Self::Logic(logic, sides) => Value::Truth(logic.truth(sides, inputs)?),
            Self::Arithmetic(operator, sides) => {
                let [left, right] = &**sides;
                Value::Number(operator(left.value(inputs)?.as_number()?, right.value(inputs)?.as_number()?))
            }
            Self::Order(holds, sides) => {
                let ordering = match (sides[0].value(inputs)?, sides[1].value(inputs)?) {
                    (Value::Number(left), Value::Number(right)) => left.partial_cmp(&right)?,
                    (Value::Text(left), Value::Text(right)) => left.cmp(right),
                    _ => return None,
                };
                Value::Truth(holds(ordering))
            }
            Self::Equal(equal, sides) => Value::Truth((sides[0].value(inputs)? == sides[1].value(inputs)?) == *equal),
            Self::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                return if condition.truth(inputs)? { yes.value(inputs) } else { no.value(inputs) };
            }
        })
    }

    fn truth(&self, inputs: &Inputs<'_>) -> Option<bool> {
        if let Some(Value::Truth(truth)) = self.value(inputs) { Some(truth) } else { None }
    }
}

impl Logic {
    /// One side decides, or both do.
    fn truth(self, [left, right]: &[Node; 2], inputs: &Inputs<'_>) -> Option<bool> {
        let deciding = matches!(self, Self::Or);
        match left.truth(inputs) {
            Some(truth) if truth == deciding => Some(truth),
            Some(_) => right.truth(inputs),
            None => right.truth(inputs).filter(|truth| *truth == deciding),
        }
    }
}

/// Names and their values, for crate cel.
struct Variables<'v> {
    value: &'v (dyn Fn(Name) -> Option<Value<'v>> + Send + Sync),
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let (space, name) = variable.split_once('.')?;
        Some(match (self.value)(Name::find(space, name)?)? {
            Value::Null => CowVal::owned(CelNull),
            Value::Number(number) => CowVal::owned(CelDouble::from(number)),
            Value::Text(text) => CowVal::owned(CelString::from(text)),
            Value::Truth(truth) => CowVal::owned(CelBool::from(truth)),
        })
    }
}

fn interpret<'v>(
    program: &Program,
    value: &'v (dyn Fn(Name) -> Option<Value<'v>> + Send + Sync),
) -> Result<cel::Value, ExecutionError> {
    static FUNCTIONS: LazyLock<Context<'static, 'static>> = LazyLock::new(Context::default);
    let variables = Variables { value };
    let mut context = FUNCTIONS.new_inner_scope();
    context.set_variable_resolver(&variables);
    program.execute(&context)
}

/// What an expression gives, where it is not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Number,
    /// A number without decimals.
    Whole,
    Text,
    OneOf(&'static [&'static str]),
    Truth,
    Null,
    /// Something that is not looked into.
    Any,
}

impl Type {
    fn of(kind: Kind) -> Self {
        match kind {
            Kind::Number | Kind::Price => Self::Number,
            Kind::Text => Self::Text,
            Kind::OneOf(texts) => Self::OneOf(texts),
            Kind::Truth => Self::Truth,
        }
    }

    fn noun(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Whole => "a whole number",
            Self::Text | Self::OneOf(_) => "a text",
            Self::Truth => "true or false",
            Self::Null => "null",
            Self::Any => "anything",
        }
    }

    fn is(self, wanted: Self) -> bool {
        self == wanted || self == Self::Any
    }

    fn is_numeric(self) -> bool {
        matches!(self, Self::Number | Self::Whole)
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::OneOf(_))
    }

    /// Whether the two can be equal, or one larger than the other.
    fn compares(self, other: Self) -> bool {
        self == other || (self.is_numeric() && other.is_numeric()) || (self.is_text() && other.is_text())
    }
}

/// A part of the tree that was checked: what it gives, and its node, where there is one for it.
type Checked = (Type, Option<Node>);

struct Check<'s> {
    source: &'s str,
    program: &'s Program,
    names: Vec<Name>,
    faults: Vec<Fault>,
    /// Names that the macros around the part at hand bind.
    bound: Vec<&'s str>,
}

impl<'s> Check<'s> {
    fn node(&mut self, part: &'s IdedExpr) -> Checked {
        match &part.expr {
            Expr::Literal(written) => literal(written),
            Expr::Ident(name) => {
                if !name.starts_with('@') && !self.bound.contains(&name.as_str()) && !is_type(name) {
                    self.unknown_variable(part, name);
                }
                (Type::Any, None)
            }
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(space) if !self.bound.contains(&space.as_str()) => {
                    self.name(part, &select.operand, space, &select.field, select.test)
                }
                _ => {
                    self.node(&select.operand);
                    (Type::Any, None)
                }
            },
            Expr::Call(call) if call.target.is_none() => self.call(part, &call.func_name, &call.args),
            Expr::Call(call) => {
                let target = call.target.as_deref().filter(|target| !is_namespace(target));
                target.into_iter().chain(&call.args).for_each(|part| _ = self.node(part));
                (Type::Any, None)
            }
            Expr::Comprehension(each) => self.comprehension(each),
            Expr::List(list) => {
                list.elements.iter().for_each(|part| _ = self.node(part));
                (Type::Any, None)
            }
            Expr::Map(map) => self.entries(map.entries.iter().map(|entry| &entry.expr)),
            Expr::Struct(made) => self.entries(made.entries.iter().map(|entry| &entry.expr)),
            Expr::Unspecified => (Type::Any, None),
        }
    }

    /// `<space>.<name>`, or `has(<space>.<name>)`.
    fn name(&mut self, part: &IdedExpr, operand: &IdedExpr, space: &str, name: &str, is_has: bool) -> Checked {
        let at = self.span(operand.id).start..self.span(part.id).end;
        if !SPACES.contains(&space) {
            self.unknown_variable(operand, space);
        } else if is_has {
            let message = format!("`{name}` is always there, and null where nothing is known");
            self.faults.push(Fault::new(at, message, &format!("write {space}.{name} != null")));
        } else if let Some(found) = Name::find(space, name) {
            if !self.names.contains(&found) {
                self.names.push(found);
            }
            return (Type::of(found.kind()), Some(Node::Name(found)));
        } else {
            let at = self.source[at.end..].find(name).map_or(at.clone(), |behind| {
                let start = at.end + behind;
                start..start + name.len()
            });
            self.faults.push(Fault::unknown(at, name, Name::known(space), &format!(" in `{space}`")));
        }
        (Type::Any, None)
    }

    fn unknown_variable(&mut self, part: &IdedExpr, name: &str) {
        let at = self.span(part.id);
        if SPACES.contains(&name) {
            let message = format!("`{name}` alone is no value");
            self.faults.push(Fault::new(at, message, &format!("write {name}.<name>")));
        } else {
            self.faults.push(Fault::unknown(at, name, SPACES.to_vec(), ""));
        }
    }

    fn call(&mut self, part: &IdedExpr, function: &str, arguments: &'s [IdedExpr]) -> Checked {
        let checked: Vec<Checked> = arguments.iter().map(|argument| self.node(argument)).collect();
        let types: Vec<Type> = checked.iter().map(|(kind, _)| *kind).collect();
        let nodes = checked.into_iter().map(|(_, node)| node).collect::<Option<Vec<Node>>>();
        let at = self.span(part.id);
        match (function, types.as_slice()) {
            ("_&&_" | "_||_", [_, _]) => {
                self.all(&types, Type::Truth, arguments);
                let logic = if function == "_&&_" { Logic::And } else { Logic::Or };
                (Type::Truth, two(nodes).map(|sides| Node::Logic(logic, sides)))
            }
            ("!_", [_]) => {
                self.all(&types, Type::Truth, arguments);
                (Type::Truth, one(nodes).map(Node::Not))
            }
            ("-_", [kind]) => {
                if !kind.is_numeric() {
                    self.all(&types, Type::Number, arguments);
                }
                (*kind, one(nodes).map(Node::Negative))
            }
            ("_==_" | "_!=_", [left, right]) => {
                self.compare(at, *left, *right, arguments, true);
                (Type::Truth, two(nodes).map(|sides| Node::Equal(function == "_==_", sides)))
            }
            ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => {
                self.compare(at, *left, *right, arguments, false);
                let are_ordered = !(left.is(Type::Truth) || right.is(Type::Truth));
                let node = two(nodes).filter(|_| are_ordered).map(|sides| Node::Order(order(function), sides));
                (Type::Truth, node)
            }
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [left, right]) => {
                let kind = self.arithmetic(at, function, *left, *right);
                let node = arithmetic(function).filter(|_| (*left, *right) == (Type::Number, Type::Number));
                (kind, node.zip(two(nodes)).map(|(operator, sides)| Node::Arithmetic(operator, sides)))
            }
            ("_?_:_", [condition, yes, no]) => {
                self.all(&[*condition], Type::Truth, arguments);
                let kind = if yes == no { *yes } else { Type::Any };
                let node = nodes.filter(|_| kind != Type::Any).and_then(|nodes| <[Node; 3]>::try_from(nodes).ok());
                (kind, node.map(|parts| Node::Choice(Box::new(parts))))
            }
            _ => (Type::Any, None),
        }
    }

    /// All of these have to be `wanted`.
    fn all(&mut self, types: &[Type], wanted: Type, parts: &[IdedExpr]) {
        for (kind, part) in types.iter().zip(parts).filter(|(kind, _)| !kind.is(wanted)) {
            let at = self.span(part.id);
            self.faults.push(Fault::new(at, format!("this is {}, not {}", kind.noun(), wanted.noun()), ""));
        }
    }

    fn compare(&mut self, at: Range<usize>, left: Type, right: Type, parts: &[IdedExpr], is_equality: bool) {
        let is_open = [left, right].contains(&Type::Any);
        if [left, right].contains(&Type::Null) {
            if !is_equality {
                let message = "null is neither smaller nor larger than anything";
                self.faults.push(Fault::new(at, message, "ask with == null or != null"));
            }
        } else if !is_open && !left.compares(right) {
            let message = format!("{} and {} do not compare", left.noun(), right.noun());
            self.faults.push(Fault::new(at, message, ""));
        }
        for (kind, part) in [(left, &parts[1]), (right, &parts[0])] {
            let (Type::OneOf(texts), Expr::Literal(LiteralValue::String(text))) = (kind, &part.expr) else { continue };
            if !texts.contains(&text.inner()) {
                let at = self.span(part.id);
                self.faults.push(Fault::unknown(at, text.inner(), texts.to_vec(), " there"));
            }
        }
    }

    /// What arithmetic with these gives.
    fn arithmetic(&mut self, at: Range<usize>, function: &str, left: Type, right: Type) -> Type {
        let sign = function.trim_matches('_');
        match (left, right) {
            (Type::Any, _) | (_, Type::Any) => Type::Any,
            (Type::Number, Type::Number) if function != "_%_" => Type::Number,
            (Type::Whole, Type::Whole) => Type::Whole,
            (left, right) if left.is_text() && right.is_text() && function == "_+_" => Type::Text,
            (left, right) if left.is_numeric() && right.is_numeric() => {
                let (message, help) = if left == right {
                    (format!("`{sign}` takes whole numbers only"), "")
                } else {
                    (format!("`{sign}` does not take a number with and one without decimals"), "write 100.0, not 100")
                };
                self.faults.push(Fault::new(at, message, help));
                Type::Any
            }
            (left, right) => {
                let message = format!("`{sign}` does not take {} and {}", left.noun(), right.noun());
                self.faults.push(Fault::new(at, message, ""));
                Type::Any
            }
        }
    }

    fn comprehension(&mut self, each: &'s ComprehensionExpr) -> Checked {
        self.node(&each.iter_range);
        self.node(&each.accu_init);
        let outside = self.bound.len();
        self.bound.extend([each.iter_var.as_str(), each.accu_var.as_str()]);
        self.bound.extend(each.iter_var2.as_deref());
        for part in [&each.loop_cond, &each.loop_step, &each.result] {
            self.node(part);
        }
        self.bound.truncate(outside);
        (Type::Any, None)
    }

    fn entries(&mut self, entries: impl Iterator<Item = &'s EntryExpr>) -> Checked {
        for entry in entries {
            match entry {
                EntryExpr::StructField(field) => _ = self.node(&field.value),
                EntryExpr::MapEntry(entry) => {
                    self.node(&entry.key);
                    self.node(&entry.value);
                }
            }
        }
        (Type::Any, None)
    }

    /// The bytes that a part begins with: its own token.
    fn span(&self, id: u64) -> Range<usize> {
        let Some((start, stop)) = self.program.source_info().offset_for(id) else { return 0..self.source.len() };
        let byte = |at: u32| self.source.char_indices().nth(at as usize).map_or(self.source.len(), |(byte, _)| byte);
        let start = byte(start);
        start..byte(stop.saturating_add(1)).max(start)
    }
}

fn literal(literal: &LiteralValue) -> Checked {
    match literal {
        LiteralValue::Null => (Type::Null, Some(Node::Null)),
        LiteralValue::Boolean(truth) => (Type::Truth, Some(Node::Truth(*truth.inner()))),
        LiteralValue::Double(number) => (Type::Number, Some(Node::Number(*number.inner()))),
        LiteralValue::String(text) => (Type::Text, Some(Node::Text(text.inner().into()))),
        LiteralValue::Int(whole) => {
            let whole = *whole.inner();
            (Type::Whole, (whole.unsigned_abs() <= EXACT_MAX).then_some(Node::Number(whole as f64)))
        }
        LiteralValue::Bytes(_) | LiteralValue::UInt(_) => (Type::Any, None),
    }
}

fn parse_faults(source: &str, errors: &cel::ParseErrors) -> Vec<Fault> {
    let faults = errors.errors.iter().map(|error| {
        let (line, column) = error.pos;
        let lines: usize = source.split_inclusive('\n').take(line.max(1) as usize - 1).map(str::len).sum();
        let found = source[lines..].char_indices().nth(column.max(1) as usize - 1);
        let at = found.map_or(source.len()..source.len(), |(byte, char)| lines + byte..lines + byte + char.len_utf8());
        let message = error.msg.lines().next().unwrap_or_default();
        let message = message.split(" expecting ").next().unwrap_or_default();
        Fault::new(at, format!("the expression does not parse: {message}"), "")
    });
    faults.take(1).collect() // what follows the first is mostly its consequence
}

fn one(nodes: Option<Vec<Node>>) -> Option<Box<Node>> {
    nodes?.pop().map(Box::new)
}

fn two(nodes: Option<Vec<Node>>) -> Option<Box<[Node; 2]>> {
    nodes?.try_into().ok().map(Box::new)
}

fn arithmetic(function: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match function {
        "_+_" => |left, right| left + right,
        "_-_" => |left, right| left - right,
        "_*_" => |left, right| left * right,
        "_/_" => |left, right| left / right,
        _ => return None,
    })
}

fn order(function: &str) -> fn(std::cmp::Ordering) -> bool {
    match function {
        "_<_" => std::cmp::Ordering::is_lt,
        "_<=_" => std::cmp::Ordering::is_le,
        "_>_" => std::cmp::Ordering::is_gt,
        _ => std::cmp::Ordering::is_ge,
    }
}

/// What functions of CEL's extensions begin with.
fn is_namespace(part: &IdedExpr) -> bool {
    const NAMESPACES: &[&str] = &["base64", "cel", "lists", "math", "optional", "sets", "strings"];
    matches!(&part.expr, Expr::Ident(name) if NAMESPACES.contains(&name.as_str()))
}

/// The name of a type, like `int`.
fn is_type(name: &str) -> bool {
    Program::compile(name).is_ok_and(|name| name.execute(&Context::default()).is_ok())
}
