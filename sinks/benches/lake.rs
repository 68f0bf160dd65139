//! What landing costs beside writing the same rows with a plain Parquet writer, and what many commits come to.
//!
//! `cargo bench -p skuflow-sinks`, or `cargo bench -p skuflow-sinks -- commits 2000` for the second alone.
#![expect(clippy::print_stdout, reason = "a table is what it is for")]

#[path = "../tests/lake/world.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod world;

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use skuflow_sinks::lake::{TABLES, Table};
use skuflow_sinks::{Incoming, Sink as _};
use world::{batch, broker, events, lake, path_of, pointer, ready, table_files, wait};

const RECORDS: u64 = 240_000;
const ROUNDS: u32 = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |default: u64| arguments.get(1).map_or(default, |number| number.parse().expect("a number"));
    match arguments.first().map(String::as_str) {
        Some("commits") => commits(number(2_000)),
        Some("speed") => speed(number(RECORDS)),
        _ => {
            speed(RECORDS);
            commits(2_000);
        }
    }
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

/// Landing a batch, against a loop that makes the columns by hand and writes the same files in the order of the log, and
/// against one that has the columns already.
fn speed(count: u64) {
    println!(
        "{:<12}{:>10}{:>16}{:>16}{:>8}{:>16}{:>8}",
        "", "records", "lake /CPU-s", "plain /CPU-s", "", "columns ready", ""
    );
    for (table, plain_columns) in
        [(&TABLES[0], plain::offers as fn(&[&Incoming]) -> RecordBatch), (&TABLES[1], plain::sales)]
    {
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
        let records = &whole.parts.values().next().expect("one").records;
        let out = |number: usize| dir.path().join(format!("plain-{number}.parquet"));
        let plain = best(count, || {
            for (number, records) in by_part(records).values().enumerate() {
                write(&out(number), records.chunks(8_192).map(plain_columns));
            }
        });
        let files = table_files(&folder(0), table).expect("made").1;
        let columns: Vec<Vec<RecordBatch>> = files.iter().map(|file| read(&path_of(file.file_path()))).collect();
        let bare = best(count, || {
            for (number, columns) in columns.iter().enumerate() {
                write(&out(number), columns.iter().cloned());
            }
        });
        let share = |of: f64| format!("{:.0} %", lands / of * 100.0);
        println!(
            "{:<12}{count:>10}{lands:>16.0}{plain:>16.0}{:>8}{bare:>16.0}{:>8}",
            table.name,
            share(plain),
            share(bare)
        );
    }
}

/// Records by customer and day, which are a file each.
fn by_part(records: &[Incoming]) -> BTreeMap<(&str, i32), Vec<&Incoming>> {
    let mut parts: BTreeMap<(&str, i32), Vec<&Incoming>> = BTreeMap::new();
    for record in records {
        let Incoming::Event(event, _) = record else { continue };
        let envelope = event.envelope().expect("has one");
        parts.entry((&envelope.customer, envelope.observed_at.day().0)).or_default().push(record);
    }
    parts
}

fn read(file: &Path) -> Vec<RecordBatch> {
    let file = std::fs::File::open(file).expect("there");
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).expect("whole").with_batch_size(8_192);
    reader.build().expect("readable").map(|batch| batch.expect("readable")).collect()
}

/// A topic with all events in one partition.
fn broker_of(table: &Table, count: u64) -> skuflow_runtime::broker::memory::Memory {
    use skuflow_runtime::broker::{Broker as _, Commit, Record};
    let broker = broker(0);
    let mut producer = broker.producer("bench").expect("open");
    for number in 0..count {
        let mut value = Vec::new();
        skuflow_schemas::Encoder.encode(&world::event(table, number), &mut value);
        let record = Record { key: None, value: Some(&value), headers: &[] };
        producer.send(&table.topic.into(), Some(0), &record).expect("exists");
    }
    producer.commit(Commit::default()).expect("no faults");
    assert_eq!(events(&broker, table).len() as u64, count);
    broker
}

/// The plain loop: the same codec and encodings, one file.
fn write(out: &Path, pieces: impl IntoIterator<Item = RecordBatch>) {
    let mut pieces = pieces.into_iter().peekable();
    let schema = pieces.peek().expect("some rows").schema();
    let mut properties =
        WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3).expect("a level")));
    for name in ["observed_at", "ingested_at", "_offset", "_ingested_at"] {
        let path = ColumnPath::from(name);
        properties = properties
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["event_id", "cause_id"] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), false);
    }
    let file = BufWriter::new(std::fs::File::create(out).expect("can be made"));
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties.build())).expect("a schema");
    for piece in pieces {
        writer.write(&piece).expect("a disk");
    }
    writer.into_inner().expect("a disk").into_inner().expect("a disk").sync_all().expect("a disk");
}

/// Commits of one record each: how long they take, and what they leave.
fn commits(count: u64) {
    let table = &TABLES[2];
    let broker = broker_of(table, count);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("lake");
    let mut lake = ready(&broker, lake(&folder, table, None));
    let mut events = events(&broker, table).into_iter();
    println!(
        "{:>10}{:>12}{:>12}{:>12}{:>16}{:>12}{:>14}",
        "commits", "p50 ms", "p99 ms", "max ms", "metadata.json", "files", "metadata dir"
    );
    let mut times = Vec::new();
    for next in 1..=count {
        let (partition, event, offset) = events.next().expect("as many");
        let of = skuflow_runtime::broker::TopicPartition::new(table.topic, partition);
        let range = skuflow_sinks::Range { from: (next > 1).then(|| next - 1), to: next };
        let part = skuflow_sinks::Part { range, records: vec![Incoming::Event(event, offset)] };
        let one = skuflow_sinks::Batch { parts: [(of, part)].into() };
        let begun = Instant::now();
        assert_eq!(wait(lake.land(&one)).expect("lands").records, 1);
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
        if next % (count / 10).max(1) == 0 {
            times.sort_by(f64::total_cmp);
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            let location = path_of(&pointer(&folder, table).expect("made"));
            let json = location.metadata().expect("there").len();
            let folder = location.parent().expect("a folder");
            let sizes: Vec<u64> = std::fs::read_dir(folder)
                .expect("readable")
                .flatten()
                .filter_map(|entry| Some(entry.metadata().ok()?.len()))
                .collect();
            let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
            println!(
                "{next:>10}{p50:>12.1}{p99:>12.1}{max:>12.1}{json:>16}{:>12}{:>14}",
                sizes.len(),
                sizes.iter().sum::<u64>()
            );
            times.clear();
        }
    }
}

/// Columns made by hand, as anybody would write them.
mod plain {
    use arrow_array::builder::{
        Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder, TimestampMicrosecondBuilder,
    };
    use skuflow_schemas::{Envelope, Event, Money};

    use super::{Arc, ArrayRef, Incoming, RecordBatch};

    /// Builders of one kind each, by the place of their column.
    #[derive(Default)]
    struct Columns {
        names: Vec<&'static str>,
        arrays: Vec<ArrayRef>,
    }

    impl Columns {
        fn add(&mut self, name: &'static str, array: impl arrow_array::Array + 'static) {
            self.names.push(name);
            self.arrays.push(Arc::new(array));
        }

        fn text(&mut self, name: &'static str, values: impl Iterator<Item = Option<String>>) {
            let mut builder = StringBuilder::new();
            values.for_each(|value| builder.append_option(value));
            self.add(name, builder.finish());
        }

        fn words<'a>(&mut self, name: &'static str, values: impl Iterator<Item = Option<&'a str>>) {
            let mut builder = StringBuilder::new();
            values.for_each(|value| builder.append_option(value));
            self.add(name, builder.finish());
        }

        fn long(&mut self, name: &'static str, values: impl Iterator<Item = Option<i64>>) {
            let mut builder = Int64Builder::new();
            values.for_each(|value| builder.append_option(value));
            self.add(name, builder.finish());
        }

        fn double(&mut self, name: &'static str, values: impl Iterator<Item = Option<f64>>) {
            let mut builder = Float64Builder::new();
            values.for_each(|value| builder.append_option(value));
            self.add(name, builder.finish());
        }

        fn time(&mut self, name: &'static str, values: impl Iterator<Item = i64>) {
            let mut builder = TimestampMicrosecondBuilder::new().with_timezone("+00:00");
            values.for_each(|value| builder.append_value(value));
            self.add(name, builder.finish());
        }

        fn money(&mut self, names: [&'static str; 4], values: impl Iterator<Item = Option<Money>> + Clone) {
            let mut builder = Decimal128Builder::new().with_precision_and_scale(18, 6).expect("it fits");
            values.clone().for_each(|value| {
                builder
                    .append_option(value.map(|money| money.micros()).filter(|micros| micros.abs() < 10_i128.pow(18)));
            });
            self.add(names[0], builder.finish());
            self.long(names[1], values.clone().map(|value| Some(value?.minor)));
            self.long(names[2], values.clone().map(|value| Some(value?.exponent.into())));
            self.text(names[3], values.map(|value| Some(value?.currency.as_str().to_owned())));
        }

        fn envelopes<'a>(&mut self, envelopes: impl Iterator<Item = (&'a Envelope, u64)> + Clone) {
            let all = envelopes.clone().map(|(envelope, _)| envelope);
            self.text("event_id", all.clone().map(|envelope| Some(envelope.event_id.to_string())));
            self.words("customer", all.clone().map(|envelope| Some(envelope.customer.as_str())));
            self.words("source", all.clone().map(|envelope| Some(envelope.source.as_str())));
            self.words("marketplace", all.clone().map(|envelope| Some(envelope.marketplace.as_str())));
            self.time("observed_at", all.clone().map(|envelope| envelope.observed_at.micros()));
            self.time("ingested_at", all.clone().map(|envelope| envelope.ingested_at.micros()));
            self.words("source_event_id", all.clone().map(|envelope| envelope.source_event_id.as_deref()));
            self.words("source_version", all.clone().map(|envelope| envelope.source_version.as_deref()));
            self.text("cause_id", all.clone().map(|envelope| Some(envelope.cause_id?.to_string())));
            self.words("_topic", all.clone().map(|_| Some("offers.v1")));
            self.long("_partition", all.clone().map(|_| Some(0)));
            self.long("_offset", envelopes.map(|(_, offset)| Some(offset as i64)));
            self.time("_ingested_at", all.map(|_| super::world::NOW));
        }

        fn batch(self) -> RecordBatch {
            RecordBatch::try_from_iter_with_nullable(
                self.names.into_iter().zip(self.arrays).map(|(name, array)| (name, array, true)),
            )
            .expect("of one length")
        }
    }

    fn json<T: serde::Serialize>(list: &[T]) -> Option<String> {
        if list.is_empty() { None } else { serde_json::to_string(list).ok() }
    }

    pub fn offers(records: &[&Incoming]) -> RecordBatch {
        let all = records.iter().filter_map(|record| match record {
            Incoming::Event(Event::Offer(offer), offset) => Some((offer, *offset)),
            _ => None,
        });
        let offers = all.clone().map(|(offer, _)| offer);
        let mut columns = Columns::default();
        columns.envelopes(all.map(|(offer, offset)| (&offer.envelope, offset)));
        columns.words("native_id", offers.clone().map(|offer| Some(offer.native_id.as_str())));
        columns.words("seller", offers.clone().map(|offer| offer.seller.as_deref()));
        columns.money(["price", "price_m", "price_e", "price_c"], offers.clone().map(|offer| offer.price));
        columns.money(["ship", "ship_m", "ship_e", "ship_c"], offers.clone().map(|offer| offer.shipping));
        columns.money(["land", "land_m", "land_e", "land_c"], offers.clone().map(|offer| offer.landed_price));
        columns.money(["list", "list_m", "list_e", "list_c"], offers.clone().map(|offer| offer.list_price));
        columns.words("availability", offers.clone().map(|offer| Some(offer.availability.name())));
        columns.long("stock_level", offers.clone().map(|offer| offer.stock_level));
        columns.words("condition", offers.clone().map(|offer| Some(offer.condition.name())));
        columns.words("fulfilment", offers.clone().map(|offer| Some(offer.fulfilment.name())));
        columns.words("buy_box", offers.clone().map(|offer| Some(offer.buy_box.name())));
        columns.long("offer_count", offers.clone().map(|offer| offer.offer_count));
        columns.text("ranks", offers.clone().map(|offer| json(&offer.ranks)));
        columns.double("rating", offers.clone().map(|offer| offer.rating));
        columns.double("rating_best", offers.clone().map(|offer| offer.rating_best));
        columns.long("review_count", offers.clone().map(|offer| offer.review_count));
        columns.words("country", offers.clone().map(|offer| offer.vantage.country.as_deref()));
        columns.words("postal", offers.clone().map(|offer| offer.vantage.postal.as_deref()));
        columns.words("membership", offers.clone().map(|offer| offer.vantage.membership.as_deref()));
        columns.words("method", offers.clone().map(|offer| Some(offer.extraction.as_ref()?.method.as_str())));
        columns.double("confidence", offers.clone().map(|offer| offer.extraction.as_ref()?.confidence));
        columns.text("suspect", offers.clone().map(|offer| json(&offer.suspect)));
        columns.double("pack_quantity", offers.clone().map(|offer| Some(offer.pack.as_ref()?.quantity)));
        columns.words("pack_unit", offers.map(|offer| Some(offer.pack.as_ref()?.unit.as_str())));
        columns.batch()
    }

    pub fn sales(records: &[&Incoming]) -> RecordBatch {
        let all = records.iter().filter_map(|record| match record {
            Incoming::Event(Event::Sale(sale), offset) => Some((sale, *offset)),
            _ => None,
        });
        let sales = all.clone().map(|(sale, _)| sale);
        let mut columns = Columns::default();
        columns.envelopes(all.map(|(sale, offset)| (&sale.envelope, offset)));
        columns.words("native_id", sales.clone().map(|sale| Some(sale.native_id.as_str())));
        columns.words("order_id", sales.clone().map(|sale| Some(sale.order_id.as_str())));
        columns.words("line_id", sales.clone().map(|sale| Some(sale.line_id.as_str())));
        columns.long("units", sales.clone().map(|sale| Some(sale.units)));
        columns.money(["price", "price_m", "price_e", "price_c"], sales.clone().map(|sale| sale.unit_price));
        columns.words("status", sales.clone().map(|sale| Some(sale.status.name())));
        let mut dates = Date32Builder::new();
        sales.clone().for_each(|sale| dates.append_value(sale.business_date.0));
        columns.add("business_date", dates.finish());
        columns.text("suspect", sales.map(|sale| json(&sale.suspect)));
        columns.batch()
    }
}
