//! Connections that only read.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

use super::{Kind, Row, postgres, sqlite};
use crate::limits::{BUSY_TIMEOUT, SERVING_CONNECT_TIMEOUT, SERVING_GRACE};
use crate::serving::cells::Cell;
use crate::serving::place::Place;
use crate::sql::within;

/// Some connections to one place, opened as they are needed. Who finds none free waits, for a while.
#[derive(Clone)]
pub(in crate::serving) enum Pool {
    Sqlite(SqlitePool),
    /// With how long an answer is waited for.
    Postgres(PgPool, Duration),
}

impl Pool {
    pub(in crate::serving) async fn open(place: &Place, connections: u32) -> sqlx::Result<Self> {
        match place {
            Place::Sqlite(path) => {
                let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
                let pool = SqlitePoolOptions::new().max_connections(connections);
                Ok(Self::Sqlite(pool.acquire_timeout(SERVING_CONNECT_TIMEOUT).connect_with(options).await?))
            }
            Place::Postgres(server) => {
                let opening = postgres::opening(server) + "; SET default_transaction_read_only = on";
                let pool = PgPoolOptions::new().max_connections(connections).acquire_timeout(SERVING_CONNECT_TIMEOUT);
                let pool = pool.after_connect(move |connection, _| {
                    let opening = sqlx::AssertSqlSafe(opening.clone());
                    Box::pin(async move { connection.execute(sqlx::raw_sql(opening)).await.map(|_| ()) })
                });
                let patience = server.statement_timeout + SERVING_GRACE;
                Ok(Self::Postgres(pool.connect_with(postgres::options(server, "reads")?).await?, patience))
            }
        }
    }

    /// What a query finds, as rows of `kinds`; `given` stand for `$1` and so on.
    pub(in crate::serving) async fn ask(&self, query: &str, given: &[Cell], kinds: &[Kind]) -> sqlx::Result<Vec<Row>> {
        match self {
            Self::Sqlite(pool) => sqlite::ask(pool, query, given, kinds).await,
            Self::Postgres(pool, patience) => within(*patience, postgres::ask(pool, query, given, kinds)).await,
        }
    }
}
