//! Sinks: where analysts and applications read.
//!
//! ```text
//!   topics ─▶ consume (fetch, decode) ─▶ batcher (cut) ─▶ Batch ─▶ Sink::land: rows and positions in one transaction of the store
//! ```
//!
//! The store's own positions say where to go on, so landing is effectively once. Sees no connectors.

pub mod batcher;
pub mod consume;
pub mod lake;
mod letters;
pub mod limits;
pub mod serving;
mod sink;
mod sql;

pub use letters::Refusal;
pub use sink::{Batch, Identity, Incoming, Landed, Part, Range, RawRecord, Sink, SinkError};
