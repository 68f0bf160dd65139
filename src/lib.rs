//! skuflow: exactly-once event streaming for product and commerce data, in one binary.
//!
//! ```text
//!   cli ─▶ config (checked as a whole) ─▶ run: broker, connectors, stages, sinks as threads ─▶ summary
//!     ├──▶ demo: a simulated market, run and judged
//!     └──▶ inspect: offsets, freshness, tap, dead letters; beside a run over its control socket
//! ```

pub mod cli;
pub mod config;
pub mod demo;
pub mod inspect;
mod logs;
mod names;
mod printable;
mod records;
pub mod run;
