//! Connectors: what the outside says, as events on raw topics.
//!
//! ```text
//!   files ─▶ records of bytes ─▶ mapping (config) ─▶ Page { events, rejected rows, cursor changes }
//!   simulator: a seeded market, with the truth about it ─▶ │
//!                                                        │ publisher: one transaction per page
//!                                                        ▼
//!                                  raw.<family>s.v1 · dlq.<connector> · quality.v1 · cursor
//! ```
//!
//! A crash neither loses nor repeats a page. Reading is apart from parsing, and parsing is pure. Sees no sinks.

mod connector;
pub mod file;
pub mod limits;
mod publisher;
pub mod simulator;

pub use connector::{ConfigProblem, Connector, ConnectorError, Cursor, Mapped, Page, Poll, RejectedRow, Spot};
pub use publisher::{Intake, PublishError, Publisher};
