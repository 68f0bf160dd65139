//! Sinks: where analysts and applications read.
//!
//! ```text
//!   topics ─▶ consume (fetch, decode) ─▶ Batch ─▶ Sink::land: rows and positions in one transaction of the store
//! ```
//!
//! The store's own positions say where to go on, so landing is effectively once. Sees no connectors.

pub mod consume;
pub mod limits;
pub mod serving;
mod sink;

pub use sink::{Batch, Identity, Incoming, Landed, Range, Sink, SinkError};
