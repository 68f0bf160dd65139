//! What an alert says: a text with names in braces.

use super::expression::Fault;
use super::names::{Inputs, Kind, Name, SPACES, Value};
use crate::MESSAGE_BYTES_MAX;

/// Stands for what is null.
const UNKNOWN: &str = "unknown";

/// A message, parsed.
#[derive(Debug)]
pub(super) struct Message {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Name(Name),
    /// The rule's own value.
    Value,
}

impl Message {
    /// Parses it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn parse(source: &str) -> Result<Self, Vec<Fault>> {
        let (mut pieces, mut faults) = (Vec::new(), Vec::new());
        let (mut text, mut at) = (String::new(), 0);
        while let Some(char) = source[at..].chars().next() {
            let rest = &source[at + char.len_utf8()..];
            match char {
                '{' | '}' if rest.starts_with(char) => {
                    text.push(char);
                    at += 2;
                }
                '{' => {
                    let length = rest.find(['{', '}']).unwrap_or(rest.len());
                    if rest[length..].starts_with('}') {
                        let piece = piece(&rest[..length], at + 1..at + 1 + length);
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                        piece.map_or_else(|fault| faults.push(fault), |piece| pieces.push(piece));
                    } else {
                        faults.push(Fault::new(at..at + 1, "this brace is not closed", "write {{ for a brace"));
                    }
                    at += length + 2;
                }
                '}' => {
                    faults.push(Fault::new(at..at + 1, "this brace closes nothing", "write }} for a brace"));
                    at += 1;
                }
                other => {
                    text.push(other);
                    at += other.len_utf8();
                }
            }
            at = at.min(source.len());
        }
        pieces.push(Piece::Text(text));
        if faults.is_empty() { Ok(Self { pieces }) } else { Err(faults) }
    }

    /// What it names.
    pub(super) fn names(&self) -> impl Iterator<Item = Name> {
        self.pieces.iter().filter_map(|piece| if let Piece::Name(name) = piece { Some(*name) } else { None })
    }

    /// Whether the rule's value stands in it.
    pub(super) fn has_value(&self) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Value))
    }

    /// The message at one moment.
    pub(super) fn text(&self, inputs: &Inputs<'_>, value: Option<f64>) -> String {
        let mut message = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => message.push_str(text),
                Piece::Value => message.push_str(&value.map_or_else(|| UNKNOWN.into(), plain)),
                Piece::Name(name) => match (name.value(inputs), name.kind()) {
                    (Value::Null, _) => message.push_str(UNKNOWN),
                    (Value::Number(price), Kind::Price) => message.push_str(&format!("{price:.2}")),
                    (Value::Number(number), _) => message.push_str(&plain(number)),
                    (Value::Text(text), _) => message.push_str(text),
                    (Value::Truth(truth), _) => message.push_str(if truth { "true" } else { "false" }),
                },
            }
        }
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message
    }
}

/// What stands between braces.
fn piece(written: &str, at: std::ops::Range<usize>) -> Result<Piece, Fault> {
    if written == "value" {
        return Ok(Piece::Value);
    }
    let (space, name) = written.split_once('.').unwrap_or((written, ""));
    if !SPACES.contains(&space) {
        return Err(Fault::unknown(at, space, SPACES.iter().copied().chain(["value"]).collect(), ""));
    }
    let unknown = || Fault::unknown(at.end - name.len()..at.end, name, Name::known(space), &format!(" in `{space}`"));
    Name::find(space, name).map(Piece::Name).ok_or_else(unknown)
}

/// A number with at most two decimals.
fn plain(number: f64) -> String {
    let text = format!("{number:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}
