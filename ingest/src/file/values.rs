//! The columns of one record, by name, as text.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::Value;

use super::config::Encoding;
use super::expression::cel_value;
use super::mapping::MappingError;

/// A record's columns.
pub(super) enum Row<'a> {
    /// Names, in order, and fields.
    Csv { names: &'a [String], fields: Vec<Cow<'a, str>> },
    /// An object.
    Json(&'a Value),
}

impl Row<'_> {
    /// The text of a column; `None` where it is null or absent.
    pub(super) fn text(&self, column: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Csv { names, fields } => {
                let at = names.iter().position(|name| name == column)?;
                fields.get(at).map(|field| Cow::Borrowed(field.as_ref()))
            }
            Self::Json(object) => json_text(json_at(object, column)?),
        }
    }

    /// A column, for expressions; `None` where there is no such column.
    pub(super) fn variable(&self, name: &str) -> Option<Result<cel::Value, cel::SerializationError>> {
        match self {
            Self::Csv { .. } => self.text(name).map(|text| Ok(text.as_ref().into())),
            Self::Json(object) => object.get(name).map(cel_value),
        }
    }

    /// All columns, for expressions.
    pub(super) fn whole(&self) -> Result<cel::Value, cel::SerializationError> {
        match self {
            Self::Csv { names, fields } => {
                let texts = fields.iter().map(|field| cel::Value::from(field.as_ref()));
                Ok(names.iter().cloned().zip(texts).collect::<HashMap<_, _>>().into())
            }
            Self::Json(object) => cel_value(object),
        }
    }
}

/// The value at a dotted path.
pub(super) fn json_at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    // A name that has a dot in it is found too.
    value.get(path).or_else(|| path.split('.').try_fold(value, |value, part| value.get(part)))
}

fn json_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        other => Some(Cow::Owned(other.to_string())),
    }
}

/// The fields of one CSV record, decoded.
pub(super) fn csv_fields(
    bytes: &[u8],
    delimiter: u8,
    quote: u8,
    encoding: Encoding,
) -> Result<Vec<Cow<'_, str>>, MappingError> {
    let mut fields = Vec::new();
    let mut rest = Some(bytes);
    while let Some(bytes) = rest {
        let (field, behind) = csv_field(bytes, delimiter, quote)?;
        fields.push(match field {
            Cow::Borrowed(field) => decode(field, encoding)?,
            Cow::Owned(field) => Cow::Owned(decode(&field, encoding)?.into_owned()),
        });
        rest = behind;
    }
    Ok(fields)
}

/// A field, and what is behind its delimiter.
type Field<'a> = (Cow<'a, [u8]>, Option<&'a [u8]>);

/// The first field of what is left of a record. Text between the closing quote and the delimiter belongs to it.
fn csv_field(bytes: &[u8], delimiter: u8, quote: u8) -> Result<Field<'_>, MappingError> {
    let mut rest = bytes;
    let mut text = Cow::Borrowed(&bytes[..0]);
    if let Some(mut inside) = bytes.strip_prefix(&[quote]) {
        loop {
            let Some(close) = inside.iter().position(|byte| *byte == quote) else {
                return Err(MappingError::new("row-malformed", "a quoted field is not closed"));
            };
            let piece = &inside[..close];
            rest = &inside[close + 1..];
            let Some(behind) = rest.strip_prefix(&[quote]) else {
                append(&mut text, piece);
                break;
            };
            append(&mut text, &inside[..=close]);
            inside = behind;
        }
    }
    let end = rest.iter().position(|byte| *byte == delimiter || matches!(byte, b'\r' | b'\n')).unwrap_or(rest.len());
    append(&mut text, &rest[..end]);
    match rest.get(end) {
        Some(b'\r' | b'\n') => Err(MappingError::new("row-malformed", "the record does not end where its line does")),
        Some(_) => Ok((text, Some(&rest[end + 1..]))),
        None => Ok((text, None)),
    }
}

/// Appends a piece, without a copy where it is the only one.
fn append<'a>(text: &mut Cow<'a, [u8]>, piece: &'a [u8]) {
    if text.is_empty() {
        *text = Cow::Borrowed(piece);
    } else if !piece.is_empty() {
        text.to_mut().extend_from_slice(piece);
    }
}

/// Text in the configured encoding.
pub(super) fn decode(bytes: &[u8], encoding: Encoding) -> Result<Cow<'_, str>, MappingError> {
    match encoding {
        Encoding::Utf8 => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|error| {
            let message = format!(
                "byte {} is not UTF-8; if the file is older, try encoding = \"windows-1252\" or \"latin-1\"",
                error.valid_up_to()
            );
            MappingError::new("text-not-utf8", message)
        }),
        Encoding::Latin1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Encoding::Windows1252 => Ok(encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_record() {
        let fields = |text: &'static str| csv_fields(text.as_bytes(), b',', b'"', Encoding::Utf8);
        for (text, expected) in [
            ("a,b", &["a", "b"][..]),
            ("", &[""]),
            (",", &["", ""]),
            ("\"\",\"\"", &["", ""]),
            ("\"a,b\",c", &["a,b", "c"]),
            ("\"a \"\"x\"\"\",c", &["a \"x\"", "c"]),
            ("\"\"\"\"\"\",c", &["\"\"", "c"]),
            ("\"a\nb\",c", &["a\nb", "c"]),
            ("\"a\"b\"c,d", &["ab\"c", "d"]),
            ("12\" x, \"y\"", &["12\" x", " \"y\""]),
        ] {
            assert_eq!(fields(text).expect("a record"), expected, "{text}");
        }
        for text in ["a,\"b", "a\rb", "\"a\"\nb", "\"a\"\""] {
            assert_eq!(fields(text).expect_err(text).code, "row-malformed");
        }
    }
}
