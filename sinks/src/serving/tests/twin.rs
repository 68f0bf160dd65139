//! The tables in both databases at once: whatever lands in `SQLite` lands in Postgres, comes to the same, and leaves the same
//! rows.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use skuflow_runtime::testing::postgres::{self, Postgres};

use super::wait;
use crate::serving::cells::{Cell, Row};
use crate::serving::database::Database;
use crate::serving::tables::{ALL, Table};
use crate::serving::{Place, Server, Serving};
use crate::{Batch, Identity, Landed, Sink, SinkError};

const NAME: &str = "tables";

/// Two sinks of one name.
pub struct Twin {
    sqlite: Serving,
    postgres: Option<Serving>,
    places: (Place, Option<Place>),
    /// Look at what has landed, once they are open.
    eyes: Option<[Database; 2]>,
}

/// The database of these tests, where there is a Postgres.
pub fn server() -> Option<(&'static Postgres, &'static str)> {
    static DATABASE: OnceLock<Option<String>> = OnceLock::new();
    let postgres = postgres::postgres()?;
    let url = DATABASE.get_or_init(|| Some(postgres.database("serving")));
    Some((postgres, url.as_deref()?))
}

/// The schema that stands for a path.
pub fn schema(path: &Path) -> String {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    format!("t{:x}", hasher.finish())
}

/// The place in Postgres that stands for a path.
pub fn in_postgres(path: &Path) -> Option<Place> {
    let url = server()?.1.parse().expect("a url");
    Some(Place::Postgres(Server { url, schema: schema(path), statement_timeout: Duration::from_secs(20) }))
}

impl Twin {
    pub fn new(path: &Path) -> Self {
        let places = (Place::Sqlite(path.into()), in_postgres(path));
        let postgres = places.1.clone().map(|place| Serving::new(NAME, place));
        Self { sqlite: Serving::new(NAME, places.0.clone()), postgres, places, eyes: None }
    }

    pub fn positions(&mut self, identity: &Identity) -> Result<(), SinkError> {
        let found = wait(self.sqlite.positions(identity));
        if let Some(postgres) = &mut self.postgres {
            alike(&found, &wait(postgres.positions(identity)));
        }
        found.map(|_| ())
    }

    pub fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        let landed = wait(self.sqlite.land(batch));
        if let Some(postgres) = &mut self.postgres {
            alike(&landed, &wait(postgres.land(batch)));
            self.compare(landed.as_ref().map_or(&BTreeMap::new(), |landed| &landed.rows));
        }
        landed
    }

    /// Both places.
    pub fn places(&self) -> Vec<Place> {
        [Some(self.places.0.clone()), self.places.1.clone()].into_iter().flatten().collect()
    }

    /// That all tables have the same rows in both.
    pub fn is_alike(&mut self) {
        self.compare(&ALL.iter().map(|table| (table.name, 1)).collect());
    }

    /// That the tables that were written have the same rows in both.
    fn compare(&mut self, written: &BTreeMap<&'static str, u64>) {
        let Some(postgres) = &self.places.1 else { return };
        let open = |place| wait(Database::open(place, NAME)).expect("there");
        let [sqlite, postgres] = self.eyes.get_or_insert_with(|| [open(&self.places.0), open(postgres)]);
        for table in ALL.iter().filter(|table| written.contains_key(table.name) || table.name == "sink_offsets") {
            assert_eq!(rows(postgres, table), rows(sqlite, table), "{} in Postgres and in SQLite", table.name);
        }
    }
}

/// That two outcomes are equal or, where they are errors, of one kind.
fn alike<T: std::fmt::Debug + PartialEq>(sqlite: &Result<T, SinkError>, postgres: &Result<T, SinkError>) {
    match (sqlite, postgres) {
        (Ok(sqlite), Ok(postgres)) => assert_eq!(postgres, sqlite),
        (Err(sqlite), Err(postgres)) => {
            assert_eq!(std::mem::discriminant(postgres), std::mem::discriminant(sqlite), "{postgres}, {sqlite}");
        }
        _ => panic!("Postgres: {postgres:?}, SQLite: {sqlite:?}"),
    }
}

/// The rows of a table, in the order of their text.
fn rows(database: &mut Database, table: &Table) -> Vec<String> {
    let mut rows: Vec<Row> = wait(database.all(table)).expect("rows");
    for text in rows.iter_mut().flatten().filter_map(|cell| if let Cell::Json(text) = cell { Some(text) } else { None })
    {
        let mut value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        value.sort_all_objects(); // their names have no order
        *text = value.to_string();
    }
    let mut rows: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    rows.sort_unstable();
    rows
}
