//! The runtime: brokers, tasks, transactions, state.
//!
//! ```text
//!   Broker (Embedded | Kafka | Memory)         worker thread (one consumer, one transactional producer)
//!   ┌───────────────────────┐  poll  ┌──────────────────────────────────────────────────────────────┐
//!   │ partitions, offsets,  │ ─────▶ │ task = (stage, partition): merge inputs ▸ decode ▸ check ▸   │
//!   │ cursors, state        │ ◀───── │ steps ▸ outbox        … every commit interval: one commit of │
//!   └───────────────────────┘ commit │ offsets + outputs + dead letters + state                     │
//!                                    └──────────────────────────────────────────────────────────────┘
//! ```
//!
//! Sees no HTTP, no SQL, no Parquet.

pub mod broker;
pub mod clock;
pub mod limits;
pub mod measure;
pub mod secret;
pub mod stage;
pub mod storage;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
