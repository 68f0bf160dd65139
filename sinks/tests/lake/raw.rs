//! Records as they came, whatever is in them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, ArrayRef};
use iceberg::spec::DataFile;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use skuflow_runtime::broker::{Broker as _, Commit, Record};
use skuflow_sinks::lake::{TABLES, look};

use super::world::{Home as _, SMALL, broker, land, path_of, table_files, wait};

#[test]
fn a_raw_table_has_what_nobody_can_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().canonicalize().expect("there").join("lake");
    let table = TABLES.iter().find(|table| table.full_name == "raw.offers").expect("there is one");
    let broker = broker(3);
    let mut producer = broker.producer("stranger").expect("open");
    let headers: &[_] = &[("a", b"\xff".as_slice())];
    let poison = Record { key: Some(b"\x00k"), value: Some(b"no event"), headers };
    producer.send(&table.topic.into(), Some(0), &poison).expect("exists");
    producer.send(&table.topic.into(), Some(0), &Record::default()).expect("exists");
    producer.commit(Commit::default()).expect("no faults");
    assert_eq!(land(&broker, &folder, table, SMALL, None).records(), 5);
    let (_, files) = table_files(&folder, table).expect("made");
    let folders = files.iter().map(|file| path_of(file.file_path()).strip_prefix(&folder).map(Path::to_owned));
    let folders: Vec<_> = folders.map(|path| path.expect("within").parent().expect("a folder").to_owned()).collect();
    // `NOW` is 2026-09-21T14:13:20Z.
    let hour = |source: &str| format!("raw/data_type=offers/source={source}/year=2026/month=09/day=21/hour=14").into();
    assert_eq!(
        BTreeSet::from_iter(folders),
        BTreeSet::<PathBuf>::from([hour("__HIVE_DEFAULT_PARTITION__"), hour("shop")])
    );
    let seen = wait(look(&folder.place())).expect("readable");
    let parts: BTreeSet<_> = seen.iter().flat_map(|look| &look.files).map(|file| file.part.as_str()).collect();
    assert_eq!(parts, BTreeSet::from(["source=null/hour=2026-09-21-14", "source=shop/hour=2026-09-21-14"]));
    let cells = unread(&files);
    assert_eq!(
        cells,
        [
            (Some(b"\x00k".to_vec()), Some(b"no event".to_vec()), Some(r#"[{"name":"a","hex":"ff"}]"#.to_owned())),
            (None, None, None),
        ]
    );
}

/// Key, value and headers of a row.
type Cells = (Option<Vec<u8>>, Option<Vec<u8>>, Option<String>);

/// The rows without an event.
fn unread(files: &[DataFile]) -> Vec<Cells> {
    let mut cells = Vec::new();
    for file in files.iter().filter(|file| file.file_path().contains("__HIVE")) {
        let open = std::fs::File::open(path_of(file.file_path())).expect("there");
        for batch in ParquetRecordBatchReaderBuilder::try_new(open).expect("whole").build().expect("readable") {
            let batch = batch.expect("readable");
            let column = |name: &str| batch.column_by_name(name).expect("there").clone();
            let (keys, values, headers) = (column("key"), column("value"), column("headers"));
            let bytes = |array: &ArrayRef, row: usize| {
                array.is_valid(row).then(|| array.as_binary::<i64>().value(row).to_vec())
            };
            cells.extend((0..batch.num_rows()).map(|row| {
                let text = headers.is_valid(row).then(|| headers.as_string::<i32>().value(row).to_owned());
                (bytes(&keys, row), bytes(&values, row), text)
            }));
        }
    }
    cells
}
