//! Whether the tables are what their topics make of them: the topics are landed again, in a file of their own, up to where the
//! sink is, and the rows are compared one by one.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use skuflow_runtime::broker::{Broker, Offset, TopicPartition};
use skuflow_schemas::BusinessDate;

use super::again::{Lakes, Sources};
use super::cells::{Cell, Kind, Row};
use super::database::{Database, versions};
use super::history::month;
use super::place::Place;
use super::rows::day;
use super::tables::{ALERT_STATES, ALL, HISTORIES, Rule, SALE_LINES, SINK_OFFSETS, Table, kind};
use super::writer::Serving;
use crate::{Identity, Sink as _, SinkError};

/// Rows that are compared at a time.
const PAGE: usize = 10_000;

/// A row that is not what the topics make of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// What is the matter.
    pub difference: String,
}

/// What was compared, and what differs.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Rows of the tables that were compared.
    pub rows: u64,
    /// What was read from a lake, as the log does not have all of it any more: offsets by partition.
    pub restored: Vec<String>,
    /// What neither has. What was made of it cannot be compared: sums are left out, and rows that only the tables have are not
    /// counted as differences.
    pub missing: Vec<String>,
    /// Row by row.
    pub differences: Vec<Difference>,
}

/// Compares the tables at `place`, as all sinks that land there have filled them, with the log and, for what it has lost, with
/// `lakes`.
///
/// # Errors
/// Why they could not be compared.
pub async fn verify(place: &Place, broker: &dyn Broker, lakes: &Lakes) -> Result<Verified, SinkError> {
    if versions(place).await?[0] == 0 {
        return Err(SinkError::Retry(format!("{place}: no tables are there yet; `skuflow run` makes them")));
    }
    let mut sources = Sources::new(broker, lakes)?;
    let mut stored = Database::open(place, "verify").await?;
    let before = positions(&mut stored, place, &sources.identity).await?;
    let scratch = tempfile::tempdir().map_err(|error| SinkError::Retry(error.to_string()))?;
    let anew = Place::Sqlite(scratch.path().join("anew.db"));
    for (sink, positions) in &before {
        let mut serving = Serving::new(sink, anew.clone());
        serving.positions(&sources.identity).await?;
        for (of, end) in positions {
            sources.land(of, Some(*end), &mut serving).await?;
        }
    }
    let Sources { identity, restored, missing, .. } = sources;
    let mut verified = Verified { restored, missing, ..Verified::default() };
    let anew = Database::open(&anew, "verify").await?;
    let is_whole = verified.missing.is_empty();
    let mut compared = Compared { anew, stored, place, is_whole, dropped: BTreeSet::new() };
    compared.dropped = compared.dropped().await?;
    let tables = ALL.into_iter().filter(|table| ![SINK_OFFSETS.name, ALERT_STATES.name].contains(&table.name));
    for table in tables.filter(|table| verified.missing.is_empty() || !matches!(table.rule, Rule::Merge(_))) {
        verified.rows += compared.compare(table, &mut verified.differences).await?;
    }
    if positions(&mut compared.stored, place, &identity).await? != before {
        return Err(SinkError::Retry(format!("{place}: something landed meanwhile; stop the run, or its sinks")));
    }
    Ok(verified)
}

/// How far each sink has come that lands there.
async fn positions(
    database: &mut Database,
    place: &Place,
    identity: &Identity,
) -> Result<BTreeMap<String, BTreeMap<TopicPartition, Offset>>, SinkError> {
    let sinks = database.ask("SELECT DISTINCT sink FROM sink_offsets ORDER BY sink", &[], &[Kind::Text]).await;
    let mut positions = BTreeMap::new();
    for sink in sinks.map_err(|error| place.failed(&error))?.concat() {
        let Cell::Text(sink) = sink else { continue };
        let stored = Serving::new(&sink, place.clone()).positions(identity).await?;
        positions.insert(sink.to_string(), stored);
    }
    Ok(positions)
}

/// Two databases side by side.
struct Compared<'a> {
    anew: Database,
    stored: Database,
    place: &'a Place,
    /// Whether log and lakes have all that was landed.
    is_whole: bool,
    /// Months of which rows were dropped, by history.
    dropped: BTreeSet<(&'static str, BusinessDate)>,
}

impl Compared<'_> {
    /// The months of which rows were dropped.
    async fn dropped(&mut self) -> Result<BTreeSet<(&'static str, BusinessDate)>, SinkError> {
        let mut months = BTreeSet::new();
        for history in HISTORIES {
            let text = "SELECT month FROM history_months WHERE history = $1 AND dropped_before IS NOT NULL";
            let found = self.stored.ask(text, &[history.name.into()], &[Kind::Day]).await;
            let found = found.map_err(|error| self.place.failed(&error))?;
            months.extend(found.iter().filter_map(|row| match row[..] {
                [Cell::Day(month)] => Some((history.name, month)),
                _ => None,
            }));
        }
        Ok(months)
    }

    /// Adds what differs in a table; how many rows were compared. Both are read in the order of the key.
    async fn compare(&mut self, table: &'static Table, found: &mut Vec<Difference>) -> Result<u64, SinkError> {
        let (mut anew, mut stored) = (Pages::new(table), Pages::new(table));
        let mut count = 0;
        loop {
            let place = self.place;
            let failed = |error: sqlx::Error| place.failed(&error);
            let (one, other) = (
                anew.peek(&mut self.anew).await.map_err(failed)?.cloned(),
                stored.peek(&mut self.stored).await.map_err(failed)?.cloned(),
            );
            let key = |row: &Row| row[..table.key.len()].to_vec();
            let order = match (&one, &other) {
                (None, None) => return Ok(count),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(one), Some(other)) => key(one).cmp(&key(other)),
            };
            count += 1;
            let difference = match order {
                std::cmp::Ordering::Less => {
                    one.as_ref().filter(|row| !self.has_gone(table, row)).map(|_| "is missing".into())
                }
                std::cmp::Ordering::Greater => self.is_whole.then(|| "is nothing that the topics say".into()),
                std::cmp::Ordering::Equal => {
                    one.as_ref().zip(other.as_ref()).and_then(|(one, other)| self.differ(table, one, other))
                }
            };
            if let Some(difference) = difference
                && let Some(row) = one.as_ref().filter(|_| order.is_le()).or(other.as_ref())
            {
                found.push(Difference { table: table.name, key: told(&key(row)), difference });
            }
            if order.is_le() {
                anew.pass();
            }
            if order.is_ge() {
                stored.pass();
            }
        }
    }

    /// Whether a row is of a month that retention has dropped.
    fn has_gone(&self, table: &'static Table, row: &Row) -> bool {
        if !HISTORIES.iter().any(|history| history.name == table.name) {
            return false;
        }
        let of = match (&row[table.place("observed_at")], table.key.contains(&"day").then(|| &row[table.place("day")]))
        {
            (_, Some(Cell::Day(of))) => *of,
            (Cell::Instant(at), _) => day(*at),
            _ => return false,
        };
        month(of).is_some_and(|month| self.dropped.contains(&(table.name, month)))
    }

    /// In what two rows of one key differ. Where the beginning is lost, what is stored may be later.
    fn differ(&self, table: &Table, anew: &Row, stored: &Row) -> Option<String> {
        let rank: &[&str] = match table.rule {
            Rule::Latest(_) => &["observed_at"],
            Rule::Replace if table.name == SALE_LINES.name => &["observed_at", "event_id"],
            _ => &[],
        };
        let of = |row: &Row| -> Vec<Cell> { rank.iter().map(|column| row[table.place(column)].clone()).collect() };
        if !self.is_whole && of(stored) > of(anew) {
            return None;
        }
        let said = table.columns().zip(anew.iter().zip(stored)).filter(|(column, _)| *column != "dropped_before");
        let column = said.into_iter().find(|(_, (anew, stored))| !is_same(anew, stored));
        column.map(|(column, (anew, stored))| {
            format!(
                "{column} is {}, and the topics say {}",
                told(std::slice::from_ref(stored)),
                told(std::slice::from_ref(anew))
            )
        })
    }
}

/// Whether two values are; the databases write numbers differently.
fn is_same(one: &Cell, other: &Cell) -> bool {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_default();
    match (one, other) {
        (Cell::Json(one), Cell::Json(other)) => is_same_json(&parsed(one), &parsed(other)),
        (Cell::Real(one), Cell::Real(other)) => one - other == 0.0,
        _ => one == other,
    }
}

fn is_same_json(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_json(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| is_same_json(one, other)))
        }
        _ => one == other,
    }
}

fn told(cells: &[Cell]) -> String {
    let told = |cell: &Cell| serde_json::to_value(cell).map_or_else(|_| String::new(), |value| value.to_string());
    cells.iter().map(told).collect::<Vec<_>>().join(" ")
}

/// The rows of a table in the order of their key, some at a time.
struct Pages {
    text: [String; 2],
    kinds: Vec<Kind>,
    key: usize,
    rows: std::vec::IntoIter<Row>,
    last: Option<Row>,
    is_over: bool,
}

impl Pages {
    fn new(table: &Table) -> Self {
        let (name, key) = (table.name, table.key.join(", "));
        let after: Vec<String> = (1..=table.key.len()).map(|at| format!("${at}")).collect();
        let rest = format!("ORDER BY {key} LIMIT {PAGE}");
        Self {
            text: [
                format!("SELECT * FROM {name} {rest}"),
                format!("SELECT * FROM {name} WHERE ({key}) > ({}) {rest}", after.join(", ")),
            ],
            kinds: table.columns().map(kind).collect(),
            key: table.key.len(),
            rows: Vec::new().into_iter(),
            last: None,
            is_over: false,
        }
    }

    /// The row that is next.
    async fn peek(&mut self, database: &mut Database) -> sqlx::Result<Option<&Row>> {
        if self.rows.as_slice().is_empty() && !self.is_over {
            let rows = match &self.last {
                None => database.ask(&self.text[0], &[], &self.kinds).await?,
                Some(last) => database.ask(&self.text[1], &last[..self.key], &self.kinds).await?,
            };
            self.is_over = rows.len() < PAGE;
            self.rows = rows.into_iter();
        }
        Ok(self.rows.as_slice().first())
    }

    fn pass(&mut self) {
        self.last = self.rows.next();
    }
}
