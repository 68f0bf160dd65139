use std::path::{Path, PathBuf};

use expect_test::expect_file;
use skuflow_schemas::Timestamp;
use skuflow_sinks::lake::{Access, Address, ColumnSeen, FileSeen, SnapshotSeen, TABLES};

use super::*;

const BUCKET: &str = "s3://my-shop/lake/v1";

fn place(access: Access) -> Place {
    let bucket = BucketPlace::parse(BUCKET).expect("a path").expect("in a bucket");
    Place { root: Root::Bucket(bucket, access), catalog: Address::beside(Path::new("/data")) }
}

/// A table with these columns and a file in each of the folders.
fn seen(place: &Place, name: &str, columns: &[(&str, &str)], folders: &[&str]) -> Seen {
    let table = TABLES.iter().find(|table| table.full_name == name).expect("one of ours");
    let folder = PathBuf::from(format!("{BUCKET}/{}", table.folder));
    let column =
        |(name, kind): &(&str, &str)| ColumnSeen { name: (*name).into(), kind: (*kind).into(), is_required: true };
    let at: Timestamp = "2026-03-01T10:00:00Z".parse().expect("a time");
    let file = |within: &&str| FileSeen {
        path: folder.join(within).join("1-0.parquet"),
        rows: 1,
        bytes: 1,
        part: String::new(),
        event_time: Some((at, at)),
    };
    let snapshot = SnapshotSeen { id: 1, at, rows: 1, commit_id: None, from: Value::Null, to: Value::Null };
    let look = Look {
        table,
        metadata_file: folder.join("metadata/00001-x.metadata.json"),
        columns: columns.iter().map(column).collect(),
        divided_by: Vec::new(),
        snapshots: vec![snapshot],
        files: folders.iter().map(file).collect(),
        folder,
    };
    Seen { place: place.clone(), look, sink: None }
}

fn offers(place: &Place, folders: &[&str]) -> Seen {
    let columns = [
        ("event_id", "string"),
        ("observed_at", "timestamptz"),
        ("price", "decimal(18, 6)"),
        ("price_minor", "long"),
        ("of_others", "list<string>"),
        ("_offset", "long"),
    ];
    seen(place, "processed.offers", &columns, folders)
}

#[test]
fn glue_is_told_the_tables_and_athena_reads_them_or_their_files() {
    let place = place(Access { region: Some("eu-central-1".into()), ..Access::default() });
    let hours = [
        "source=__HIVE_DEFAULT_PARTITION__/year=2026/month=03/day=01/hour=10",
        "source=api/year=2025/month=12/day=31/hour=23",
    ];
    let raw = [("value", "binary"), ("_ingested_at", "timestamptz")];
    let seen = [
        offers(&place, &["customer=b%2E1/date=2026-03-01", "customer=a/date=2026-02-27"]),
        seen(&place, "raw.offers", &raw, &hours),
    ];
    expect_file!["../../../tests/lake/glue.sh"].assert_eq(&glue(&seen));
    expect_file!["../../../tests/lake/athena.sql"].assert_eq(&athena(&seen));
}

#[test]
fn athena_has_to_be_asked_for_one_of_many_customers() {
    let folders: Vec<String> =
        (0..=VALUES_MAX).map(|number| format!("customer=c{number:02}/date=2026-03-01")).collect();
    let folders: Vec<&str> = folders.iter().map(String::as_str).collect();
    let place = place(Access::default());
    let text = athena(&[offers(&place, &folders)]);
    assert!(text.contains("'projection.folder_customer.type' = 'injected'"), "{text}");
    assert!(text.contains("processed_offers_files WHERE folder_customer = 'c00');\n"), "{text}");
    let text = athena(&[offers(&place, &folders[1..])]);
    assert!(text.contains("'projection.folder_customer.type' = 'enum'") && !text.contains("WHERE folder_"), "{text}");
}

#[test]
fn files_of_others_are_left_to_the_tables() {
    let place = place(Access::default());
    for folders in [&["data"][..], &["customer=a/date=2026-03-01", "date=2026-03-01"]] {
        let text = athena(&[offers(&place, folders)]);
        assert!(text.contains("FROM my_shop_lake_v1.processed_offers;") && !text.contains("EXTERNAL"), "{text}");
    }
}

#[test]
fn what_athena_cannot_read_is_said() {
    let at = |endpoint: &str| place(Access { endpoint: Some(endpoint.into()), ..Access::default() });
    let folders = ["customer=a/date=2026-03-01"];
    let said = |place: &Place| [glue(&[offers(place, &folders)]), athena(&[offers(place, &folders)])];
    let reason = "Athena reads buckets of Amazon S3; the lake in s3://my-shop/lake/v1 is at https://s3.example.com\n";
    assert_eq!(said(&at("https://s3.example.com")), [format!("# {reason}"), format!("-- {reason}")]);
    assert!(said(&at("https://s3.eu-central-1.amazonaws.com"))[1].contains("EXTERNAL"));
    let folder = Place::folder(Path::new("/data/lake"));
    let reason = "Athena reads buckets of Amazon S3; the lake in /data/lake is in a folder\n";
    assert_eq!(said(&folder), [format!("# {reason}"), format!("-- {reason}")]);
}
