//! Postgres: rows as one array of a table's rows, or as COPY takes them, in its binary format.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr as _;
use std::time::Duration;

use skuflow_schemas::BusinessDate;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor, PgConnection, Postgres, Row as _, query};
use uuid::Uuid;

use self::wire::{Day, Instant, RowType, Rows};
use super::{Cell, EventId, Kind, OpenError, Row, Statement, Text};
use crate::limits::{SERVING_CONNECT_TIMEOUT, SERVING_GRACE, SERVING_UPKEEP_TIMEOUT};
use crate::serving::place::Server;
use crate::serving::rights::{self, FUNCTIONS};
use crate::serving::schema;
use crate::serving::tables::{Table, kind};
use crate::sql::within;

/// What is older lacks something that the tables need.
const OLDEST: i32 = 140_000;

/// An open connection.
pub(in crate::serving) struct Connection {
    inner: PgConnection,
    /// How long an answer is waited for: a bit longer than the server lets a statement run.
    patience: Duration,
    /// Months whose partitions are known to be there, by history.
    months: BTreeSet<(&'static str, BusinessDate)>,
    /// What a row of each table is here.
    row_types: BTreeMap<String, RowType>,
}

impl Connection {
    pub(super) async fn open(server: &Server, sink: &str) -> Result<Self, OpenError> {
        let mut inner = within(SERVING_CONNECT_TIMEOUT, connect(server, sink)).await?;
        let state = within(SERVING_CONNECT_TIMEOUT, State::of(&mut inner, &server.schema)).await?;
        if !state.is_current {
            // However long it takes to bring many rows up to date.
            sqlx::raw_sql("SET statement_timeout = 0").execute(&mut inner).await?;
            if !state.has_schema {
                let make = format!("CREATE SCHEMA IF NOT EXISTS \"{}\"", server.schema);
                let made = sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut inner).await;
                // Two may make it at a time, and one of them is told that it is there.
                if let Err(error) = made
                    && !State::of(&mut inner, &server.schema).await?.has_schema
                {
                    return Err(error.into());
                }
            }
            schema::POSTGRES.run(&mut inner).await?;
            sqlx::raw_sql(AssertSqlSafe(opening(server))).execute(&mut inner).await?;
        }
        check(&mut inner, &server.schema).await?;
        let row_types = row_types(&mut inner, &server.schema).await?;
        Ok(Self { inner, patience: server.statement_timeout + SERVING_GRACE, months: BTreeSet::new(), row_types })
    }

    /// For statements that take as long as they need.
    pub(super) async fn bare(server: &Server) -> sqlx::Result<Self> {
        let server =
            Server { statement_timeout: server.statement_timeout.max(SERVING_UPKEEP_TIMEOUT), ..server.clone() };
        let inner = connect(&server, "rebuild").await?;
        let patience = server.statement_timeout + SERVING_GRACE;
        Ok(Self { inner, patience, months: BTreeSet::new(), row_types: BTreeMap::new() })
    }

    pub(super) async fn say(&mut self, word: &'static str) -> sqlx::Result<()> {
        within(self.patience, sqlx::raw_sql(word).execute(&mut self.inner)).await.map(|_| ())
    }

    pub(super) async fn run(&mut self, statement: &Statement, rows: &[impl AsRef<[Cell]>]) -> sqlx::Result<u64> {
        let query = bound(&self.row_types, statement, rows)?;
        Ok(within(self.patience, query.execute(&mut self.inner)).await?.rows_affected())
    }

    /// Adds rows by COPY, which asks for none that are there.
    pub(super) async fn copy(&mut self, table: &Table, rows: &[impl AsRef<[Cell]>]) -> sqlx::Result<u64> {
        let statement = format!("COPY {} FROM STDIN (FORMAT binary)", table.name);
        let bytes = wire::copied(rows).map_err(sqlx::Error::Encode)?;
        within(self.patience, async {
            let mut copy = self.inner.copy_in_raw(&statement).await?;
            copy.send(bytes).await?;
            copy.finish().await
        })
        .await
    }

    pub(super) async fn fetch(
        &mut self,
        statement: &Statement,
        rows: &[impl AsRef<[Cell]>],
        kinds: &[Kind],
    ) -> sqlx::Result<Vec<Row>> {
        let query = bound(&self.row_types, statement, rows)?;
        cells(&within(self.patience, query.fetch_all(&mut self.inner)).await?, kinds)
    }

    pub(super) async fn ask(&mut self, text: &str, given: &[Cell], kinds: &[Kind]) -> sqlx::Result<Vec<Row>> {
        within(self.patience, ask(&mut self.inner, text, given, kinds)).await
    }

    /// Makes the partitions of months that rows come to, in a transaction of its own: who reads waits for no batch.
    pub(super) async fn make_months(&mut self, history: &'static str, months: &[BusinessDate]) -> sqlx::Result<()> {
        let new = months.iter().filter(|month| !self.months.contains(&(history, **month)));
        let firsts: Vec<Day> = new.map(|month| Day(*month)).collect();
        if firsts.is_empty() {
            return Ok(());
        }
        let make = query("SELECT make_months($1, $2)").bind(history).bind(firsts);
        match within(self.patience, make.execute(&mut self.inner)).await {
            Ok(_) => self.months.extend(months.iter().map(|month| (history, *month))),
            // Somebody reads for long, or writes there: the rows go to the partition for others, and come over the next time.
            Err(sqlx::Error::Database(error)) => tracing::warn!(history, %error, "no new partition yet"),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

async fn connect(server: &Server, sink: &str) -> sqlx::Result<PgConnection> {
    let mut connection = options(server, sink)?.connect().await?;
    sqlx::raw_sql(AssertSqlSafe(opening(server))).execute(&mut connection).await?;
    Ok(connection)
}

/// How a connection for `whom` is made.
pub(super) fn options(server: &Server, whom: &str) -> sqlx::Result<PgConnectOptions> {
    let mut options = PgConnectOptions::from_str(server.url.as_str())?;
    if options.get_application_name().is_none() {
        options = options.application_name(&format!("skuflow {whom}"));
    }
    Ok(options.disable_statement_logging())
}

/// What a new connection is told. A transaction that nobody ends, and a wait for one, are given up.
pub(super) fn opening(server: &Server) -> String {
    let (schema, patience) = (&server.schema, server.statement_timeout.as_millis());
    let of_lock = patience * 9 / 10; // or who waits for a lock would be told that the statement took too long
    format!(
        "SET search_path = \"{schema}\", pg_temp; SET timezone = 'UTC'; SET statement_timeout = {patience};
         SET lock_timeout = {of_lock}; SET idle_in_transaction_session_timeout = {patience};
         SET default_transaction_isolation = 'read committed'"
    )
}

/// The text is made of our own words; what is `given` is bound.
pub(super) async fn ask<'e>(
    connection: impl Executor<'e, Database = Postgres>,
    text: &str,
    given: &[Cell],
    kinds: &[Kind],
) -> sqlx::Result<Vec<Row>> {
    let mut query = query(AssertSqlSafe(text));
    for cell in given {
        query = match cell {
            Cell::Null => query.bind(None::<&str>),
            Cell::Text(text) => query.bind(text.as_str()),
            Cell::Json(text) => query.bind(text.as_str()),
            Cell::Int(number) => query.bind(number),
            Cell::Real(number) => query.bind(number),
            Cell::Instant(at) => query.bind(Instant(*at)),
            Cell::Day(day) => query.bind(Day(*day)),
            Cell::Id(id) => query.bind(Uuid::from_bytes(id.0)),
        };
    }
    cells(&query.fetch_all(connection).await?, kinds)
}

fn cells(rows: &[PgRow], kinds: &[Kind]) -> sqlx::Result<Vec<Row>> {
    rows.iter().map(|row| kinds.iter().enumerate().map(|(at, kind)| cell(row, at, *kind)).collect()).collect()
}

/// How the tables are.
struct State {
    has_schema: bool,
    /// Whether this user may make what is missing.
    may_make: bool,
    /// Migrations that were made.
    made: usize,
    /// Whether these are all, and ours: who may not make any is not asked to then.
    is_current: bool,
}

impl State {
    async fn of(connection: &mut PgConnection, schema: &str) -> Result<Self, OpenError> {
        let facts = query(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                    to_regnamespace($1) IS NOT NULL, to_regclass($1 || '._sqlx_migrations') IS NOT NULL,
                    CASE WHEN to_regnamespace($1) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                         ELSE has_schema_privilege($1, 'CREATE') END, current_setting('server_encoding')",
        );
        let facts = facts.bind(schema).fetch_one(&mut *connection).await?;
        if facts.try_get::<i32, _>(0)? < OLDEST {
            let version: &str = facts.try_get(1)?;
            return Err(OpenError::Unfit(format!("this is Postgres {version}; use 14 or later")));
        }
        let encoding: &str = facts.try_get(5)?;
        if encoding != "UTF8" {
            return Err(OpenError::Unfit(format!("the database is encoded in {encoding}; make one in UTF8")));
        }
        let mut done: Vec<(i64, Vec<u8>)> = Vec::new();
        if facts.try_get(3)? {
            let rows = query("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version");
            for row in rows.fetch_all(connection).await? {
                done.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        let wanted: Vec<_> = schema::POSTGRES.iter().map(|one| (one.version, one.checksum.to_vec())).collect();
        for (at, (version, checksum)) in done.iter().enumerate() {
            match wanted.get(at) {
                Some(known) if known.0 == *version && known.1 == *checksum => {}
                Some(known) if known.0 == *version => return Err(MigrateError::VersionMismatch(*version).into()),
                _ => return Err(MigrateError::VersionMissing(*version).into()),
            }
        }
        Ok(Self {
            has_schema: facts.try_get(2)?,
            may_make: facts.try_get(4)?,
            made: done.len(),
            is_current: wanted.len() == done.len(),
        })
    }
}

/// Whether the tables can be opened, or made; nothing is changed.
pub(super) async fn examine(server: &Server) -> Result<String, OpenError> {
    let mut connection = connect(server, "check").await?;
    let state = State::of(&mut connection, &server.schema).await?;
    let wanted = schema::POSTGRES.iter().count();
    if !state.is_current && !state.may_make {
        return Err(OpenError::Unfit(format!(
            "version {} of the tables is to become {wanted}, and this user may not make tables; run the pipeline once as \
             their owner",
            state.made
        )));
    }
    if state.is_current {
        check(&mut connection, &server.schema).await?;
    }
    Ok(match state.made {
        0 => "answers; its tables can be made".into(),
        _ if state.is_current => format!("answers; its tables are of version {wanted}"),
        made => format!("answers; its tables are of version {made}, and will be of {wanted}"),
    })
}

/// How many migrations were made.
pub(super) async fn version(server: &Server) -> Result<usize, OpenError> {
    let mut connection = connect(server, "check").await?;
    Ok(State::of(&mut connection, &server.schema).await?.made)
}

/// Whether tables and functions are as they were made.
async fn check(connection: &mut PgConnection, schema: &str) -> Result<(), OpenError> {
    schema::check_columns(&columns(connection, schema).await?).map_err(OpenError::Unfit)?;
    let strays = query(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = to_regnamespace($1)
         AND NOT format('search_path=%I, pg_temp', $1) = ANY (proconfig)",
    );
    let strays = strays.bind(schema).fetch_all(connection).await?;
    let strays = strays.iter().map(|row| row.try_get(0)).collect::<sqlx::Result<Vec<String>>>()?;
    let is_stray = |function: &&str| strays.iter().any(|name| function.split('(').next() == Some(name));
    let ours = FUNCTIONS.into_iter().filter(is_stray);
    let remedy: Vec<String> = ours.map(|function| rights::settle(function, schema)).collect();
    if remedy.is_empty() {
        return Ok(());
    }
    let what = "the schema was renamed, and its functions look for its old name; as its owner:";
    Err(OpenError::Unfit(format!("{what} {}", remedy.join("; "))))
}

/// Columns of the tables in the schema, by table, in their order.
async fn columns(connection: &mut PgConnection, schema: &str) -> sqlx::Result<Vec<(String, String)>> {
    let columns = query(
        "SELECT c.relname::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
         WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
         ORDER BY c.relname, a.attnum",
    );
    let columns = columns.bind(schema).fetch_all(connection).await?;
    columns.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// What a row of each table is, by table.
async fn row_types(connection: &mut PgConnection, schema: &str) -> sqlx::Result<BTreeMap<String, RowType>> {
    let types = query(
        "SELECT c.relname::text, c.reltype, t.typarray FROM pg_class c JOIN pg_type t ON t.oid = c.reltype
         WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')",
    );
    let types = types.bind(schema).fetch_all(connection).await?;
    types.iter().map(|row| Ok((row.try_get(0)?, RowType { row: row.try_get(1)?, array: row.try_get(2)? }))).collect()
}

fn bound<'q>(
    row_types: &BTreeMap<String, RowType>,
    statement: &'q Statement,
    rows: &'q [impl AsRef<[Cell]>],
) -> sqlx::Result<sqlx::query::Query<'q, Postgres, PgArguments>> {
    // Made of names in `tables` alone; what records say is bound.
    let query = query(AssertSqlSafe(statement.text.clone()));
    Ok(match statement.of {
        None => query.bind(super::as_json(rows)),
        Some(table) => {
            let row_type = row_types.get(table.name).ok_or(sqlx::Error::ColumnNotFound(table.name.into()))?;
            query.bind(Rows::new(*row_type, table.columns().map(kind), rows))
        }
    })
}

fn cell(row: &PgRow, at: usize, kind: Kind) -> sqlx::Result<Cell> {
    Ok(match kind {
        Kind::Text => row.try_get::<Option<&str>, _>(at)?.map(Text::from).into(),
        Kind::Json => row
            .try_get::<Option<sqlx::types::Json<serde_json::Value>>, _>(at)?
            .map_or(Cell::Null, |json| Cell::json(&json.0)),
        Kind::Int => row.try_get::<Option<i64>, _>(at)?.into(),
        Kind::Real => row.try_get::<Option<f64>, _>(at)?.into(),
        Kind::Instant => row.try_get::<Option<Instant>, _>(at)?.map(|at| at.0).into(),
        Kind::Day => row.try_get::<Option<Day>, _>(at)?.map(|day| day.0).into(),
        Kind::Id => row.try_get::<Option<Uuid>, _>(at)?.map(|id| EventId(id.into_bytes())).into(),
    })
}
