//! What is done to the tables beside what lands in them: months whose time is over go, and Postgres makes its kept views anew.

use skuflow_schemas::{BusinessDate, Day, Span, Timestamp};

use super::cells::{Cell, Kind, cells};
use super::database::Database;
use super::history::behind;
use super::place::Place;
use super::statements::Dialect;
use super::tables::{HISTORIES, Table};
use crate::SinkError;
use crate::limits::SERVING_UPKEEP_TIMEOUT;

/// Tends the tables at one place.
#[derive(Clone, Debug)]
pub struct Upkeep {
    /// Where they are.
    pub place: Place,
    /// How long a month of a history stays after the last of its rows came in; none = for ever.
    pub retention: Option<Span>,
}

impl Upkeep {
    /// One round; the months that went, as in `price_history 2026-01`. Who lands meanwhile waits while a month goes: Postgres
    /// drops a table for it, `SQLite` deletes rows. What a round could not do, the next one does.
    ///
    /// # Errors
    /// Why it was not done, and what to do.
    pub async fn round(&self, now: Timestamp) -> Result<Vec<String>, SinkError> {
        let mut place = self.place.clone();
        if let Place::Postgres(server) = &mut place {
            server.statement_timeout = server.statement_timeout.max(SERVING_UPKEEP_TIMEOUT);
        }
        let mut database = Database::open(&place, "upkeep").await?;
        self.tend(&mut database, now).await.map_err(|error| self.place.failed(&error))
    }

    async fn tend(&self, database: &mut Database, now: Timestamp) -> sqlx::Result<Vec<String>> {
        let mut gone = Vec::new();
        if let Some(retention) = self.retention {
            let before = Timestamp::from_micros(now.micros().saturating_sub(retention.micros()));
            for history in HISTORIES {
                for month in old_months(database, history, before).await? {
                    let name = format!("{} {}", history.name, &month.to_string()[.."2026-11".len()]);
                    match drop_month(database, history, month, before).await {
                        Ok(()) => gone.push(name),
                        // Somebody reads it for long.
                        Err(sqlx::Error::Database(error)) => tracing::warn!(month = name, %error, "stays for now"),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        if database.dialect() == Dialect::Postgres {
            database.ask("SELECT refresh_views()::text", &[], &[]).await?;
        }
        Ok(gone)
    }
}

/// The months of a history whose last row came in before an instant.
async fn old_months(database: &mut Database, history: &Table, before: Timestamp) -> sqlx::Result<Vec<BusinessDate>> {
    let old = "SELECT month FROM history_months WHERE history = $1 AND latest_ingested_at < $2 \
        AND (dropped_before IS NULL OR latest_ingested_at >= dropped_before) ORDER BY month";
    let found = database.ask(old, &cells![history.name, before], &[Kind::Day]).await?;
    Ok(found.iter().filter_map(|row| if let [Cell::Day(month)] = row[..] { Some(month) } else { None }).collect())
}

async fn drop_month(
    database: &mut Database,
    history: &Table,
    month: BusinessDate,
    before: Timestamp,
) -> sqlx::Result<()> {
    let old = cells![history.name, month, before];
    if database.dialect() == Dialect::Postgres {
        return database.ask("SELECT drop_month($1, $2, $3)", &old, &[]).await.map(|_| ());
    }
    let (by, span) = if history.key.contains(&"day") {
        ("day", cells![month, behind(month)])
    } else {
        ("observed_at", cells![Day(month.0).start(), Day(behind(month).0).start()])
    };
    let delete = format!("DELETE FROM {} WHERE {by} >= $1 AND {by} < $2", history.name);
    // Asked again when nobody else writes: a row may have come in since.
    let drop = "UPDATE history_months SET dropped_before = $3 WHERE history = $1 AND month = $2 AND latest_ingested_at < $3 \
        RETURNING month";
    database.begin().await?;
    if !database.ask(drop, &old, &[Kind::Day]).await?.is_empty() {
        database.ask(&delete, &span, &[]).await?;
    }
    database.commit().await
}
