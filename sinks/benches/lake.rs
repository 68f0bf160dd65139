//! What landing costs beside writing the same rows with a plain Parquet writer, and beside appending them with `PyIceberg`.
//!
//! `cargo bench -p skuflow-sinks --bench lake [-- [records] [table]]`.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

#[path = "../tests/lake/world.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod world;

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use skuflow_runtime::testing::lake_readers;
use skuflow_schemas::{Event, FEATURES, Reasons, Values};
use skuflow_sinks::lake::{CATALOG_FILE, CATALOG_NAME, TABLES, Table};
use skuflow_sinks::{Incoming, Sink as _};
use world::{batch, broker, events, lake, path_of, ready, table_files, wait};

const RECORDS: u64 = 240_000;
const ROUNDS: u32 = 5;
/// Rows that the plain loop turns into columns at a time.
const PIECE: usize = 8_192;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let records = arguments.first().map_or(RECORDS, |number| number.parse().expect("a number"));
    speed(records, arguments.get(1).map(String::as_str));
}

/// Processor time of this process, in 10 ms ticks.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let behind_name = stat.rsplit_once(')').expect("a name in brackets").1;
    let ticks = behind_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|ticks| ticks.parse::<u64>().expect("a number") * 10).sum())
}

/// Records per CPU second of the best of some rounds.
fn best(records: u64, mut round: impl FnMut()) -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..ROUNDS {
        let before = cpu();
        round();
        best = best.max(records as f64 / cpu().saturating_sub(before).as_secs_f64());
    }
    best
}

/// Landing a batch, against a loop that writes the same rows with a plain `ArrowWriter`, and against one that has the columns
/// already. All sides begin with decoded records in memory and end with flushed Parquet files: one per customer and day, in
/// the same schema, with the same codec and encodings.
///
/// * lake: all that [`Lake::land`](skuflow_sinks::lake::Lake) does. Beside the files that is the order of rows by key and time
///   (the loop keeps that of the log), the ledger, bounds, manifest, metadata file, swap of the pointer, version hint.
/// * plain: rows by part, columns, `ArrowWriter`; its files have the rows in the order of the log.
/// * sorted: the same, with the rows of a part sorted by key and time first, as those of the lake are: the same files.
/// * columns ready: `ArrowWriter` alone, on columns that are read from the lake's files before.
/// * `PyIceberg`, columns: `append` to a table that is divided in the same way, of columns that are read from the lake's files
///   before, where `SKUFLOW_PYTHON` names a Python that has it; of its process, without start and imports.
/// * `PyIceberg`, records: the same of records in memory, which is what landing begins with.
fn speed(count: u64, only: Option<&str>) {
    let python = lake_readers();
    println!(
        "{:<12}{:>10}{:>16}{:>16}{:>8}{:>16}{:>8}{:>16}{:>8}{:>20}{:>8}{:>20}{:>8}",
        "",
        "records",
        "lake /CPU-s",
        "plain /CPU-s",
        "",
        "sorted /CPU-s",
        "",
        "columns ready",
        "",
        "PyIceberg, columns",
        "",
        "PyIceberg, records",
        ""
    );
    for table in TABLES.iter().filter(|table| !table.is_raw() && only.is_none_or(|only| only == table.name)) {
        let broker = broker_of(table, count);
        let whole = batch(&broker, table, 0, (None, count));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let folder = |round: u32| dir.path().join(format!("lake-{round}"));
        let open = |round| ready(&broker, lake(&folder(round), table, None)); // made once, landed in for weeks
        let mut lakes: Vec<_> = (0..ROUNDS).map(open).collect();
        let lands = best(count, || {
            let mut lake = lakes.pop().expect("one per round");
            assert_eq!(wait(lake.land(&whole)).expect("lands").records, count);
        });
        let files = table_files(&folder(0), table).expect("made").1;
        let columns: Vec<Vec<RecordBatch>> = files.iter().map(|file| read(&path_of(file.file_path()))).collect();
        let schema = columns[0][0].schema();
        let records = &whole.parts.values().next().expect("one").records;
        let out = |number: usize| dir.path().join(format!("plain-{number}.parquet"));
        let write_plain = |is_sorted: bool| {
            for (number, mut records) in by_part(table, records).into_values().enumerate() {
                if is_sorted {
                    records.sort_by(|one, other| place(one).cmp(&place(other)));
                }
                let pieces = records.chunks(PIECE).map(|piece| plain::columns(table, piece));
                write(&out(number), &schema, pieces.map(|columns| batch_of(&schema, columns)));
            }
        };
        let written = || (0..columns.len()).map(|number| read(&out(number))).collect::<Vec<_>>();
        let plain = best(count, || write_plain(false));
        assert_eq!(sums(&written()), sums(&columns), "the same rows in {}", table.full_name);
        let sorted = best(count, || write_plain(true));
        assert_eq!(whole_files(&written()), whole_files(&columns), "the same files in {}", table.full_name);
        let bare = best(count, || {
            for (number, columns) in columns.iter().enumerate() {
                write(&out(number), &schema, columns.iter().cloned());
            }
        });
        let share = |of: f64| format!("{:.0} %", lands / of * 100.0);
        print!(
            "{:<12}{count:>10}{lands:>16.0}{plain:>16.0}{:>8}{sorted:>16.0}{:>8}{bare:>16.0}{:>8}",
            table.name,
            share(plain),
            share(sorted),
            share(bare)
        );
        let seconds = python.as_ref().and_then(|python| append(python, table, (&folder(0), columns.len()), dir.path()));
        let appends = seconds.map(|seconds| seconds.map(|seconds| count as f64 / seconds));
        let shown = |appends: f64| format!("{appends:>20.0}{:>8}", format!("{:.1} x", lands / appends));
        println!("{}", appends.map_or("skipped".into(), |appends| appends.map(shown).concat()));
    }
}

/// Processor time, in seconds, that `PyIceberg` takes to append the rows of `table` in the lake at `folder`, as columns and as
/// records; the best of some rounds. It has to make as many files as are there. `None` where the Python lacks something.
fn append(python: &str, table: &Table, (folder, files): (&Path, usize), out: &Path) -> Option<[f64; 2]> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/append.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(folder)
        .args([CATALOG_FILE, CATALOG_NAME, table.full_name])
        .arg(out)
        .arg(ROUNDS.to_string());
    let output = command.stderr(Stdio::inherit()).output().expect("starts");
    assert!(output.status.success(), "PyIceberg appends to {}", table.full_name);
    let rounds: Vec<[(f64, usize); 2]> = serde_json::from_slice(&output.stdout).expect("a list of rounds");
    assert!(rounds.iter().flatten().all(|(_, made)| *made == files), "{files} files, and PyIceberg made {rounds:?}");
    let best = |way: usize| rounds.iter().map(|round| round[way].0).min_by(f64::total_cmp);
    Some([best(0)?, best(1)?])
}

fn batch_of(schema: &SchemaRef, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema.clone(), columns).expect("the columns of the table")
}

/// Where a record's row belongs in its file: what it is about, and when.
fn place(record: &Incoming) -> Option<([&str; 4], i64)> {
    let Incoming::Event(event, _) = record else { return None };
    let envelope = event.envelope()?;
    let [customer, source, marketplace] = [&envelope.customer, &envelope.source, &envelope.marketplace];
    let key = match event {
        Event::Offer(offer) => [customer.as_str(), source, marketplace, &offer.native_id],
        Event::Sale(sale) => [customer.as_str(), source, marketplace, &sale.native_id],
        Event::Inventory(inventory) => [customer.as_str(), source, marketplace, &inventory.native_id],
        Event::Features(features) => [customer.as_str(), &features.product, "", ""],
        Event::Alert(alert) => [customer.as_str(), &alert.product, "", ""],
        _ => return None,
    };
    Some((key, envelope.observed_at.micros()))
}

/// What is in files, but for when it was landed.
fn whole_files(files: &[Vec<RecordBatch>]) -> Vec<Vec<RecordBatch>> {
    let without_last = |batch: &RecordBatch| {
        let columns: Vec<usize> = (0..batch.num_columns() - 1).collect();
        batch.project(&columns).expect("they are there")
    };
    files.iter().map(|batches| batches.iter().map(without_last).collect()).collect()
}

/// Of each column, nulls and bits that are set in its values: the same whatever the order of rows.
fn sums(files: &[Vec<RecordBatch>]) -> Vec<(usize, u64)> {
    let mut sums = vec![(0, 0); files[0][0].num_columns()];
    for batch in files.iter().flatten() {
        for ((nulls, bits), column) in sums.iter_mut().zip(batch.columns()) {
            let data = column.to_data();
            let values = data.buffers().last().expect("values");
            let ones = |bytes: &[u8]| bytes.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
            *nulls += data.null_count();
            *bits += match column.data_type().primitive_width() {
                Some(width) => {
                    let valid = values.chunks_exact(width).enumerate().filter(|(row, _)| column.is_valid(*row));
                    valid.map(|(_, bytes)| ones(bytes)).sum()
                }
                None => ones(values),
            };
        }
    }
    sums
}

/// Records by customer and day, or by day alone, as the table is divided: a file each.
fn by_part<'a>(table: &Table, records: &'a [Incoming]) -> BTreeMap<(Option<&'a str>, i32), Vec<&'a Incoming>> {
    let mut parts: BTreeMap<(Option<&str>, i32), Vec<&Incoming>> = BTreeMap::new();
    for record in records {
        let Incoming::Event(event, _) = record else { continue };
        let envelope = event.envelope().expect("has one");
        let customer = (table.zone == "processed").then(|| envelope.customer.as_str());
        parts.entry((customer, envelope.observed_at.day().0)).or_default().push(record);
    }
    parts
}

fn read(file: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(file).expect("there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("whole").with_batch_size(PIECE);
    reader.build().expect("readable").map(|batch| batch.expect("readable")).collect()
}

/// Figures as they are in a market: those that can be computed are there.
fn figures(number: u64) -> (Values, Reasons) {
    let there = || FEATURES.iter().enumerate().filter(|(_, spec)| spec.formula != "not computed");
    let values = there().map(|(place, spec)| (spec.name, number as f64 / (place + 1) as f64));
    let reasons = there().map(|(_, spec)| (spec.name, "present"));
    let values: serde_json::Map<_, _> = values.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let reasons: serde_json::Map<_, _> = reasons.map(|(name, reason)| (name.to_owned(), reason.into())).collect();
    (serde_json::from_value(values.into()).expect("numbers"), serde_json::from_value(reasons.into()).expect("reasons"))
}

/// A topic with all events in one partition.
fn broker_of(table: &Table, count: u64) -> skuflow_runtime::broker::memory::Memory {
    use skuflow_runtime::broker::{Broker as _, Commit, Record};
    let broker = broker(0);
    let mut producer = broker.producer("bench").expect("open");
    let figures: Vec<_> = (0..101).map(figures).collect();
    for (number, (values, reasons)) in (0..count).zip(figures.iter().cycle()) {
        let mut event = world::event(table, number);
        if let Event::Features(vector) = &mut event {
            (vector.values, vector.reasons) = (*values, *reasons);
        }
        let mut value = Vec::new();
        skuflow_schemas::Encoder.encode(&event, &mut value);
        let record = Record { key: None, value: Some(&value), headers: &[] };
        producer.send(&table.topic.into(), Some(0), &record).expect("exists");
    }
    producer.commit(Commit::default()).expect("no faults");
    assert_eq!(events(&broker, table).len() as u64, count);
    broker
}

/// One file, in the codec and the encodings of the lake.
fn write(out: &Path, schema: &SchemaRef, pieces: impl Iterator<Item = RecordBatch>) {
    let mut properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level")));
    for name in ["observed_at", "ingested_at", "_offset", "_ingested_at"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["event_id", "cause_id", "dedup_key"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    let file = BufWriter::new(std::fs::File::create(out).expect("can be made"));
    let mut writer = ArrowWriter::try_new(file, schema.clone(), Some(properties.build())).expect("a schema");
    for piece in pieces {
        writer.write(&piece).expect("a disk");
    }
    writer.into_inner().expect("a disk").into_inner().expect("a disk").sync_all().expect("a disk");
}

/// Columns made by hand, as anybody would write them: each collected from the events of its family.
mod plain {
    use arrow_array::builder::StringBuilder;
    use arrow_array::{ArrayRef, TimestampMicrosecondArray};
    use arrow_array::{BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray};
    use skuflow_schemas::{Alert, Envelope, Event, EventId, FEATURES, Features, Inventory, Money, Offer, Sale, Values};

    use super::{Arc, BTreeMap, Incoming, Table, world};

    /// The columns of a table, in order.
    pub fn columns(table: &Table, records: &[&Incoming]) -> Vec<ArrayRef> {
        let all: Vec<(&Event, u64)> = records.iter().filter_map(|record| event(record)).collect();
        let events = all.iter().map(|(event, _)| *event);
        let envelopes: Vec<&Envelope> = events.clone().map(|event| event.envelope().expect("has one")).collect();
        let mut columns = envelope(&envelopes);
        macro_rules! own {
            ($variant:ident, $columns:ident) => {{
                let own = events.map(|event| match event {
                    Event::$variant(event) => &**event,
                    other => unreachable!("a topic has one family, not {}", other.family().name()),
                });
                columns.extend($columns(&own.collect::<Vec<_>>()));
            }};
        }
        match table.name {
            "offers" => own!(Offer, offers),
            "sales" => own!(Sale, sales),
            "inventory" => own!(Inventory, inventory),
            "features" => own!(Features, features),
            _ => own!(Alert, alerts),
        }
        columns.extend([
            text(all.iter().map(|_| Some(table.topic))),
            long(all.iter().map(|_| Some(0))),
            long(all.iter().map(|(_, offset)| Some(*offset as i64))),
            time(all.iter().map(|_| world::NOW)),
        ]);
        columns
    }

    fn event(record: &Incoming) -> Option<(&Event, u64)> {
        match record {
            Incoming::Event(event, offset) => Some((event, *offset)),
            Incoming::Ended(_) | Incoming::DeadLetter(..) | Incoming::Raw(_) => None,
        }
    }

    fn text<T: AsRef<str>>(values: impl Iterator<Item = Option<T>>) -> ArrayRef {
        Arc::new(values.collect::<StringArray>())
    }

    fn long(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
        Arc::new(values.collect::<Int64Array>())
    }

    fn double(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
        Arc::new(values.collect::<Float64Array>())
    }

    fn time(values: impl Iterator<Item = i64>) -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("+00:00"))
    }

    fn id(values: impl ExactSizeIterator<Item = Option<EventId>>) -> ArrayRef {
        let mut builder = StringBuilder::with_capacity(values.len(), values.len() * 32);
        for value in values {
            let hex = value.map(|id| id.hex());
            builder.append_option(hex.as_ref().map(|hex| str::from_utf8(hex).expect("ASCII")));
        }
        Arc::new(builder.finish())
    }

    fn money(values: impl Iterator<Item = Option<Money>> + Clone) -> [ArrayRef; 4] {
        let micros = values.clone().map(|value| value.map(|money| money.micros()));
        let amounts = micros.map(|micros| micros.filter(|micros| micros.abs() < 10_i128.pow(18)));
        let amounts = amounts.collect::<Decimal128Array>().with_precision_and_scale(18, 6).expect("it fits");
        let mut currencies = StringBuilder::new();
        for value in values.clone() {
            currencies.append_option(value.as_ref().map(|money| money.currency.as_str()));
        }
        [
            Arc::new(amounts),
            long(values.clone().map(|value| Some(value?.minor))),
            long(values.map(|value| Some(value?.exponent.into()))),
            Arc::new(currencies.finish()),
        ]
    }

    fn list<T: serde::Serialize>(list: &[T]) -> Option<String> {
        if list.is_empty() { None } else { serde_json::to_string(list).ok() }
    }

    fn envelope(all: &[&Envelope]) -> Vec<ArrayRef> {
        vec![
            id(all.iter().map(|envelope| Some(envelope.event_id))),
            text(all.iter().map(|envelope| Some(&envelope.customer))),
            text(all.iter().map(|envelope| Some(&envelope.source))),
            text(all.iter().map(|envelope| Some(&envelope.marketplace))),
            time(all.iter().map(|envelope| envelope.observed_at.micros())),
            time(all.iter().map(|envelope| envelope.ingested_at.micros())),
            text(all.iter().map(|envelope| envelope.source_event_id.as_deref())),
            text(all.iter().map(|envelope| envelope.source_version.as_deref())),
            id(all.iter().map(|envelope| envelope.cause_id)),
        ]
    }

    fn offers(all: &[&Offer]) -> Vec<ArrayRef> {
        let mut columns = vec![
            text(all.iter().map(|offer| Some(&offer.native_id))),
            text(all.iter().map(|offer| offer.seller.as_deref())),
        ];
        columns.extend(money(all.iter().map(|offer| offer.price)));
        columns.extend(money(all.iter().map(|offer| offer.shipping)));
        columns.extend(money(all.iter().map(|offer| offer.landed_price)));
        columns.extend(money(all.iter().map(|offer| offer.list_price)));
        columns.extend([
            text(all.iter().map(|offer| Some(offer.availability.name()))),
            long(all.iter().map(|offer| offer.stock_level)),
            text(all.iter().map(|offer| Some(offer.condition.name()))),
            text(all.iter().map(|offer| Some(offer.fulfilment.name()))),
            text(all.iter().map(|offer| Some(offer.buy_box.name()))),
            long(all.iter().map(|offer| offer.offer_count)),
            text(all.iter().map(|offer| list(&offer.ranks))),
            double(all.iter().map(|offer| offer.rating)),
            double(all.iter().map(|offer| offer.rating_best)),
            long(all.iter().map(|offer| offer.review_count)),
            text(all.iter().map(|offer| offer.vantage.country.as_deref())),
            text(all.iter().map(|offer| offer.vantage.postal.as_deref())),
            text(all.iter().map(|offer| offer.vantage.membership.as_deref())),
            text(all.iter().map(|offer| Some(offer.extraction.as_ref()?.method.as_str()))),
            double(all.iter().map(|offer| offer.extraction.as_ref()?.confidence)),
            text(all.iter().map(|offer| list(&offer.suspect))),
            double(all.iter().map(|offer| Some(offer.pack.as_ref()?.quantity))),
            text(all.iter().map(|offer| Some(offer.pack.as_ref()?.unit.as_str()))),
        ]);
        columns
    }

    fn sales(all: &[&Sale]) -> Vec<ArrayRef> {
        let mut columns = vec![
            text(all.iter().map(|sale| Some(&sale.native_id))),
            text(all.iter().map(|sale| Some(&sale.order_id))),
            text(all.iter().map(|sale| Some(&sale.line_id))),
            long(all.iter().map(|sale| Some(sale.units))),
        ];
        columns.extend(money(all.iter().map(|sale| sale.unit_price)));
        columns.extend([
            text(all.iter().map(|sale| Some(sale.status.name()))),
            Arc::new(all.iter().map(|sale| Some(sale.business_date.0)).collect::<Date32Array>()),
            text(all.iter().map(|sale| list(&sale.suspect))),
        ]);
        columns
    }

    fn inventory(all: &[&Inventory]) -> Vec<ArrayRef> {
        vec![
            text(all.iter().map(|stock| Some(&stock.native_id))),
            text(all.iter().map(|stock| Some(&stock.location))),
            long(all.iter().map(|stock| Some(stock.quantity))),
            text(all.iter().map(|stock| Some(stock.relation.name()))),
            text(all.iter().map(|stock| list(&stock.suspect))),
        ]
    }

    fn nulls(vector: &Features) -> Option<String> {
        let (values, reasons) = (vector.values.in_order(), vector.reasons.in_order());
        let all = FEATURES.iter().zip(values).zip(reasons);
        let nulls: BTreeMap<_, _> =
            all.filter(|((_, value), _)| value.is_none()).map(|((spec, _), reason)| (spec.name, reason)).collect();
        if nulls.is_empty() { None } else { serde_json::to_string(&nulls).ok() }
    }

    fn features(all: &[&Features]) -> Vec<ArrayRef> {
        let changes = || all.iter().map(|vector| vector.change.as_ref());
        let mut columns = vec![
            text(all.iter().map(|vector| Some(&vector.product))),
            text(all.iter().map(|vector| vector.currency.as_deref())),
        ];
        columns.extend(Values::READ.iter().map(|read| double(all.iter().map(|vector| read(&vector.values)))));
        columns.extend([
            text(all.iter().map(|vector| nulls(vector))),
            text(changes().map(|change| Some(&change?.listing))),
            text(changes().map(|change| change?.seller.as_deref())),
            text(changes().map(|change| Some(change?.role.name()))),
        ]);
        columns.extend(money(changes().map(|change| change?.price)));
        columns.extend(money(changes().map(|change| change?.previous_price)));
        columns.extend([
            text(changes().map(|change| Some(change?.availability.name()))),
            text(changes().map(|change| Some(change?.previous_availability.name()))),
            text(changes().map(|change| Some(change?.buy_box.name()))),
            text(changes().map(|change| Some(change?.previous_buy_box.name()))),
            Arc::new(changes().map(|change| Some(change?.entered)).collect::<BooleanArray>()),
        ]);
        columns
    }

    fn alerts(all: &[&Alert]) -> Vec<ArrayRef> {
        vec![
            text(all.iter().map(|alert| Some(&alert.product))),
            text(all.iter().map(|alert| Some(&alert.rule))),
            text(all.iter().map(|alert| Some(alert.severity.name()))),
            text(all.iter().map(|alert| Some(&alert.message))),
            text(all.iter().map(|alert| alert.seller.as_deref())),
            id(all.iter().map(|alert| Some(alert.dedup_key))),
            double(all.iter().map(|alert| alert.value)),
            text(all.iter().map(|alert| list(&alert.evidence))),
        ]
    }
}
