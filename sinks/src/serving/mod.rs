//! Sink `serving`: tables for applications and dashboards, in `SQLite` by default, or in Postgres.
//!
//! ```text
//!   migrations/*.sql ─▶ schema ─┐
//!   tables ─▶ statements ───────┼▶ database: SQLite or Postgres
//!   Batch ─▶ rows ─▶ writer ────┘
//! ```
//!
//! `tables` describes the tables; `rows` decides purely which rows a batch becomes; `writer` writes them, one statement or COPY
//! per table and batch, together with the positions. Beside it, `read` answers questions, `upkeep` drops months and refreshes
//! views; `again` lands once more what has landed, for `verify`, which compares, and `rebuild`, which swaps.

mod again;
mod cells;
mod config;
mod database;
mod history;
mod place;
mod read;
mod rebuild;
mod remedy;
mod rights;
mod rows;
mod schema;
mod statements;
mod tables;
mod upkeep;
mod verify;
mod writer;

pub use again::Lakes;
pub use config::Config;
pub use database::{examine, versions};
pub use place::{Place, Server};
pub use read::{Cursor, Mover, OpenAlert, PAGE_MAX, Page, Price, Product, Reader, Rival, SourceQuality};
pub use rebuild::{Rebuilt, Sinks, rebuild};
pub use rights::grants;
pub use upkeep::Upkeep;
pub use verify::{Difference, Verified, verify};
pub use writer::Serving;

#[cfg(test)]
mod tests;
