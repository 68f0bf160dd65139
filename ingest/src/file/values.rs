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
) -> Result<Vec<Cow<'static, str>>, MappingError> {
    let mut reader = csv_core::ReaderBuilder::new().delimiter(delimiter).quote(quote).build();
    let mut output = vec![0; bytes.len() + 1];
    let mut ends = vec![0; bytes.iter().filter(|byte| **byte == delimiter).count() + 1];
    let (_, read, written, fields) = reader.read_record(bytes, &mut output, &mut ends);
    let (_, _, more, last) = reader.read_record(&[], &mut output[written..], &mut ends[fields..]);
    if read != bytes.len() {
        return Err(MappingError::new("row-malformed", "the record does not end where its line does"));
    }
    output.truncate(written + more);
    let mut start = 0;
    let ends = ends[..fields + last].iter();
    ends.map(|end| {
        let field = decode(&output[start..*end], encoding)?;
        start = *end;
        Ok(Cow::Owned(field))
    })
    .collect()
}

/// Text in the configured encoding.
pub(super) fn decode(bytes: &[u8], encoding: Encoding) -> Result<String, MappingError> {
    match encoding {
        Encoding::Utf8 => std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
            let message = format!(
                "byte {} is not UTF-8; if the file is older, try encoding = \"windows-1252\" or \"latin-1\"",
                error.valid_up_to()
            );
            MappingError::new("text-not-utf8", message)
        }),
        Encoding::Latin1 => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        Encoding::Windows1252 => Ok(encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0.into_owned()),
    }
}
