//! Sorted files to one: a row of each is compared, the least goes out. A piece of each file is in memory, never a whole one.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int32Builder, Int64Builder, LargeBinaryBuilder,
    StringBuilder, TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, LargeBinaryArray, PrimitiveArray, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow_schema::{DataType, Field, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::ChunkReader;

use crate::lake::columns::null_array;
use crate::lake::file::Shape;
use crate::limits::ENCODE_ROWS_MAX;

/// Under which key Arrow's fields say their Parquet id.
const FIELD_ID: &str = "PARQUET:field_id";

/// Writes the rows of `inputs` to `out`, sorted by the columns at the places `order`, none of them missing in a file. Of equal
/// rows that of the earlier input comes first. Columns that a file does not have are null.
///
/// # Errors
/// Of kind `InvalidData` where a file is not sorted, or has a column of another type.
pub(super) fn merge<R: ChunkReader + 'static>(
    inputs: Vec<R>,
    shape: &Shape,
    order: &[usize],
    out: impl Write + Send,
) -> io::Result<(ParquetMetaData, u64)> {
    let schema = shape.arrow();
    let mut writer = shape.writer(out)?;
    let mut heads = BinaryHeap::with_capacity(inputs.len());
    let mut pieces: Vec<Vec<ArrayRef>> = Vec::with_capacity(inputs.len());
    for (input, file) in inputs.into_iter().enumerate() {
        let mut head = Head::open(file, schema, order, input)?;
        let piece = head.advance(schema, order)?;
        pieces.push(piece.unwrap_or_default());
        if head.rows > 0 {
            heads.push(Reverse(head));
        }
    }
    let (mut picks, mut count) = (Vec::with_capacity(ENCODE_ROWS_MAX), 0);
    while let Some(mut least) = heads.peek_mut() {
        let head = &mut least.0;
        picks.push((head.input, head.row));
        head.row += 1;
        let (is_over, input) = (head.row == head.rows, head.input);
        if is_over || picks.len() == ENCODE_ROWS_MAX {
            writer.write(&gathered(schema, &pieces, &picks)?)?;
            count += picks.len() as u64;
            picks.clear();
        }
        if is_over {
            match head.advance(schema, order)? {
                Some(piece) => pieces[input] = piece,
                None => drop(std::collections::binary_heap::PeekMut::pop(least)),
            }
        } else {
            head.in_order()?;
        }
    }
    if !picks.is_empty() {
        writer.write(&gathered(schema, &pieces, &picks)?)?;
        count += picks.len() as u64;
    }
    Ok((writer.close()?, count))
}

/// Where a file stands: a row of a piece of it.
struct Head {
    reader: ParquetRecordBatchReader,
    keys: Vec<Key>,
    input: usize,
    row: usize,
    rows: usize,
}

/// A column that rows are sorted by.
enum Key {
    Text(StringArray),
    Number(Int64Array),
    Time(TimestampMicrosecondArray),
}

impl Key {
    fn compare(&self, row: usize, other: &Self, other_row: usize) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.value(row).cmp(other.value(other_row)),
            (Self::Number(one), Self::Number(other)) => one.value(row).cmp(&other.value(other_row)),
            (Self::Time(one), Self::Time(other)) => one.value(row).cmp(&other.value(other_row)),
            _ => unreachable!("a place of the order has one type in the table"),
        }
    }

    fn of(column: &ArrayRef) -> io::Result<Self> {
        let text = column.as_string_opt::<i32>().map(|text| Self::Text(text.clone()));
        let number = || column.as_primitive_opt::<Int64Type>().map(|number| Self::Number(number.clone()));
        let time = || column.as_primitive_opt::<TimestampMicrosecondType>().map(|time| Self::Time(time.clone()));
        let key = text.or_else(number).or_else(time).filter(|_| column.null_count() == 0);
        key.ok_or_else(|| invalid("it is sorted by something else"))
    }
}

impl Head {
    fn open<R: ChunkReader + 'static>(file: R, schema: &SchemaRef, order: &[usize], input: usize) -> io::Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let ids: Vec<Option<&str>> = schema.fields().iter().map(|field| id(field)).collect();
        let wanted = builder.schema().fields().iter().enumerate();
        let wanted: Vec<usize> = wanted
            .filter(|(_, field)| id(field).is_some() && ids.contains(&id(field)))
            .map(|(place, _)| place)
            .collect();
        let has = |id| wanted.iter().any(|place| self::id(builder.schema().field(*place)) == id);
        if !order.iter().all(|place| has(ids[*place])) {
            return Err(invalid("a column that it is sorted by is not in it"));
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
        let reader = builder.with_projection(mask).with_batch_size(ENCODE_ROWS_MAX).build()?;
        Ok(Self { reader, keys: Vec::new(), input, row: 0, rows: 0 })
    }

    /// Reads the next piece, in the columns of the table; `None` at the end.
    fn advance(&mut self, schema: &SchemaRef, order: &[usize]) -> io::Result<Option<Vec<ArrayRef>>> {
        let Some(batch) = self.reader.next() else { return Ok(None) };
        let batch = batch.map_err(io::Error::other)?;
        let columns: Vec<ArrayRef> = schema.fields().iter().map(|field| column(&batch, field)).collect();
        let keys = order.iter().map(|place| Key::of(&columns[*place])).collect::<io::Result<Vec<_>>>()?;
        let before = std::mem::replace(&mut self.keys, keys);
        if self.rows > 0 {
            ordered(&before, self.rows - 1, &self.keys, 0)?;
        }
        (self.row, self.rows) = (0, batch.num_rows());
        Ok(Some(columns))
    }

    /// That the row is not before the one that was.
    fn in_order(&self) -> io::Result<()> {
        ordered(&self.keys, self.row - 1, &self.keys, self.row)
    }
}

fn compare(one: &[Key], row: usize, other: &[Key], other_row: usize) -> Ordering {
    let mut each = one.iter().zip(other).map(|(one, other)| one.compare(row, other, other_row));
    each.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

fn ordered(before: &[Key], row: usize, after: &[Key], next: usize) -> io::Result<()> {
    if compare(before, row, after, next).is_gt() { Err(invalid("it is not sorted as the table is")) } else { Ok(()) }
}

impl Ord for Head {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.keys, self.row, &other.keys, other.row).then(self.input.cmp(&other.input))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head {}

fn id(field: &Field) -> Option<&str> {
    field.metadata().get(FIELD_ID).map(String::as_str)
}

/// The column of the table's field in a piece of a file, by id; null where the file does not have it.
fn column(batch: &RecordBatch, field: &Field) -> ArrayRef {
    let schema = batch.schema();
    let place = schema.fields().iter().position(|found| id(found) == id(field));
    place.map_or_else(|| null_array(field.data_type(), batch.num_rows()), |place| batch.column(place).clone())
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The picked rows, each of a piece, in the columns of the table.
fn gathered(schema: &SchemaRef, pieces: &[Vec<ArrayRef>], picks: &[(usize, usize)]) -> io::Result<RecordBatch> {
    let columns = schema.fields().iter().enumerate().map(|(place, field)| {
        let of_inputs: Vec<Option<&ArrayRef>> = pieces.iter().map(|piece| piece.get(place)).collect();
        gather(field, &of_inputs, picks)
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<io::Result<Vec<_>>>()?).map_err(io::Error::other)
}

/// The picked values of a column.
fn gather(field: &Field, pieces: &[Option<&ArrayRef>], picks: &[(usize, usize)]) -> io::Result<ArrayRef> {
    let other = || invalid(&format!("its column `{}` is not {}", field.name(), field.data_type()));
    let (kind, size) = (field.data_type(), picks.len());
    macro_rules! gather {
        ($builder:expr, $as:expr) => {{
            let typed = pieces.iter().map(|piece| piece.map(|piece| $as(piece).ok_or_else(other)).transpose());
            let pieces = typed.collect::<io::Result<Vec<_>>>()?;
            let mut builder = $builder;
            for (input, row) in picks {
                let piece = pieces[*input].as_ref().expect("rows are picked where there are some");
                builder.append_option(piece.is_valid(*row).then(|| piece.value(*row)));
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match kind {
        DataType::Utf8 => gather!(StringBuilder::with_capacity(size, size * 16), text),
        DataType::LargeBinary => gather!(LargeBinaryBuilder::with_capacity(size, size * 64), binary),
        DataType::Boolean => gather!(BooleanBuilder::with_capacity(size), flag),
        DataType::Int32 => gather!(Int32Builder::with_capacity(size), number::<Int32Type>),
        DataType::Int64 => gather!(Int64Builder::with_capacity(size), number::<Int64Type>),
        DataType::Float64 => gather!(Float64Builder::with_capacity(size), number::<Float64Type>),
        DataType::Date32 => gather!(Date32Builder::with_capacity(size), number::<Date32Type>),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let builder = TimestampMicrosecondBuilder::with_capacity(size).with_data_type(kind.clone());
            gather!(builder, number::<TimestampMicrosecondType>)
        }
        DataType::Decimal128(..) => {
            gather!(Decimal128Builder::with_capacity(size).with_data_type(kind.clone()), number::<Decimal128Type>)
        }
        _ => return Err(invalid(&format!("its column `{}` is {kind}", field.name()))),
    })
}

fn text(array: &ArrayRef) -> Option<&StringArray> {
    array.as_string_opt()
}

fn binary(array: &ArrayRef) -> Option<&LargeBinaryArray> {
    array.as_binary_opt()
}

fn flag(array: &ArrayRef) -> Option<&BooleanArray> {
    array.as_boolean_opt()
}

fn number<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<&PrimitiveArray<T>> {
    array.as_primitive_opt()
}
