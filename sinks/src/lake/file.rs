//! Rows to a Parquet file, and what the catalog is told of it.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, SchemaRef, Struct, TableMetadata, Transform,
};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::bounds::Facts;
use super::columns::{Column, Row, array, null_array};
use super::plan::Part;
use super::storage::{Files, Folders};
use super::tables::{Division, Table};
use crate::limits::{ENCODE_ROWS_MAX, ROW_GROUP_BYTES_MAX, ROW_GROUP_ROWS_MAX};

/// Text in statistics is cut to this length; an upper bound that is cut is made larger.
const STATISTICS_BYTES: usize = 32;
/// Level 3 is 45 % smaller than snappy at little more time; above it nothing is won.
const ZSTD_LEVEL: i32 = 3;
/// Under which key Arrow's fields say what they are.
const DOC: &str = "doc";

/// How the rows of a table are written, by its schema as it is now.
pub(super) struct Shape {
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
    /// One per field of the schema; `None` for what only the table knows.
    columns: Vec<Option<Column>>,
    properties: WriterProperties,
}

impl Shape {
    /// Of a table that has all columns of `table`, see [`super::schema::additions`].
    ///
    /// # Errors
    /// Where it has others that may not be empty, or is divided in a way that this program does not know.
    pub(super) fn of(table: &Table, metadata: &TableMetadata) -> Result<Self, String> {
        let schema = metadata.current_schema().clone();
        let mut own = table.columns();
        let mut columns = Vec::new();
        for field in schema.as_struct().fields() {
            let column = own.iter().position(|column| column.name == field.name).map(|place| own.remove(place));
            if column.is_none() && field.required {
                return Err(format!("its column `{}` must have a value, and we know none", field.name));
            }
            columns.push(column);
        }
        debug_assert!(own.is_empty(), "missing: {own:?}");
        part_value(metadata, &Part { division: table.division, whose: None, time: 0 })
            .map_err(|error| error.to_string())?;
        let arrow = schema_to_arrow_schema(&schema).map_err(|error| error.to_string())?;
        let properties = properties(columns.iter().flatten());
        Ok(Self { schema, arrow: Arc::new(undocumented(arrow)), columns, properties })
    }

    /// The columns of its files.
    pub(super) fn arrow(&self) -> &ArrowSchemaRef {
        &self.arrow
    }

    /// Writes a file.
    pub(super) fn writer<W: Write + Send>(&self, out: W) -> io::Result<ArrowWriter<W>> {
        Ok(ArrowWriter::try_new(out, self.arrow.clone(), Some(self.properties.clone()))?)
    }

    /// Writes `rows` as one file, a piece at a time.
    pub(super) fn write(&self, rows: &[Row<'_>], out: impl Write + Send) -> io::Result<ParquetMetaData> {
        let mut writer = self.writer(out)?;
        for rows in rows.chunks(ENCODE_ROWS_MAX) {
            let arrays = self.columns.iter().zip(self.arrow.fields()).map(|(column, field)| match column {
                Some(column) => array(column, rows.iter()),
                None => Ok(null_array(field.data_type(), rows.len())),
            });
            let arrays = arrays.collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
            writer.write(&RecordBatch::try_new(self.arrow.clone(), arrays).map_err(io::Error::other)?)?;
        }
        Ok(writer.close()?)
    }
}

/// The schema without its docs, which the table's metadata has once, and files need not have each.
fn undocumented(schema: ArrowSchema) -> ArrowSchema {
    let plain = |field: &Arc<Field>| {
        let mut metadata = field.metadata().clone();
        metadata.remove(DOC);
        field.as_ref().clone().with_metadata(metadata)
    };
    ArrowSchema::new(schema.fields().iter().map(plain).collect::<Vec<_>>())
}

fn properties<'a>(columns: impl Iterator<Item = &'a Column>) -> WriterProperties {
    let zstd = ZstdLevel::try_new(ZSTD_LEVEL).expect("a level that zstd has");
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(zstd))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES_MAX))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES));
    for column in columns {
        let path = ColumnPath::from(column.name.as_str());
        if column.is_rising() || column.is_distinct() {
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        if column.is_payload() {
            properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
        }
        if column.is_rising() {
            properties = properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        }
    }
    properties.build()
}

/// Writes the rows of one part to the file at `address`; `before_named` is called before it has that name.
///
/// # Errors
/// Of kind `InvalidData` where the table is divided in a way that this program does not know.
pub(super) async fn write_part(
    (files, unflushed): (&Files, &mut Folders),
    metadata: &TableMetadata,
    shape: &Shape,
    (address, part, rows): (&str, &Part, &[Row<'_>]),
    before_named: impl FnOnce() -> io::Result<()>,
) -> io::Result<DataFile> {
    let made = files.create(address, unflushed, |out| {
        let file = shape.write(rows, out)?;
        before_named().map(|()| file)
    });
    let (file, bytes) = made.await?;
    let facts = Facts::of(&file, &shape.schema);
    described(metadata, address, part_value(metadata, part)?, (rows.len() as u64, bytes), facts)
}

/// What the catalog is told of a file of so many rows and bytes, sorted as the table is.
pub(super) fn described(
    metadata: &TableMetadata,
    address: &str,
    partition: Struct,
    (rows, bytes): (u64, u64),
    facts: Facts,
) -> io::Result<DataFile> {
    let order = metadata.default_sort_order_id() as i32; // few orders, counted from 1
    let data_file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(address.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(metadata.default_partition_spec_id())
        .record_count(rows)
        .file_size_in_bytes(bytes)
        .column_sizes(facts.sizes)
        .value_counts(facts.values)
        .null_value_counts(facts.nulls)
        .lower_bounds(facts.lower)
        .upper_bounds(facts.upper)
        .split_offsets(Some(facts.splits))
        .sort_order_id(order)
        .build();
    data_file.map_err(io::Error::other)
}

/// The part, as the table's partition spec has it.
fn part_value(metadata: &TableMetadata, part: &Part) -> io::Result<Struct> {
    let fields = metadata.default_partition_spec().fields().iter();
    let values = fields.map(|field| match (part.division, field.transform, field.name.as_str()) {
        (Division::CustomerDate, Transform::Identity, "customer")
        | (Division::SourceHour, Transform::Identity, "source") => Ok(part.whose.as_ref().map(Literal::string)),
        (Division::CustomerDate | Division::Date, Transform::Day, "date") => Ok(Some(Literal::date(part.time))),
        (Division::SourceHour, Transform::Hour, "hour") => Ok(Some(Literal::int(part.time))),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, format!("it is divided by `{}`", field.name))),
    });
    Ok(Struct::from_iter(values.collect::<io::Result<Vec<_>>>()?))
}
