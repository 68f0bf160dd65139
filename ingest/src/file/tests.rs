//! What becomes of files, good and bad.
#![expect(clippy::print_stderr, reason = "says what it skips")]

use std::io::Write as _;
use std::path::Path;

use expect_test::{Expect, expect};
use skuflow_schemas::Event;

use super::{Config, FileConnector};
use crate::{Connector, Cursor, Mapped, Page, Poll};

/// A config for sales from CSV; `changes` are merged over it.
fn config(changes: &serde_json::Value) -> Config {
    let mut base = serde_json::json!({
        "path": "*.in", "format": "csv", "event": "sale", "time_zone": "Europe/London",
        "map": {
            "source": { "constant": "shop" }, "marketplace": { "constant": "uk" }, "native_id": { "column": "sku" },
            "order_id": { "column": "order" }, "line_id": { "row_hash": {} }, "units": { "column": "units" },
            "unit_price": { "column": "price", "currency": "GBP" },
            "observed_at": { "column": "time", "format": "%Y-%m-%d %H:%M:%S" }
        }
    });
    merge(&mut base, changes);
    serde_json::from_value(base).expect("settings")
}

fn merge(into: &mut serde_json::Value, from: &serde_json::Value) {
    match (into, from) {
        (serde_json::Value::Object(into), serde_json::Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(serde_json::Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn connector(folder: &Path, changes: &serde_json::Value) -> FileConnector {
    let config = config(changes);
    assert_eq!(config.validate(), []);
    FileConnector::new("files", "demo", folder, config).expect("valid")
}

/// Polls until nothing is left, from `cursor`, which moves along.
fn drain(connector: &mut FileConnector, cursor: &mut Cursor) -> Vec<Mapped> {
    let mut records = Vec::new();
    while let Poll::Page(page) = connector.poll(cursor).expect("readable") {
        records.extend(committed(page, cursor));
    }
    records
}

/// The records of a page, whose changes go into `cursor`.
fn committed(page: Page, cursor: &mut Cursor) -> Vec<Mapped> {
    cursor.extend(page.changes.into_iter().filter_map(|(name, entry)| Some((name, entry?))));
    page.records
}

fn shown(records: &[Mapped]) -> String {
    let line = |record: &Mapped| match record {
        Mapped::Event(Event::Sale(sale), _) => {
            let price = sale.unit_price.map_or_else(|| "-".into(), |price| price.to_string());
            format!(
                "{} {} x{} {price} {} {}\n",
                sale.order_id, sale.native_id, sale.units, sale.envelope.observed_at, sale.business_date
            )
        }
        Mapped::Event(event, _) => format!("{}\n", serde_json::to_string(event).expect("plain data")),
        Mapped::Rejected(row) => {
            let origin = row.letter.origin.as_ref().expect("rows have one");
            format!("refused {} line {}\n", row.letter.code, origin.line)
        }
    };
    records.iter().map(line).collect()
}

fn read(bytes: &[u8], changes: &serde_json::Value) -> String {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("a.in"), bytes).expect("writable");
    shown(&drain(&mut connector(folder.path(), changes), &mut Cursor::new()))
}

fn check(bytes: impl AsRef<[u8]>, changes: serde_json::Value, expected: Expect) {
    expected.assert_eq(&read(bytes.as_ref(), &changes));
}

const HEADER: &str = "order,sku,units,price,time\n";
const ROW: &str = "1,A,2,3.50,2026-01-02 10:00:00\n";

fn none() -> serde_json::Value {
    serde_json::json!({})
}

#[test]
fn csv_in_its_varieties() {
    check(
        format!("{HEADER}{ROW}"),
        none(),
        expect![["
        1 A x2 3.50 GBP 2026-01-02T10:00:00Z 2026-01-02
    "]],
    );
    check("", none(), expect![[""]]);
    check(HEADER, none(), expect![[""]]);
    let bom = format!("\u{feff}{HEADER}{ROW}");
    assert_eq!(read(bom.as_bytes(), &none()), read(format!("{HEADER}{ROW}").as_bytes(), &none()));
    let crlf = format!("{HEADER}{ROW}").replace('\n', "\r\n");
    assert_eq!(read(crlf.as_bytes(), &none()), read(format!("{HEADER}{ROW}").as_bytes(), &none()));
    check(
        format!("{HEADER}1,\"A \"\"x\"\"\n, y\",2,3.50,2026-01-02 10:00:00\nbad\n"),
        none(),
        expect![[r#"
        1 A "x"
        , y x2 3.50 GBP 2026-01-02T10:00:00Z 2026-01-02
        refused row-malformed line 4
    "#]],
    );
}

#[test]
fn a_quote_that_nothing_closes_costs_its_line_only() {
    let stray = "2,\"A,2,3.50,2026-01-02 10:00:00\n";
    let quoted = "3,\"A \"\"x\"\"\n,\",2,3.50,2026-01-02 10:00:00\n";
    let refused = |line: u32| format!("refused row-unclosed-quote line {line}\n");
    let good = read(format!("{HEADER}{ROW}").as_bytes(), &none());
    let field = read(format!("{HEADER}{quoted}").as_bytes(), &none());
    // To the end of the file, before a quoted field, before a last row that is cut off, and over the limit of a record.
    let wide = ROW.replace('A', &"A".repeat(1 << 20)).repeat(12);
    let wide_rows = read(format!("{HEADER}{wide}").as_bytes(), &none());
    for (text, expected) in [
        (format!("{HEADER}{stray}{ROW}{ROW}"), format!("{}{good}{good}", refused(2))),
        (format!("{HEADER}{ROW}{stray}{ROW}{quoted}{ROW}"), format!("{good}{}{good}{field}{good}", refused(3))),
        (format!("{HEADER}{quoted}{stray}{stray}{ROW}"), format!("{field}{}{}{good}", refused(4), refused(5))),
        (format!("{HEADER}{ROW}2,A,2,3.50,\"2026-01-02 10:00:00"), format!("{good}{}", refused(3))),
        (format!("{HEADER}{stray}{wide}"), format!("{}{wide_rows}", refused(2))),
    ] {
        assert!(read(text.as_bytes(), &none()) == expected, "{}", &text[..text.len().min(300)]);
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("a.in"), format!("{HEADER}{stray}{ROW}")).expect("writable");
    let records = drain(&mut connector(folder.path(), &none()), &mut Cursor::new());
    let Mapped::Rejected(row) = &records[0] else { panic!("{}", shown(&records)) };
    assert_eq!(row.excerpt, stray.trim_end().as_bytes());
    let origin = row.letter.origin.as_ref().expect("rows have one");
    assert_eq!(origin.sha256, skuflow_schemas::sha256(&row.excerpt).1);
    assert_eq!((origin.byte_start, origin.byte_end), (HEADER.len() as u64, (HEADER.len() + stray.len()) as u64));
}

#[test]
fn a_quoted_field_that_is_still_being_written_is_waited_for() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    let mut watching = connector(folder.path(), &serde_json::json!({ "watch": true }));
    let mut cursor = Cursor::new();
    std::fs::write(&path, format!("{HEADER}{ROW}2,\"A\n")).expect("writable");
    assert_eq!(drain(&mut watching, &mut cursor).len(), 1);
    std::fs::write(&path, format!("{HEADER}{ROW}2,\"A\nB\",2,3.50,2026-01-02 10:00:00\n")).expect("writable");
    assert_eq!(shown(&drain(&mut watching, &mut cursor)), "2 A\nB x2 3.50 GBP 2026-01-02T10:00:00Z 2026-01-02\n");
}

#[test]
fn bad_rows_are_refused_one_by_one() {
    let rows = "1,A,2,-3.50,2026-01-02 10:00:00
1,A,-2,3.50,2026-01-02 10:00:00
1,A,two,3.50,2026-01-02 10:00:00
1,A,2,3,50,2026-01-02 10:00:00
1,A,2,3.5.0,2026-01-02 10:00:00
1,A,2,3.50,2026-13-02 10:00:00
1,A,2,3.50,2026-03-29 01:30:00
1,A,2,3.50,2026-10-25 01:30:00
1,,2,3.50,2026-01-02 10:00:00
1,A,2,,2026-01-02 10:00:00
";
    check(
        format!("{HEADER}{rows}"),
        none(),
        expect![["
        1 A x2 -3.50 GBP 2026-01-02T10:00:00Z 2026-01-02
        1 A x-2 3.50 GBP 2026-01-02T10:00:00Z 2026-01-02
        refused number-invalid line 4
        refused row-malformed line 5
        refused number-invalid line 6
        refused time-invalid line 7
        refused time-in-dst-gap line 8
        1 A x2 3.50 GBP 2026-10-25T00:30:00Z 2026-10-25
        refused value-missing line 10
        1 A x2 - 2026-01-02T10:00:00Z 2026-01-02
    "]],
    );
}

#[test]
fn a_file_that_is_another_one_is_refused_once() {
    check(
        "a;b;c\n1;2;3\n",
        none(),
        expect![["
        refused file-header line 1
    "]],
    );
    check(
        b"\xff\xfeo\0r\0d\0",
        none(),
        expect![["
        refused file-encoding line 1
    "]],
    );
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("a.in"), "order;sku;units;price;time\n1;A;2;3.50;2026-01-02 10:00:00\n")
        .expect("writable");
    let mut cursor = Cursor::new();
    assert_eq!(drain(&mut connector(folder.path(), &none()), &mut cursor).len(), 1);
    assert!(drain(&mut connector(folder.path(), &none()), &mut cursor).is_empty(), "not again");
    let mended = serde_json::json!({ "delimiter": ";" });
    assert!(
        shown(&drain(&mut connector(folder.path(), &mended), &mut cursor)).starts_with("1 A x2"),
        "but when it is mended"
    );
}

#[test]
fn encodings_and_decimal_commas() {
    let latin = [HEADER.as_bytes(), b"1,T\xe4sschen,2,3.50,2026-01-02 10:00:00\n", ROW.as_bytes()].concat();
    check(
        &latin,
        none(),
        expect![["
        refused text-not-utf8 line 2
        1 A x2 3.50 GBP 2026-01-02T10:00:00Z 2026-01-02
    "]],
    );
    for encoding in ["latin-1", "windows-1252"] {
        assert!(read(&latin, &serde_json::json!({ "encoding": encoding })).starts_with("1 Tässchen"), "{encoding}");
    }
    let comma = "order;sku;units;price;time\n1;A;2;1.234,50;2026-01-02 10:00:00\n1;A;2;3.5;2026-01-02 10:00:00\n";
    check(
        comma,
        serde_json::json!({ "delimiter": ";", "decimal": "," }),
        expect![["
        1 A x2 1234.50 GBP 2026-01-02T10:00:00Z 2026-01-02
        refused number-invalid line 3
    "]],
    );
}

#[test]
fn a_line_of_50_mb_is_read_past() {
    let mut bytes = HEADER.as_bytes().to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 50 << 20));
    bytes.extend_from_slice(format!("\n{ROW}").as_bytes());
    check(
        bytes,
        none(),
        expect![["
        refused row-too-large line 2
        1 A x2 3.50 GBP 2026-01-02T10:00:00Z 2026-01-02
    "]],
    );
}

#[test]
fn json_keeps_its_digits_and_its_depth_in_bounds() {
    let json =
        serde_json::json!({ "format": "ndjson", "map": { "observed_at": { "column": "at.time", "format": null } } });
    let row = r#"{"order": 1, "sku": "A", "units": 2, "price": 1.10, "at": {"time": "2026-01-02T10:00:00+02:00"}}"#;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    check(
        format!("{row}\n\n{deep}\n{{\"order\": \nnot json\n[1]\n{}", row.replace("1.10", "0.1000001")),
        json,
        expect![["
        1 A x2 1.10 GBP 2026-01-02T08:00:00Z 2026-01-02
        refused json-too-deep line 3
        refused json-invalid line 4
        refused json-invalid line 5
        refused json-invalid line 6
        refused number-invalid line 7
    "]],
    );
    let array =
        serde_json::json!({ "format": "json", "map": { "observed_at": { "column": "at.time", "format": null } } });
    check(
        format!("[{row},\n {row}]"),
        array.clone(),
        expect![["
        1 A x2 1.10 GBP 2026-01-02T08:00:00Z 2026-01-02
        1 A x2 1.10 GBP 2026-01-02T08:00:00Z 2026-01-02
    "]],
    );
    check(
        row,
        array.clone(),
        expect![["
        1 A x2 1.10 GBP 2026-01-02T08:00:00Z 2026-01-02
    "]],
    );
    check(
        "[1",
        array,
        expect![["
        refused json-invalid line 1
    "]],
    );
}

#[test]
fn compressed_files_and_what_is_left_of_one_that_breaks_off() {
    let plain: String =
        std::iter::once(HEADER.to_owned()).chain((0..2000).map(|n| ROW.replace("1,A", &format!("{n},A")))).collect();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain.as_bytes()).expect("memory");
        encoder.finish().expect("memory")
    };
    let zstd = zstd::encode_all(plain.as_bytes(), 1).expect("memory");
    let whole = read(plain.as_bytes(), &none());
    assert_eq!(read(&gzip, &none()), whole);
    assert_eq!(read(&zstd, &none()), whole);
    let cut = read(&gzip[..gzip.len() / 2], &none());
    let (rows, refused): (Vec<&str>, Vec<&str>) = cut.lines().partition(|line| !line.starts_with("refused"));
    assert!(!rows.is_empty() && whole.starts_with(&rows.join("\n")), "what came before is kept");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].starts_with("refused file-truncated"));
}

#[test]
fn only_what_is_new_is_read() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("writable");
    let mut cursor = Cursor::new();
    let mut news = || shown(&drain(&mut connector(folder.path(), &none()), &mut cursor)).lines().count();
    write("1.in", &format!("{HEADER}{ROW}{ROW}"));
    assert_eq!(news(), 2);
    assert_eq!(news(), 0, "a second look");
    write("2.in", &format!("{HEADER}{ROW}"));
    assert_eq!(news(), 1, "a new file");
    write("1.in", &format!("{HEADER}{ROW}{ROW}{ROW}"));
    assert_eq!(news(), 1, "a line more");
    write("1.in", &format!("{HEADER}{ROW}{ROW}{ROW}{}", ROW.trim_end()));
    assert_eq!(news(), 1, "a last line without an end counts");
    write("1.in", &format!("{HEADER}{ROW}{ROW}{ROW}{}", ROW.replace("10:00", "11:00")));
    assert_eq!(news(), 4, "another content is another file");
    write("3.in", HEADER);
    assert_eq!(news(), 0);
}

fn rows(numbers: std::ops::Range<u32>) -> String {
    numbers.map(|n| ROW.replace("1,A", &format!("{n},A"))).collect()
}

fn modified(path: &Path, at_s: u64) {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(at_s);
    std::fs::File::options().write(true).open(path).and_then(|file| file.set_modified(at)).expect("writable");
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("memory");
    encoder.finish().expect("memory")
}

/// Larger than what a file is known by at its beginning and its end.
const MANY: u32 = 4_000;

#[test]
fn a_file_that_was_touched_is_not_read_again_and_of_a_longer_one_what_is_new() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    let whole = format!("{HEADER}{}", rows(0..MANY));
    let more = format!("{whole}{}", rows(MANY..MANY + 2));
    let changed = more.replace("\n2000,A,2,3.50", "\n2000,A,2,4.50");
    let otherwise = format!("{changed}{ROW}").replace("\n3999,A,2,3.50", "\n3999,A,2,5.50");
    let steps: [(&str, &str, usize); 8] = [
        ("new", &whole, MANY as usize),
        ("touched", &whole, 0),
        ("appended", &more, 2),
        ("touched", &more, 0),
        ("touched", &more, 0),
        ("a price changed, of the same length, far from both ends", &changed, MANY as usize + 2),
        ("longer, but what was read is other", &otherwise, MANY as usize + 3),
        ("replaced by a shorter one", &whole, MANY as usize),
    ];
    for pack in [|text: &str| text.as_bytes().to_vec(), gzip] {
        let mut cursor = Cursor::new();
        for (at, (what, text, expected)) in steps.iter().enumerate() {
            std::fs::write(&path, pack(text)).expect("writable");
            modified(&path, 1_700_000_000 + at as u64);
            // A new connector for every look, as after a restart.
            let news = drain(&mut connector(folder.path(), &none()), &mut cursor);
            let is_gzip = pack(text).starts_with(&[0x1f, 0x8b]);
            // Nobody appends to a packed file by packing it anew: all of it is read, unless it was only touched.
            let expected = if is_gzip && *expected > 0 { text.lines().count() - 1 } else { *expected };
            assert_eq!(news.len(), expected, "{what}, gzip: {is_gzip}");
        }
    }
}

#[test]
fn a_packed_file_that_is_appended_to_is_read_on() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    let mut cursor = Cursor::new();
    let first = gzip(&format!("{HEADER}{}", rows(0..MANY)));
    std::fs::write(&path, &first).expect("writable");
    assert_eq!(drain(&mut connector(folder.path(), &none()), &mut cursor).len(), MANY as usize);
    std::fs::write(&path, [first, gzip(&rows(0..2))].concat()).expect("writable");
    assert_eq!(drain(&mut connector(folder.path(), &none()), &mut cursor).len(), 2);
}

#[test]
fn what_was_cut_off_is_read_on_when_it_is_whole() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    let mut cursor = Cursor::new();
    let whole = gzip(&format!("{HEADER}{}", rows(0..MANY)));
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("writable");
    let before = drain(&mut connector(folder.path(), &none()), &mut cursor).len();
    std::fs::write(&path, &whole).expect("writable");
    let after = drain(&mut connector(folder.path(), &none()), &mut cursor).len();
    assert_eq!(before + after, MANY as usize + 1, "every row once, and the one letter");
}

#[test]
fn a_file_that_looks_as_it_did_is_not_opened() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    for watch in [false, true] {
        let settings = serde_json::json!({ "watch": watch });
        let mut cursor = Cursor::new();
        let write = |text: String| {
            std::fs::write(&path, text).expect("writable");
            modified(&path, 1_700_000_000);
        };
        write(format!("{HEADER}{ROW}1,A,2,3.50"));
        assert_eq!(drain(&mut connector(folder.path(), &settings), &mut cursor).len(), if watch { 1 } else { 2 });
        // Other bytes behind the same look would be seen by whoever opens the file.
        write(format!("{HEADER}{ROW}2,A,2,3.50"));
        assert_eq!(drain(&mut connector(folder.path(), &settings), &mut cursor).len(), 0, "watch: {watch}");
    }
}

#[test]
fn a_page_changes_the_entries_of_its_files_only() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut cursor = Cursor::new();
    for name in ["1.in", "2.in", "3.in"] {
        std::fs::write(folder.path().join(name), format!("{HEADER}{ROW}")).expect("writable");
        let Poll::Page(page) = connector(folder.path(), &none()).poll(&cursor).expect("readable") else { panic!() };
        assert_eq!(page.changes.keys().collect::<Vec<_>>(), [name]);
        committed(page, &mut cursor);
    }
}

#[test]
fn a_header_is_checked_again_with_another_mapping_and_for_columns_of_expressions() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    let head = format!("{HEADER}{}", rows(0..5_000));
    std::fs::write(&path, format!("{head}{ROW}")).expect("writable");
    let mut cursor = Cursor::new();
    let Poll::Page(first) = connector(folder.path(), &none()).poll(&cursor).expect("readable") else {
        panic!("a page")
    };
    assert_eq!(committed(first, &mut cursor).len(), 5_000);
    for (expression, missing) in [
        ("colour + sku", "colour"),
        ("row[\"the colour\"]", "the colour"),
        ("row.colour", "colour"),
        ("[sku].map(x, x + size_)[0]", "size_"),
    ] {
        let other = serde_json::json!({ "map": { "native_id": { "column": null, "expression": expression } } });
        let records = drain(&mut connector(folder.path(), &other), &mut cursor.clone());
        let [Mapped::Rejected(row)] = &records[..] else { panic!("{expression}: {}", shown(&records)) };
        assert_eq!(row.letter.code, "file-header");
        assert!(row.letter.message.contains(&format!("no column {missing};")), "{}", row.letter.message);
    }
    for optional in ["\"colour\" in row ? row[\"colour\"] : sku", "has(row.colour) ? row.colour : sku"] {
        let other = serde_json::json!({ "map": { "native_id": { "column": null, "expression": optional } } });
        let records = drain(&mut connector(folder.path(), &other), &mut cursor.clone());
        assert!(shown(&records).starts_with("1 A x2"), "{optional}: {}", shown(&records));
    }
}

#[test]
fn pages_can_be_taken_up_anywhere() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let rows: String = (0..12_000).map(|n| ROW.replace("1,A", &format!("{n},A"))).collect();
    std::fs::write(folder.path().join("a.in"), format!("{HEADER}{rows}")).expect("writable");
    let whole = shown(&drain(&mut connector(folder.path(), &none()), &mut Cursor::new()));
    let (mut cursor, mut pages, mut pieces): (Cursor, u32, String) = Default::default();
    // A new connector for every page, as after a crash; and each page twice, as when its commit failed.
    while let Poll::Page(page) = connector(folder.path(), &none()).poll(&cursor).expect("readable") {
        let Poll::Page(again) = connector(folder.path(), &none()).poll(&cursor).expect("readable") else { panic!() };
        assert_eq!(shown(&page.records), shown(&again.records));
        pieces += &shown(&committed(page, &mut cursor));
        pages += 1;
    }
    assert!(pages >= 3, "{pages} pages");
    assert_eq!(pieces, whole);
}

#[test]
fn a_file_that_is_replaced_while_it_is_read_is_read_anew() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    let rows =
        |sku: &str, count: u32| (0..count).map(|n| ROW.replace("1,A", &format!("{n},{sku}"))).collect::<String>();
    std::fs::write(&path, format!("{HEADER}{}", rows("A", 12_000))).expect("writable");
    let Poll::Page(first) = connector(folder.path(), &none()).poll(&Cursor::new()).expect("readable") else {
        panic!("a page")
    };
    std::fs::write(&path, format!("{HEADER}{}", rows("B", 3))).expect("writable");
    let mut cursor = Cursor::new();
    committed(first, &mut cursor);
    assert_eq!(drain(&mut connector(folder.path(), &none()), &mut cursor).len(), 3);
}

#[test]
fn a_last_row_without_an_end_that_fills_a_page_is_read_once() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let rows: String = (0..crate::limits::PAGE_RECORDS_MAX).map(|n| ROW.replace("1,A", &format!("{n},A"))).collect();
    std::fs::write(folder.path().join("a.in"), format!("{HEADER}{}", rows.trim_end())).expect("writable");
    let (mut cursor, mut read): (Cursor, usize) = Default::default();
    while let Poll::Page(page) = connector(folder.path(), &none()).poll(&cursor).expect("readable") {
        read += committed(page, &mut cursor).len();
    }
    assert_eq!(read, crate::limits::PAGE_RECORDS_MAX);
}

#[test]
fn json_numbers_have_a_point_whatever_texts_have() {
    let comma = serde_json::json!({ "format": "ndjson", "decimal": ",", "map": { "observed_at": { "format": null } } });
    let row = |price: &str| {
        format!(r#"{{"order": 1, "sku": "A", "units": 2, "price": {price}, "time": "2026-01-02T10:00:00Z"}}"#)
    };
    let text = format!("{}\n{}\n", row("1.100"), row("\"1,5\""));
    check(
        text,
        comma,
        expect![["
        1 A x2 1.10 GBP 2026-01-02T10:00:00Z 2026-01-02
        1 A x2 1.50 GBP 2026-01-02T10:00:00Z 2026-01-02
    "]],
    );
}

#[test]
fn what_is_watched_is_not_read_before_its_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("a.in");
    std::fs::write(&path, format!("{HEADER}{ROW}1,A,2")).expect("writable");
    let mut watching = connector(folder.path(), &serde_json::json!({ "watch": true }));
    let mut cursor = Cursor::new();
    let first = drain(&mut watching, &mut cursor);
    assert_eq!(first.len(), 1, "{}", shown(&first));
    std::fs::write(&path, format!("{HEADER}{ROW}{ROW}")).expect("writable");
    assert_eq!(drain(&mut watching, &mut cursor).len(), 1);
}

#[test]
fn mappings_can_do_what_they_say() {
    let changes = serde_json::json!({ "map": {
        "status": { "expression": "order.startsWith(\"C\") ? \"cancelled\" : \"completed\"" },
        "native_id": { "expression": "row[\"sku\"] + \"-\" + marketplace_" , "column": null },
        "unit_price": { "column": "price", "currency": "GBP", "null": ["N/A"], "default": "1" },
        "customer": { "column": "marketplace_", "values": { "uk": "acme" } }
    }});
    let text = "order,sku,units,price,time,marketplace_\nC1,A,2,N/A,2026-01-02 10:00:00,uk\n";
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("a.in"), text).expect("writable");
    let records = drain(&mut connector(folder.path(), &changes), &mut Cursor::new());
    let [Mapped::Event(Event::Sale(sale), _)] = &records[..] else { panic!("{}", shown(&records)) };
    assert_eq!((sale.native_id.as_str(), sale.envelope.customer.as_str()), ("A-uk", "acme"));
    assert_eq!(sale.status, skuflow_schemas::SaleStatus::Cancelled);
    assert_eq!(sale.unit_price.map(|price| price.to_string()).as_deref(), Some("1.00 GBP"));
    let line = "C1,A,2,N/A,2026-01-02 10:00:00,uk";
    assert_eq!(sale.line_id, skuflow_schemas::sha256(line.as_bytes()).1[..32]);
}

/// A config that maps `event` from NDJSON by `map`, besides source and time.
fn ndjson(event: &str, map: &serde_json::Value) -> serde_json::Value {
    let mut settings = serde_json::json!({ "path": "*.in", "event": event, "format": "ndjson",
        "map": { "source": { "constant": "s" }, "observed_at": { "column": "t" } } });
    merge(&mut settings["map"], map);
    settings
}

/// The events of NDJSON in `lines` under `settings`.
fn events(settings: serde_json::Value, lines: &str) -> Vec<Event> {
    let config: Config = serde_json::from_value(settings).expect("settings");
    assert_eq!(config.validate(), []);
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(folder.path().join("a.in"), lines).expect("writable");
    let mut connector = FileConnector::new("files", "demo", folder.path(), config).expect("valid");
    let event = |record| match record {
        Mapped::Event(event, _) => event,
        Mapped::Rejected(row) => panic!("{}", row.letter.message),
    };
    drain(&mut connector, &mut Cursor::new()).into_iter().map(event).collect()
}

#[test]
fn an_offer_says_how_much_one_unit_holds() {
    let map = serde_json::json!({
        "marketplace": { "constant": "m" }, "native_id": { "column": "id" },
        "pack_quantity": { "column": "holds" }, "pack_unit": { "column": "of", "values": { "stk": "piece" } },
    });
    let lines = r#"{"t": "2026-01-02", "id": "A", "holds": 1.5, "of": "kg"}
{"t": "2026-01-02", "id": "B", "holds": 10, "of": "stk"}
{"t": "2026-01-02", "id": "C", "holds": 10}
{"t": "2026-01-02", "id": "D", "of": "kg"}
{"t": "2026-01-02", "id": "E", "holds": 38, "of": "cm"}
"#;
    let shown = |event| match event {
        Event::Offer(offer) => {
            let pack = offer.pack.map_or_else(|| "-".into(), |pack| format!("{} {}", pack.quantity, pack.unit));
            format!("{} {pack}\n", offer.native_id)
        }
        other => panic!("{other:?}"),
    };
    expect![["
        A 1.5 kg
        B 10 piece
        C -
        D -
        E 38 cm
    "]]
    .assert_eq(&events(ndjson("offer", &map), lines).into_iter().map(shown).collect::<String>());
}

#[test]
fn a_catalog_entry_has_listings_of_one_seller_or_of_all() {
    let list = |when: &str| {
        serde_json::json!({ "each": "listings", "when": when, "source": { "constant": "s" },
            "marketplace": { "column": "store" }, "native_id": { "column": "id" }, "seller": { "column": "by" } })
    };
    let map = serde_json::json!({ "product": { "column": "p" }, "own": list("item.store == 'ours'"),
        "competitors": list("item.store != 'ours'") });
    let line = serde_json::json!({ "t": "2026-01-02", "p": "P-1", "listings": [
        { "store": "ours", "id": "A", "by": "us" }, { "store": "x", "id": "B" }, { "store": "y", "id": 7, "by": null },
    ]});
    let shown = |event| match event {
        Event::Catalog(entry) => [("own", entry.own), ("competitor", entry.competitors)].map(|(role, listings)| {
            let shown = |listing: &skuflow_schemas::ListingRef| {
                let seller = listing.seller.as_deref().unwrap_or("everybody");
                format!("{role} {} {} {seller}\n", listing.marketplace, listing.native_id)
            };
            listings.iter().map(shown).collect::<String>()
        }),
        other => panic!("{other:?}"),
    };
    expect![["
        own ours A us
        competitor x B everybody
        competitor y 7 everybody
    "]]
    .assert_eq(&events(ndjson("catalog", &map), &line.to_string()).into_iter().flat_map(shown).collect::<String>());
}

#[test]
fn settings_that_cannot_be_are_found() {
    let problems = |changes| {
        config(&changes).validate().iter().map(|problem| problem.message.clone()).collect::<Vec<_>>().join("\n")
    };
    let bad = serde_json::json!({
        "time_zone": "Europe/Lundon", "decimal": "x",
        "map": { "unit_price": { "currency": null }, "native_id": { "expression": "a +", "column": null }, "colour": { "constant": "red" } }
    });
    expect![["
        `x` is no decimal separator
        `Europe/Lundon` is not a known time zone
        events of family sale have no field `colour`
        the expression does not parse: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER} | a + | ...^
        the currency of `unit_price` is not said"]]
    .assert_eq(&problems(bad));
    let bad_times = |formats: &[&str]| {
        let of = |format: &&str| problems(serde_json::json!({ "map": { "observed_at": { "format": format } } }));
        formats.iter().map(of).collect::<Vec<_>>().join("\n")
    };
    let good = ["%Y-%m-%d %H:%M:%S", "%d/%m/%y", "%d.%m.%Y %I:%M %p", "%Y-%m-%dT%H:%M:%S%z", "%s", "%F %T%.f"];
    assert_eq!(bad_times(&good).trim(), "");
    expect![["
        times cannot be read with `%Y-%m`: `2026-11` is no time: a month/day, day-of-year or week date must be present to create a date, but none were found
        times cannot be read with `%H:%M`: `14:35` is no time: year required to parse date
        times cannot be read with `%Y-%m-%d %I:%M`: `2026-11-23 02:35` is read as 2026-11-23T02:35:00
        times cannot be read with `%Y-%m-%d %K`: strftime formatting failed: found unrecognized specifier directive `K`
        times cannot be read with `%F %T %Z`: `2026-11-23 14:35:46 UTC` is no time: strptime parsing failed: parsing time zone abbreviation is not allowed
        times cannot be read with `yyyy-MM-dd`: `yyyy-MM-dd` is no time: year required to parse date"]].assert_eq(&bad_times(&["%Y-%m", "%H:%M", "%Y-%m-%d %I:%M", "%Y-%m-%d %K", "%F %T %Z", "yyyy-MM-dd"]));
}

#[test]
fn mistakes_in_lists_and_names_are_found() {
    let check = |event: &str, format: &str, map: serde_json::Value, expected: Expect| {
        let mut settings = serde_json::json!({ "path": "a", "event": event, "format": format, "encoding": "latin-1",
            "map": { "source": { "constant": "s" }, "observed_at": { "column": "t" } } });
        merge(&mut settings["map"], &map);
        let config: Config = serde_json::from_value(settings).expect("settings");
        let shown = |problem: crate::ConfigProblem| format!("{}: {}\n", problem.path.join("."), problem.message);
        expected.assert_eq(&config.validate().into_iter().map(shown).collect::<String>());
    };
    let part = serde_json::json!({ "column": "id", "expression": "a +" });
    let list =
        serde_json::json!({ "each": "own", "source": { "constant": "a" }, "marketplace": {}, "native_id": part });
    let map = serde_json::json!({ "product": { "column": "p", "when": "true" }, "own": list, "active": { "constant": "on" } });
    check(
        "catalog",
        "json",
        map.clone(),
        expect![["
        encoding: a JSON document is always UTF-8
        map.active.constant: `active` cannot be `on`
        map.own.marketplace: it is not clear where `marketplace` comes from
        map.own.native_id: it is not clear where `native_id` comes from
        map.own.native_id.expression: the expression does not parse: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER} | a + | ...^
        map.product: `product` is no list
    "]],
    );
    check(
        "catalog",
        "csv",
        map,
        expect![["
        map.active.constant: `active` cannot be `on`
        map.own: a CSV record has no list for `own`
        map.own.marketplace: it is not clear where `marketplace` comes from
        map.own.native_id: it is not clear where `native_id` comes from
        map.own.native_id.expression: the expression does not parse: ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER} | a + | ...^
        map.product: `product` is no list
    "]],
    );
    let map = serde_json::json!({
        "marketplace": { "constant": "m" }, "native_id": { "column": "id", "format": "%Y" },
        "pack_unit": { "constant": "pcs" }, "condition": { "constant": "nwe" }, "availability": { "column": "a", "default": "instock", "values": { "y": "in_stock", "n": "out" } }
    });
    check(
        "offer",
        "ndjson",
        map,
        expect![["
        map.pack_unit: `pack_unit` says nothing without `pack_quantity`
        map.availability.default: `availability` cannot be `instock`
        map.availability.values.n: `availability` cannot be `out`
        map.condition.constant: `condition` cannot be `nwe`
        map.native_id.format: times cannot be read with `%Y`: only `observed_at` and `business_date` are times
        map.pack_unit.constant: `pack_unit` cannot be `pcs`
    "]],
    );
}

#[test]
fn only_what_is_written_in_the_path_is_a_pattern() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let base = folder.path().join("shop [1]");
    std::fs::create_dir_all(base.join("in [2]")).expect("writable");
    std::fs::write(base.join("in [2]").join("a*b.in"), format!("{HEADER}{ROW}")).expect("writable");
    std::fs::write(base.join("in [2]").join("axb.in"), format!("{HEADER}{ROW}")).expect("writable");
    for (path, expected) in [("in [2]", 2), ("in [2]/a*b.in", 1), ("in*/*.in", 2), ("in [[]2]/a[*]b.in", 1)] {
        let settings = serde_json::json!({ "path": path });
        let news = drain(&mut connector(&base, &settings), &mut Cursor::new());
        assert_eq!(news.len(), expected, "{path}");
    }
}

/// Every row of the real data becomes an event, and equal rows equal ids.
#[test]
fn the_retail_data_maps_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/retail");
    if !folder.is_dir() {
        eprintln!("skipped: no ../shared/data");
        return;
    }
    let changes = serde_json::json!({ "path": "*.csv", "map": {
        "native_id": { "column": "StockCode" }, "order_id": { "column": "InvoiceNo" }, "units": { "column": "Quantity" },
        "unit_price": { "column": "UnitPrice", "currency": "GBP" }, "observed_at": { "column": "InvoiceDate" }
    }});
    let records = drain(&mut connector(&folder, &changes), &mut Cursor::new());
    let ids = records.iter().filter_map(|record| match record {
        Mapped::Event(event, _) => Some(event.compute_id()),
        Mapped::Rejected(_) => None,
    });
    let ids: Vec<_> = ids.collect();
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!((records.len(), ids.len(), distinct.len()), (42_481, 42_481, 41_981));
}
