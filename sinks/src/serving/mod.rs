//! Sink `serving`: tables for applications and dashboards, in `SQLite` by default, or in Postgres.
//!
//! ```text
//!   migrations/*.sql ─▶ schema ─┐
//!   tables ─▶ statements ───────┼▶ database: SQLite or Postgres
//!   Batch ─▶ rows ─▶ writer ────┘
//! ```
//!
//! `tables` describes the tables; `rows` decides purely which rows a batch becomes; `writer` writes them, one statement per
//! table and batch, together with the positions.

mod cells;
mod config;
mod database;
mod place;
mod remedy;
mod rights;
mod rows;
mod schema;
mod statements;
mod tables;
mod writer;

pub use config::Config;
pub use database::examine;
pub use place::{Place, Server};
pub use rights::grants;
pub use writer::Serving;

#[cfg(test)]
mod tests;
