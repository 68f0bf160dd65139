//! The steps: pure, deterministic functions from records and state to records and state.
//!
//! ```text
//!  raw event ─▶ validate ─▶ dedup ─▶ route ─▶ clean event + one copy per product
//!                  │ check refuses: dead letter, before any state is written
//!  raw catalog ─▶ validate ─▶ catalog ─▶ catalog entry + listing rows
//!  copies, catalog entry ─▶ features ─▶ figures of the product ─▶ alerts ─▶ alert
//! ```
//!
//! No clock, no randomness, no IO, no async: the same records in the same order give the same bytes out.

pub mod alerts;
pub mod catalog;
pub mod codec;
pub mod dedup;
#[cfg(any(test, feature = "testing"))]
pub mod driver;
pub mod features;
mod limits;
mod processor;
pub mod route;
pub mod validate;

pub use limits::*;
pub use processor::{
    Context, Counted, Input, Outbox, Output, Processor, Reject, Rows, Seen, SeenIds, State, Stated, Timer,
    place_in_time,
};
