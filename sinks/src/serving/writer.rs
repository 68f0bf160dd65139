//! Writes rows and positions, in one transaction.

use std::collections::BTreeMap;

use skuflow_runtime::broker::{Offset, TopicPartition};
use sqlx::Error;

use super::cells::{Cell, Kind, Row, cells, row};
use super::database::Database;
use super::place::Place;
use super::remedy::{of_changed, trouble};
use super::rows::{LineKey, Rows, SaleLine, daily_changes, words};
use super::tables::{SALE_LINES, SALES_DAILY, SINK_OFFSETS, Table, kind};
use crate::limits::REFUSED_MAX;
use crate::sql::{Trouble, is_double, is_too_long};
use crate::{Batch, Identity, Incoming, Landed, Part, Refusal, Sink, SinkError};

/// The serving tables in a database.
pub struct Serving {
    name: String,
    place: Place,
    identity: Identity,
    /// None before it is needed, and after an error: what was not committed goes with it.
    database: Option<Database>,
    /// Whether the tables were other than known when something was last tried.
    is_in_doubt: bool,
    /// A history has each row once, unless the same event came twice: after the first that did, every row is asked for.
    doubles: Doubles,
}

impl Serving {
    /// The tables at `place` as seen by the sink called `name`. Nothing is opened before it is needed.
    pub fn new(name: &str, place: Place) -> Self {
        let identity = Identity::default();
        Self { name: name.into(), place, identity, database: None, is_in_doubt: false, doubles: Doubles::Fail }
    }

    async fn open(&mut self) -> Result<Database, SinkError> {
        if let Some(open) = self.database.take() {
            return Ok(open);
        }
        Database::open(&self.place, &self.name).await
    }

    /// What a call came to; the database is kept where it went well.
    fn outcome<T>(&mut self, database: Database, result: Result<T, WriteError>) -> Result<T, SinkError> {
        match result {
            Ok(value) => {
                self.database = Some(database);
                Ok(value)
            }
            Err(WriteError::Fenced(reason)) => Err(SinkError::Fenced(reason)),
            // They may have become others under an open connection: they are looked at when one is opened again.
            Err(WriteError::Sql(error)) if !self.is_in_doubt && self.trouble(&error) == Trouble::Tables => {
                self.is_in_doubt = true;
                Err(SinkError::Retry(format!("{}: the tables are others than before: {error}", self.place)))
            }
            Err(WriteError::Sql(error)) => Err(match self.place.failed(&error) {
                SinkError::Retry(reason) if is_too_long(&error) => SinkError::TooLong(reason),
                failed => failed,
            }),
        }
    }

    fn trouble(&self, error: &Error) -> Trouble {
        trouble(error, self.place.dialect())
    }
}

impl Sink for Serving {
    async fn positions(&mut self, identity: &Identity) -> Result<BTreeMap<TopicPartition, Offset>, SinkError> {
        self.identity = identity.clone();
        let mut database = self.open().await?;
        let stored = stored_positions(&mut database, &self.name).await.map_err(WriteError::Sql);
        let mut positions = BTreeMap::new();
        for Position { of, cluster, topic_id, next } in self.outcome(database, stored)? {
            let known = identity.topic_ids.get(of.topic.as_ref());
            if cluster != identity.cluster_id || known.is_some_and(|known| *known != topic_id) {
                let anew = match self.place {
                    Place::Sqlite(_) => "move the file away",
                    Place::Postgres(_) => "name another `schema`",
                };
                return Err(SinkError::Fatal(format!(
                    "{} was filled from another data directory (topic {}, cluster {cluster}; this one is {}). To build the \
                     tables again from this directory, {anew}; to go on with the old data, bring its data directory back",
                    self.place, of.topic, identity.cluster_id
                )));
            }
            positions.insert(of, next);
        }
        Ok(positions)
    }

    async fn land(&mut self, batch: &Batch) -> Result<Landed, SinkError> {
        let mut database = self.open().await?;
        let mut landed = write(&mut database, self, batch).await;
        if let Err(WriteError::Sql(error)) = &landed
            && self.doubles == Doubles::Fail
            && is_double(error)
        {
            self.doubles = Doubles::Pass;
            landed = match database.rollback().await {
                Ok(()) => write(&mut database, self, batch).await,
                Err(error) => Err(error.into()),
            };
        }
        if let Err(WriteError::Sql(error)) = &landed
            && self.trouble(error) == Trouble::Row
        {
            let refused = refused(&mut database, &self.place, batch).await;
            let refusals = self.outcome(database, refused)?;
            return Err(match refusals.first() {
                Some(_) if refusals.len() <= REFUSED_MAX => SinkError::Refused(refusals),
                Some(Refusal { of, offset, reason, .. }) => SinkError::Fatal(format!(
                    "{}: more than {REFUSED_MAX} records of a batch are refused, one of them offset {offset} of {of}: {reason}; \
                     so many are not at fault: {}",
                    self.place,
                    of_changed(self.place.dialect())
                )),
                None => self.place.failed(error),
            });
        }
        let landed = self.outcome(database, landed)?;
        self.is_in_doubt = false;
        Ok(landed)
    }
}

/// Rows that are there already, of a table that takes all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubles {
    /// They may make a batch fail, where not to look for them is cheaper.
    Fail,
    Pass,
}

/// How far a sink has come in a partition.
struct Position {
    of: TopicPartition,
    cluster: String,
    topic_id: String,
    next: Offset,
}

async fn stored_positions(database: &mut Database, sink: &str) -> Result<Vec<Position>, Error> {
    let kinds: Vec<Kind> = SINK_OFFSETS.columns().map(kind).collect();
    let stored = "SELECT * FROM sink_offsets WHERE sink = $1";
    let stored = database.ask(stored, &cells![sink.to_owned()], &kinds).await?;
    let positions = stored.into_iter().map(|row| {
        let [_, Cell::Text(topic), Cell::Int(partition), Cell::Text(cluster), Cell::Text(id), Cell::Int(next)] =
            row.as_slice()
        else {
            return Err(unfit(&SINK_OFFSETS));
        };
        Ok(Position {
            of: TopicPartition::new(topic.as_str(), *partition as u32),
            cluster: cluster.to_string(),
            topic_id: id.to_string(),
            next: *next as u64,
        })
    });
    positions.collect()
}

/// A table whose rows have other values than they can.
fn unfit(table: &Table) -> Error {
    Error::ColumnDecode { index: table.name.into(), source: "a row holds what it cannot".into() }
}

enum WriteError {
    Fenced(String),
    Sql(Error),
}

impl From<Error> for WriteError {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

async fn write(database: &mut Database, serving: &Serving, batch: &Batch) -> Result<Landed, WriteError> {
    let Serving { name: sink, identity, doubles, .. } = serving;
    let rows = Rows::of(batch.records());
    for (history, months) in rows.months() {
        database.prepare(history, &months).await?;
    }
    database.begin().await?;
    if !move_positions(database, sink, identity, batch).await? {
        database.rollback().await?;
        return landed_before(&stored_positions(database, sink).await?, batch);
    }
    let mut landed = write_rows(database, rows, *doubles).await?;
    landed.records = batch.records().count() as u64;
    database.commit().await?;
    Ok(landed)
}

/// The records that make a batch fail, by trying smaller and smaller parts of it; none where only all of them together do.
async fn refused(database: &mut Database, place: &Place, batch: &Batch) -> Result<Vec<Refusal>, WriteError> {
    let all = batch.parts.iter().flat_map(|(of, part)| part.records.iter().map(move |record| (of, record)));
    let all: Vec<(&TopicPartition, &Incoming)> = all.collect();
    let (mut parts, mut refusals) = (vec![all.as_slice()], Vec::new());
    database.rollback().await?;
    while let Some(part) = parts.pop() {
        database.begin().await?;
        let tried = write_rows(database, Rows::of(part.iter().map(|(_, record)| *record)), Doubles::Pass).await;
        database.rollback().await?;
        match (tried, part) {
            (Ok(_), _) => {}
            (Err(WriteError::Sql(error)), [(of, Incoming::Event(_, offset))])
                if trouble(&error, place.dialect()) == Trouble::Row =>
            {
                let reason = error.into_database_error().map_or_else(String::new, |error| error.message().to_owned());
                refusals.push(Refusal { of: (*of).clone(), offset: *offset, code: "row-refused", reason });
            }
            (Err(WriteError::Sql(error)), [_, _, ..]) if trouble(&error, place.dialect()) == Trouble::Row => {
                let (one, other) = part.split_at(part.len() / 2);
                parts.extend([other, one]);
            }
            (Err(error), _) => return Err(error),
        }
        if refusals.len() > REFUSED_MAX {
            break;
        }
    }
    Ok(refusals)
}

/// Compares and sets the positions, which keeps other writers out until the transaction ends; whether all could be moved.
async fn move_positions(
    database: &mut Database,
    sink: &str,
    identity: &Identity,
    batch: &Batch,
) -> Result<bool, Error> {
    let rows = batch.parts.iter().map(|(of, Part { range, .. })| {
        let id = identity.topic_ids.get(of.topic.as_ref()).cloned();
        row![sink.to_owned(), of.topic.to_string(), of.partition, identity.cluster_id.clone(), id, range.to, range.from]
    });
    let rows: Vec<Row> = rows.collect();
    let dialect = database.dialect();
    let mut moved = database.run(&dialect.move_positions(), &rows).await?;
    if moved < rows.len() as u64 {
        moved += database.run(&dialect.begin_positions(), &rows).await?;
    }
    Ok(moved == rows.len() as u64)
}

/// What a batch comes to whose positions are not where it begins.
fn landed_before(stored: &[Position], batch: &Batch) -> Result<Landed, WriteError> {
    let stored: BTreeMap<&TopicPartition, Offset> = stored.iter().map(|stored| (&stored.of, stored.next)).collect();
    let ahead = batch.parts.iter().find(|(of, part)| stored.get(of).is_none_or(|stored| *stored < part.range.to));
    match ahead {
        None => Ok(Landed::default()),
        Some((of, part)) => {
            let (stored, from) = (stored.get(of), part.range.from);
            Err(WriteError::Fenced(format!("{of} is at {stored:?}, the batch begins at {from:?}")))
        }
    }
}

async fn write_rows(database: &mut Database, rows: Rows, doubles: Doubles) -> Result<Landed, WriteError> {
    let dialect = database.dialect();
    let mut written = BTreeMap::new();
    for (table, rows) in &rows.by_table {
        let count = match doubles {
            Doubles::Fail => database.append(table, rows).await?,
            Doubles::Pass => insert(database, table, rows).await?,
        };
        written.insert(table.name, count);
    }
    for (table, said) in rows.latest {
        let words = words(table, said);
        let retracted: Vec<&Row> = words.iter().filter_map(|word| Some(&word.retracted.as_ref()?.row)).collect();
        let standing: Vec<&Row> = words.iter().filter_map(|word| Some(&word.standing.as_ref()?.row)).collect();
        if !retracted.is_empty() {
            database.run(&table.retract(dialect), &retracted).await?;
        }
        written.insert(table.name, insert(database, table, &standing).await?);
    }
    for (table, words) in &rows.last {
        let ended: Vec<Row> =
            words.iter().filter(|(_, said)| said.is_none()).map(|(key, _)| row![key.clone()]).collect();
        let said: Vec<&Row> = words.values().flatten().collect();
        database.run(&table.end(dialect), &ended).await?;
        written.insert(table.name, insert(database, table, &said).await?);
    }
    for (table, rows) in rows.merged {
        written.insert(table.name, insert(database, table, &rows.into_values().collect::<Vec<_>>()).await?);
    }
    written.extend(write_sales(database, rows.sale_lines).await?);
    written.retain(|_, count| *count > 0);
    Ok(Landed { rows: written, ..Landed::default() })
}

async fn write_sales(
    database: &mut Database,
    mut lines: BTreeMap<LineKey, SaleLine>,
) -> Result<Vec<(&'static str, u64)>, WriteError> {
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = database.dialect();
    let rows: Vec<Row> = lines.iter().map(line_row).collect();
    let kinds: Vec<Kind> = SALE_LINES.columns().map(kind).collect();
    let stored = database.fetch(&SALE_LINES.select(dialect), &rows, &kinds).await?;
    let stored: BTreeMap<LineKey, SaleLine> = stored.iter().map(stored_line).collect::<Result<_, _>>()?;
    lines.retain(|key, line| stored.get(key).is_none_or(|known| known < line));
    let days = daily_changes(&lines, &stored);
    let rows: Vec<Row> = lines.iter().map(line_row).collect();
    let lines = insert(database, &SALE_LINES, &rows).await?;
    let touched = insert(database, &SALES_DAILY, &days).await?;
    database.run(&SALES_DAILY.delete(dialect, "stored.order_lines = 0"), &days).await?;
    Ok(vec![(SALE_LINES.name, lines), (SALES_DAILY.name, touched)])
}

fn line_row(((customer, source, order, line), said): (&LineKey, &SaleLine)) -> Row {
    row![
        customer,
        source,
        order,
        line,
        &said.marketplace,
        &said.native_id,
        said.business_date,
        said.units,
        &said.currency,
        said.revenue_micros,
        &said.status,
        said.observed_at,
        said.event_id,
    ]
}

fn stored_line(row: &Row) -> Result<(LineKey, SaleLine), Error> {
    let [
        Cell::Text(customer),
        Cell::Text(source),
        Cell::Text(order),
        Cell::Text(line),
        Cell::Text(marketplace),
        Cell::Text(native_id),
        Cell::Day(business_date),
        Cell::Int(units),
        Cell::Text(currency),
        Cell::Int(revenue_micros),
        Cell::Text(status),
        Cell::Instant(observed_at),
        Cell::Id(event_id),
    ] = row.as_slice()
    else {
        return Err(unfit(&SALE_LINES));
    };
    let key = (customer.clone(), source.clone(), order.clone(), line.clone());
    let line = SaleLine {
        observed_at: *observed_at,
        event_id: *event_id,
        marketplace: marketplace.clone(),
        native_id: native_id.clone(),
        business_date: *business_date,
        units: *units,
        currency: currency.clone(),
        revenue_micros: *revenue_micros,
        status: status.clone(),
    };
    Ok((key, line))
}

async fn insert(database: &mut Database, table: &'static Table, rows: &[impl AsRef<[Cell]>]) -> Result<u64, Error> {
    database.run(&table.insert(database.dialect()), rows).await
}
