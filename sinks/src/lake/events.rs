//! What a table holds of a topic, read back as the events that were landed.

use std::fs::File;
use std::io;
use std::ops::{Range, RangeInclusive};

use arrow_array::{BooleanArray, RecordBatch};
use iceberg::spec::{DataFile, Datum, PrimitiveLiteral, TableMetadata};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection,
};
use skuflow_runtime::broker::{Offset, TopicPartition};
use skuflow_schemas::{Event, Text};

use super::columns::{Column, Misfit, Names, Piece, Read, Stored, name_of, restored};
use super::commit::{Loaded, Open, failed};
use super::offsets::Offsets;
use super::place::Place;
use super::snapshot::data_files;
use super::storage::{Files, unkept};
use super::tables::Table;
use super::upkeep::has_deletes;
use crate::limits::{ENCODE_ROWS_MAX, EVENTS_BYTES_MAX, EVENTS_FILES_MAX, EVENTS_OFFSETS};
use crate::{Identity, SinkError};

const TOPIC: &str = "_topic";
const PARTITION: &str = "_partition";
const OFFSET: &str = "_offset";

/// The events in a table, all by the snapshot that it had when it was opened. Nothing is changed or made.
pub struct Events {
    table: &'static Table,
    offsets: Offsets,
    names: Names,
    held: Vec<Held>,
    files: Files,
    sources: Sources,
    window: Offset,
}

/// A file of the table.
#[derive(Clone, Debug)]
struct Held {
    address: String,
    bytes: u64,
    partitions: RangeInclusive<i64>,
    offsets: RangeInclusive<Offset>,
}

impl Events {
    /// Opens `table` of the lake at `place`, which was filled from the log of `identity`. `None` where there is no such lake or
    /// table yet.
    ///
    /// # Errors
    /// `Fatal` where the rows are of another log or no events, or other engines have removed some in a way that is not
    /// understood here.
    pub async fn open(place: &Place, table: &'static Table, identity: &Identity) -> Result<Option<Self>, SinkError> {
        let name = table.full_name;
        if table.is_raw() {
            return Err(SinkError::Fatal(format!("table {name} holds records as they came, not events")));
        }
        let Some(mut open) = Open::open_to_read(place).await? else { return Ok(None) };
        let Some(Loaded { entry, offsets }) = open.load(table).await? else { return Ok(None) };
        if let Some((cluster, topic)) = offsets.foreign(identity) {
            return Err(SinkError::Fatal(format!(
                "table {name} in {place} was filled from another data directory (topic {topic}, cluster {cluster}; this one is \
                 {}), so its rows are not what this log has dropped. Name the lake that was filled from this one, or do \
                 without a lake",
                identity.cluster_id
            )));
        }
        if has_deletes(&open, &entry).await? {
            return Err(SinkError::Fatal(format!(
                "another engine has deleted rows of table {name} in {place} by files that name them, which skuflow does not \
                 read: have that engine rewrite the table without them, or do without a lake"
            )));
        }
        let held = data_files(&open.io, &entry.metadata).await.map_err(|error| failed(&entry.location, &error))?;
        let held = held.iter().map(|(_, file)| Held::of(file.data_file(), &entry.metadata)).collect();
        let (names, sources, window) = (names(table, &entry.metadata), Sources::default(), EVENTS_OFFSETS);
        Ok(Some(Self { table, offsets, names, held, files: open.files, sources, window }))
    }

    /// How far the table has landed a partition: the offset behind the last one. `None` where it has landed nothing of it.
    ///
    /// Of the offsets before it those are not there that held no event, that the log had dropped before the table began, and
    /// that the lake has let go after its own retention.
    pub fn next_offset(&self, of: &TopicPartition) -> Option<Offset> {
        self.offsets.positions().get(of).copied()
    }

    /// Hands over the events of `of`, by its name on the broker, whose offsets are within `range`: in their order, a piece of
    /// bounded size after the other.
    ///
    /// # Errors
    /// Those of `each`; `Retry` where a file cannot be read now or is gone, as upkeep does in the end with those that others
    /// replaced, `Fatal` where what is in it cannot be understood.
    pub async fn read(
        &mut self,
        of: &TopicPartition,
        range: Range<Offset>,
        mut each: impl AsyncFnMut(Vec<(Offset, Event)>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let end = range.end.min(self.next_offset(of).unwrap_or(0));
        let mut from = range.start;
        while let Some(window) = next_window(&self.held, of.partition, from..end, self.window) {
            from = window.end;
            let events = self.events(of, window).await?;
            if !events.is_empty() {
                each(events).await?;
            }
        }
        Ok(())
    }

    /// The events of a window, in order.
    async fn events(&mut self, of: &TopicPartition, window: Range<Offset>) -> Result<Vec<(Offset, Event)>, SinkError> {
        let mut events = Vec::new();
        for file in self.held.iter().filter(|file| file.overlaps(of.partition, &window)) {
            let opened = self.sources.get(&self.files, file).await;
            let wanted = Wanted { of, window: &window, names: &self.names };
            let read = opened.and_then(|source| wanted.read(self.table, source, &mut events));
            read.map_err(|error| unkept(&format!("{}: {}", self.table.full_name, file.address), &error))?;
        }
        events.sort_unstable_by_key(|(offset, _)| *offset);
        if let Some(twice) = events.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(SinkError::Fatal(format!(
                "offset {} of {of} is in table {} twice; `skuflow lake fsck` says what else is wrong with it",
                twice[0].0, self.table.full_name
            )));
        }
        Ok(events)
    }
}

/// The columns that events are made of, by their ids. An amount is made of those beside it.
fn names(table: &Table, metadata: &TableMetadata) -> Names {
    let schema = metadata.current_schema();
    let columns = table.columns().into_iter().filter(|column| !matches!(column.read, Read::Amount(_)));
    columns.filter_map(|Column { name, .. }| Some((schema.field_id_by_name(&name)?, name))).collect()
}

impl Held {
    fn of(file: &DataFile, metadata: &TableMetadata) -> Self {
        let schema = metadata.current_schema();
        let long = |datum: &Datum| match datum.literal() {
            PrimitiveLiteral::Long(long) => Some(*long),
            _ => None,
        };
        // Where a file does not say, it may have any.
        let bounds = |name: &str| {
            let bounds = schema
                .field_id_by_name(name)
                .and_then(|id| Some((long(file.lower_bounds().get(&id)?)?, long(file.upper_bounds().get(&id)?)?)));
            bounds.map_or(0..=i64::MAX, |(low, high)| low..=high)
        };
        let offsets = bounds(OFFSET);
        Self {
            address: file.file_path().into(),
            bytes: file.file_size_in_bytes(),
            partitions: bounds(PARTITION),
            offsets: *offsets.start() as Offset..=*offsets.end() as Offset,
        }
    }

    fn overlaps(&self, partition: u32, window: &Range<Offset>) -> bool {
        let has_offsets = *self.offsets.start() < window.end && window.start <= *self.offsets.end();
        has_offsets && self.partitions.contains(&i64::from(partition))
    }
}

/// The first `length` offsets of `range`, from where files may have some; `None` where none has.
fn next_window(held: &[Held], partition: u32, range: Range<Offset>, length: Offset) -> Option<Range<Offset>> {
    if range.is_empty() {
        return None;
    }
    let some = held.iter().filter(|file| file.overlaps(partition, &range));
    let first = some.map(|file| *file.offsets.start()).min()?.max(range.start);
    Some(first..range.end.min(first.saturating_add(length)))
}

/// Files that are open, the last used last.
#[derive(Default)]
struct Sources(Vec<(Held, File)>);

impl Sources {
    async fn get(&mut self, files: &Files, file: &Held) -> io::Result<File> {
        let known = self.0.iter().position(|(known, _)| known.address == file.address);
        let source = match known {
            Some(place) => self.0.remove(place).1,
            None => files.source(&file.address).await?,
        };
        let handle = source.try_clone()?;
        self.0.push((file.clone(), source));
        while self.0.len() > EVENTS_FILES_MAX
            || self.0.iter().map(|(held, _)| held.bytes).sum::<u64>() > EVENTS_BYTES_MAX
        {
            self.0.remove(0);
        }
        Ok(handle)
    }
}

/// Which rows are read, and how files name their columns.
struct Wanted<'a> {
    of: &'a TopicPartition,
    window: &'a Range<Offset>,
    names: &'a Names,
}

impl Wanted<'_> {
    /// Adds what a file has: where rows were read is read of all, and the rest of those that are wanted.
    fn read(&self, table: &Table, source: File, events: &mut Vec<(Offset, Event)>) -> io::Result<()> {
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true); // texts are texts, whoever wrote them
        let file = ArrowReaderMetadata::load(&source, options)?;
        let mut takes = Vec::new();
        for batch in self.reader(source.try_clone()?, &file, |name| [TOPIC, PARTITION, OFFSET].contains(&name), None)? {
            takes.push(self.takes(&batch.map_err(io::Error::other)?)?);
        }
        let selection = RowSelection::from_filters(&takes);
        if !selection.selects_any() {
            return Ok(());
        }
        for batch in self.reader(source, &file, |name| name != TOPIC, Some(selection))? {
            let batch = batch.map_err(io::Error::other)?;
            let piece = Piece::of(&batch, self.names);
            for row in 0..batch.num_rows() {
                let row = piece.row(row);
                let offset = offset(row)?;
                let event = restored(table.family, row).map_err(|misfit| format!("offset {offset}: {misfit}"));
                events.push((offset, event.map_err(invalid)?));
            }
        }
        Ok(())
    }

    fn reader(
        &self,
        source: File,
        file: &ArrowReaderMetadata,
        is_read: impl Fn(&str) -> bool,
        selection: Option<RowSelection>,
    ) -> io::Result<ParquetRecordBatchReader> {
        let fields = file.schema().fields().iter().enumerate();
        let read = fields.filter(|(_, field)| name_of(field, self.names).is_some_and(&is_read));
        let mask = ProjectionMask::roots(file.parquet_schema(), read.map(|(place, _)| place));
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, file.clone());
        let builder = builder.with_projection(mask).with_batch_size(ENCODE_ROWS_MAX);
        Ok(match selection {
            Some(selection) => builder.with_row_selection(selection).build()?,
            None => builder.build()?,
        })
    }

    fn takes(&self, batch: &RecordBatch) -> io::Result<BooleanArray> {
        let piece = Piece::of(batch, self.names);
        let takes = |row: usize| {
            let row = piece.row(row);
            let partition: i64 = row.must(PARTITION).map_err(invalid)?;
            let topic: Text = row.must(TOPIC).map_err(invalid)?;
            let is_of = partition == i64::from(self.of.partition) && *topic == *self.of.topic;
            Ok(is_of && self.window.contains(&offset(row)?))
        };
        (0..batch.num_rows()).map(takes).map(|taken| taken.map(Some)).collect()
    }
}

fn offset(row: Stored<'_>) -> io::Result<Offset> {
    row.must(OFFSET).map(|offset: i64| offset as Offset).map_err(invalid)
}

fn invalid(reason: Misfit) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
pub(super) mod drawn;
#[cfg(test)]
mod tests;
