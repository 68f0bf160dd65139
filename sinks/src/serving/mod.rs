//! Sink `serving`: tables for applications and dashboards, `SQLite` by default.
//!
//! `tables` describes the tables; `rows` decides purely which rows a batch becomes; `writer` writes them, one statement per
//! table and batch, together with the positions.

mod config;
mod remedy;
mod rows;
mod tables;
mod writer;

pub use config::Config;
pub use writer::Serving;

#[cfg(test)]
mod tests;
