//! Connector `file`: CSV, NDJSON and JSON, plain or compressed, one file, a glob or a watched folder.
//!
//! ```text
//!   walk (which files, what is new) ─▶ records (bytes, line, place) ─▶ mapping (event or reason)
//! ```

mod config;
mod connector;
mod cursor;
mod expression;
mod mapping;
mod records;
mod values;
mod walk;

pub use config::{Compression, Config, Encoding, FieldMapping, Format, Semantics, fields};
pub use connector::FileConnector;
pub use mapping::{Mapping, MappingError};

#[cfg(test)]
mod tests;
