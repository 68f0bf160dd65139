//! How far each file is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::walk::Look;

/// The cursor of a file connector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// By path.
    pub(super) files: BTreeMap<String, Place>,
}

/// How far one file is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Behind the last record that ended in a line feed, in what the file says when decompressed.
    #[serde(rename = "b")]
    pub(super) byte: u64,
    #[serde(rename = "l")]
    pub(super) line: u64,
    /// Number of the next record.
    #[serde(rename = "n")]
    pub(super) records: u64,
    /// The file was read to its end when it looked like this; `None` while it is being read.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none", default)]
    pub(super) done: Option<Done>,
    /// How the file looked when reading it began, to tell whether it is still the same one.
    #[serde(rename = "o", skip_serializing_if = "Option::is_none", default)]
    pub(super) opened: Option<Done>,
    /// Names in the header of a CSV file.
    #[serde(rename = "c", skip_serializing_if = "Vec::is_empty", default)]
    pub(super) columns: Vec<String>,
    /// The file cannot be read with the mapping of this hash.
    #[serde(rename = "x", skip_serializing_if = "Option::is_none", default)]
    pub(super) refused_by: Option<u64>,
}

/// How a file looked when it was read to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    #[serde(rename = "s")]
    pub(super) size: u64,
    #[serde(rename = "m")]
    pub(super) modified_ns: u64,
    #[serde(rename = "k")]
    pub(super) head_bytes: u64,
    #[serde(rename = "h")]
    pub(super) head: u64,
}

impl From<Look> for Done {
    fn from(look: Look) -> Self {
        Self { size: look.size, modified_ns: look.modified_ns, head_bytes: look.head_bytes, head: look.head }
    }
}

impl Cursor {
    pub(super) fn decode(bytes: Option<&[u8]>) -> Result<Self, serde_json::Error> {
        bytes.map_or_else(|| Ok(Self::default()), serde_json::from_slice)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}
