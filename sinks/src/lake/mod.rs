//! Sink `lake`: Iceberg tables for analysts, in files that every engine reads.
//!
//! ```text
//!   Batch ─▶ plan: a file per customer and day ─▶ file: columns, sorted, Parquet ─▶ storage: whole, on disk, named
//!                                                                                        │
//!   readers ◀─ catalog: one pointer per table ◀─ commit: guard, snapshot, swap ◀─────────┘
//! ```
//!
//! `events` goes the way back: from a snapshot's files to the events that were landed.
//!
//! Files first, then one swap of the pointer, which shows them and moves the positions together. `plan`, `columns`,
//! `bounds`, `offsets` and `tables` are pure. What a file or a swap came to is looked up where it is not known, and nothing is
//! deleted that anybody may name: the `ledger` says what is on its way and what is over, `upkeep` removes that.

mod bounds;
mod catalog;
mod columns;
mod commit;
mod config;
mod events;
mod file;
mod ledger;
mod look;
mod offsets;
mod place;
mod plan;
mod schema;
mod snapshot;
mod steps;
mod storage;
mod tables;
mod told;
mod upkeep;
mod writer;

pub use catalog::{Address, CATALOG_FILE, CATALOG_NAME, Config as CatalogConfig, Login, Rest};
pub use config::{Config, Period, S3Config, Upkeep as UpkeepConfig};
pub use events::Events;
pub use look::{ColumnSeen, FileSeen, Look, SnapshotSeen, look};
pub use place::{Access, BucketPlace, Keys, Place, Root};
pub use steps::{Hook, Step};
pub use storage::examine;
pub use tables::{Described, Shown, TABLES, Table};
pub use told::{Teller, Told};
pub use upkeep::{Deed, Difference, Tended, Upkeep};
pub use writer::Lake;
