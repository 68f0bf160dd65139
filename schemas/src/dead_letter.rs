//! Dead letters: the record as it came, and why it was refused in its headers.
//!
//! Topic `dlq.<topic>`; key, value and headers are verbatim (but a header's null value is empty, and so is a name that is no
//! UTF-8), the six broker-style headers `__dlq.errors.*` (KIP-1191) and a few of ours are added, so any client can read them
//! without a schema.

use crate::Text;

/// What all headers that a dead letter adds begin with.
pub const HEADER_PREFIX: &str = "__dlq.";
/// How often the record was tried; travels with a replayed record and guards against replay loops.
pub const ATTEMPT_HEADER: &str = "__dlq.errors.delivery.count";

/// At which station a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorStage {
    /// A connector could not make an event of it.
    Mapping,
    /// The bytes are no event.
    Decoding,
    /// A rule of `validate` refused it.
    Processing,
    /// The store of a sink does not take it.
    Landing,
}

impl ErrorStage {
    /// The name in the header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mapping => "mapping",
            Self::Decoding => "decoding",
            Self::Processing => "processing",
            Self::Landing => "landing",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Mapping, Self::Decoding, Self::Processing, Self::Landing].into_iter().find(|stage| stage.name() == name)
    }
}

/// Where in a file a row stood that a connector could not map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file, as the connector found it.
    pub file: Text,
    /// The line its record starts at, from 1.
    pub line: u64,
    /// Its first byte in the (decompressed) file.
    pub byte_start: u64,
    /// The byte behind its last one.
    pub byte_end: u64,
    /// SHA-256 of the whole record, hex, also where the value keeps only its beginning.
    pub sha256: Text,
    /// The names of the columns as a JSON array, where the file names them in a header of its own.
    pub columns: Option<String>,
}

/// Why a record was refused, as its headers tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic, or the connector, it came from.
    pub topic: Text,
    /// The partition it came from; 0 for a connector.
    pub partition: u32,
    /// Its offset there; for a connector, the number of the record in its file.
    pub offset: u64,
    /// The stage (consumer group), or the connector, that refused it.
    pub group: Text,
    /// At which station.
    pub stage: ErrorStage,
    /// The rule or decoding code, stable.
    pub code: Text,
    /// The reason in words.
    pub message: String,
    /// How often it was tried, from 1.
    pub attempt: u32,
    /// Where it stood, for rows of files.
    pub origin: Option<Origin>,
}

impl DeadLetter {
    /// The headers to add to the record.
    pub fn headers(&self) -> Vec<(Text, Vec<u8>)> {
        let mut headers = vec![
            header("errors.topic", self.topic.as_str()),
            header("errors.partition", &self.partition.to_string()),
            header("errors.offset", &self.offset.to_string()),
            header("errors.group", &self.group),
            header("errors.delivery.count", &self.attempt.to_string()),
            header("errors.message", &self.message),
            header("errors.stage", self.stage.name()),
            header("errors.code", &self.code),
        ];
        if let Some(origin) = &self.origin {
            headers.extend([
                header("origin.file", &origin.file),
                header("origin.line", &origin.line.to_string()),
                header("origin.bytes", &format!("{}-{}", origin.byte_start, origin.byte_end)),
                header("origin.sha256", &origin.sha256),
            ]);
            headers.extend(origin.columns.iter().map(|columns| header("origin.columns", columns)));
        }
        headers
    }

    /// Reads the headers back; `None` where they are not a dead letter's.
    pub fn from_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Option<Self> {
        let mut found = std::collections::BTreeMap::new();
        for (name, value) in headers {
            if let Some(name) = name.strip_prefix(HEADER_PREFIX) {
                found.insert(name, String::from_utf8_lossy(value).into_owned());
            }
        }
        let text = |name: &str| found.get(name).map(Text::from);
        let origin = text("origin.file").and_then(|file| {
            let (start, end) = found.get("origin.bytes")?.split_once('-')?;
            Some(Origin {
                file,
                line: found.get("origin.line")?.parse().ok()?,
                byte_start: start.parse().ok()?,
                byte_end: end.parse().ok()?,
                sha256: text("origin.sha256")?,
                columns: found.get("origin.columns").cloned(),
            })
        });
        Some(Self {
            topic: text("errors.topic")?,
            partition: found.get("errors.partition")?.parse().ok()?,
            offset: found.get("errors.offset")?.parse().ok()?,
            group: text("errors.group")?,
            stage: ErrorStage::parse(found.get("errors.stage")?)?,
            code: text("errors.code")?,
            message: found.get("errors.message")?.clone(),
            attempt: found.get("errors.delivery.count")?.parse().ok()?,
            origin,
        })
    }
}

fn header(name: &str, value: &str) -> (Text, Vec<u8>) {
    (compact_str::format_compact!("{HEADER_PREFIX}{name}"), value.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_round_trip_beside_foreign_ones() {
        let letter = DeadLetter {
            topic: "raw.offers.v1".into(),
            partition: 3,
            offset: 41_822,
            group: "clean".into(),
            stage: ErrorStage::Processing,
            code: "price-not-positive".into(),
            message: "price is 0.00 EUR".into(),
            attempt: 2,
            origin: Some(Origin {
                file: "a.csv".into(),
                line: 7,
                byte_start: 100,
                byte_end: 190,
                sha256: "ab".into(),
                columns: Some("[\"a\"]".into()),
            }),
        };
        let mut headers = letter.headers();
        headers.push(("traceparent".into(), b"00-1".to_vec()));
        let read = DeadLetter::from_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
        assert_eq!(read, Some(letter));
        assert_eq!(ATTEMPT_HEADER, format!("{HEADER_PREFIX}errors.delivery.count"));
    }
}
