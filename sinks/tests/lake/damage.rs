//! Each planted damage is named.

use std::path::{Path, PathBuf};

use serde_json::Value;
use skuflow_sinks::Sink as _;
use skuflow_sinks::lake::{TABLES, Table};

use super::upkeep::{MUCH_LATER, upkeep};
use super::world::{SMALL, batch, broker, land, path_of, pointer, ready, table_files, wait};
use super::writers::folder;

/// Changes the table's metadata file.
pub fn edit(folder: &Path, table: &Table, change: impl FnOnce(&mut Value)) {
    let location = path_of(&pointer(folder, table).expect("made"));
    let mut metadata: Value = serde_json::from_slice(&std::fs::read(&location).expect("there")).expect("JSON");
    change(&mut metadata);
    std::fs::write(&location, metadata.to_string()).expect("writable");
}

/// The summaries of the snapshots, the first one first.
fn summaries(metadata: &mut Value) -> Vec<&mut Value> {
    let mut snapshots: Vec<&mut Value> = metadata["snapshots"].as_array_mut().expect("a list").iter_mut().collect();
    snapshots.sort_by_key(|snapshot| snapshot["sequence-number"].as_i64());
    snapshots.into_iter().map(|snapshot| &mut snapshot["summary"]).collect()
}

fn file(folder: &Path, number: usize) -> PathBuf {
    let mut files = table_files(folder, &TABLES[0]).expect("made").1;
    files.sort_by(|one, other| (one.record_count(), one.file_path()).cmp(&(other.record_count(), other.file_path())));
    path_of(files[number].file_path())
}

fn manifest_list(folder: &Path) -> PathBuf {
    let (metadata, _) = table_files(folder, &TABLES[0]).expect("made");
    path_of(metadata.current_snapshot().expect("made").manifest_list())
}

fn in_metadata(folder: &Path, ending: &str) -> PathBuf {
    let names = std::fs::read_dir(folder.join("processed/data_type=offers/metadata")).expect("there");
    let mut paths: Vec<PathBuf> = names.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths.into_iter().find(|path| path.display().to_string().ends_with(ending)).expect("there")
}

/// A damage, and what is said of it.
type Damage = (&'static str, fn(&Path), &'static [&'static str]);

const DAMAGES: &[Damage] = &[
    ("a data file is gone", |lake| std::fs::remove_file(file(lake, 0)).expect("there"), &["missing"]),
    (
        "a data file is cut",
        |lake| {
            let file = std::fs::File::options().write(true).open(file(lake, 0)).expect("there");
            file.set_len(100).expect("writable");
        },
        &["size", "file"],
    ),
    (
        "a data file has other rows",
        |lake| {
            let last = table_files(lake, &TABLES[0]).expect("made").1.len() - 1;
            std::fs::copy(file(lake, last), file(lake, 0)).expect("there");
        },
        &["size", "bounds", "rows", "repeated"],
    ),
    (
        "a data file is garbage of the same size",
        |lake| {
            let path = file(lake, 0);
            let size = std::fs::metadata(&path).expect("there").len();
            std::fs::write(path, vec![7; size as usize]).expect("writable");
        },
        &["file"],
    ),
    ("a manifest is gone", |lake| std::fs::remove_file(in_metadata(lake, "-m0.avro")).expect("there"), &["snapshot"]),
    ("a list is garbage", |lake| std::fs::write(manifest_list(lake), "x").expect("writable"), &["snapshot"]),
    (
        "the metadata is garbage",
        |lake| std::fs::write(path_of(&pointer(lake, &TABLES[0]).expect("made")), "{").expect("writable"),
        &["metadata"],
    ),
    (
        "the metadata is gone",
        |lake| std::fs::remove_file(path_of(&pointer(lake, &TABLES[0]).expect("made"))).expect("there"),
        &["metadata"],
    ),
    ("the hint is old", |lake| std::fs::write(in_metadata(lake, "hint.text"), "00001-x").expect("writable"), &["hint"]),
    (
        "the positions are ahead",
        |lake| {
            edit(lake, &TABLES[0], |metadata| {
                let offsets = metadata["properties"]["skuflow.offsets"].as_str().expect("text");
                let mut offsets: Value = serde_json::from_str(offsets).expect("JSON");
                let next = &mut offsets["topics"]["offers.v1"]["next_offsets"]["0"];
                *next = (next.as_u64().expect("a number") + 1).into();
                metadata["properties"]["skuflow.offsets"] = offsets.to_string().into();
            });
        },
        &["positions"],
    ),
    (
        "the positions cannot be read",
        |lake| edit(lake, &TABLES[0], |metadata| metadata["properties"]["skuflow.offsets"] = "{".into()),
        &["positions"],
    ),
    (
        "a snapshot begins behind where the one before it ended",
        |lake| edit(lake, &TABLES[0], |metadata| move_start(metadata, 1)),
        &["range"],
    ),
    (
        "a snapshot begins before where the one before it ended",
        |lake| edit(lake, &TABLES[0], |metadata| move_start(metadata, -1)),
        &["range"],
    ),
    (
        "rows are there twice",
        |lake| {
            let before = std::fs::read_to_string(path_of(&pointer(lake, &TABLES[0]).expect("made"))).expect("text");
            let before: Value = serde_json::from_str(&before).expect("JSON");
            let broker = broker(50);
            // The last landing is forgotten by the positions alone, and made again.
            let offsets = before["properties"]["skuflow.offsets"].as_str().expect("text").to_owned();
            let emptied: Value = serde_json::from_str(&offsets).expect("JSON");
            edit(lake, &TABLES[0], |metadata| {
                let mut offsets = emptied.clone();
                offsets["topics"]["offers.v1"]["next_offsets"].as_object_mut().expect("a map").remove("0");
                metadata["properties"]["skuflow.offsets"] = offsets.to_string().into();
            });
            let mut again = ready(&broker, super::world::lake(lake, &TABLES[0], None));
            wait(again.land(&batch(&broker, &TABLES[0], 0, (None, 5)))).expect("lands");
            edit(lake, &TABLES[0], |metadata| metadata["properties"]["skuflow.offsets"] = offsets.into());
        },
        &["repeated", "range", "positions"],
    ),
    (
        "the totals are wrong",
        |lake| {
            edit(lake, &TABLES[0], |metadata| {
                summaries(metadata).pop().expect("some")["total-records"] = "51".into();
            });
        },
        &["totals"],
    ),
    (
        "a file is there that nobody names",
        |lake| {
            let path = file(lake, 0);
            std::fs::copy(&path, path.with_file_name("stray.parquet")).expect("there");
        },
        &["unreferenced"],
    ),
    (
        "a metadata file is there that nobody names",
        |lake| std::fs::write(in_metadata(lake, "hint.text").with_file_name("00001-x.metadata.json"), "").expect("new"),
        &["unreferenced"],
    ),
    (
        "a commit is on its way and never comes",
        |lake| {
            let entry = r#"{"table":"processed.offers","begun_at":0,"files":[{"path":"file:///x.parquet","rows":1}]}"#;
            std::fs::write(lake.join("pending/00000000-0000-0000-0000-000000000000.json"), entry).expect("new");
        },
        &["ledger"],
    ),
    ("an entry is garbage", |lake| std::fs::write(lake.join("pending/x.json"), "{").expect("new"), &["ledger"]),
];

/// Moves the first begin of the last landing by some records.
fn move_start(metadata: &mut Value, by: i64) {
    for summary in summaries(metadata).into_iter().rev() {
        let from: Value = serde_json::from_str(summary["skuflow.from"].as_str().expect("text")).expect("JSON");
        let mut from = from.as_object().expect("a map").clone();
        if let Some((_, offset)) = from.iter_mut().find(|(_, offset)| offset.is_number()) {
            *offset = (offset.as_i64().expect("a number") + by).into();
            summary["skuflow.from"] = Value::Object(from).to_string().into();
            return;
        }
    }
    panic!("a snapshot that goes on");
}

#[test]
fn each_damage_is_named_and_nothing_is_changed() {
    let broker = broker(50);
    for (damage, plant, expected) in DAMAGES {
        let (_dir, folder) = folder();
        land(&broker, &folder, &TABLES[0], SMALL, None);
        let fsck = || wait(upkeep(&folder, &TABLES[0], MUCH_LATER).fsck()).expect("readable");
        assert_eq!(fsck(), [], "before {damage}");
        plant(&folder);
        let found = fsck();
        for what in *expected {
            assert!(found.iter().any(|difference| difference.what == *what), "{damage}: no `{what}` in {found:#?}");
        }
        let others: Vec<_> = found.iter().filter(|difference| !expected.contains(&difference.what)).collect();
        assert!(others.is_empty() || *damage == "rows are there twice", "{damage}: {others:#?}");
        assert_eq!(fsck(), found, "looking changes nothing");
    }
}
