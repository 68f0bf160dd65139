//! What catalogs of others make of our questions; one of the test's own is in `tests/lake/server.rs`.
#![expect(clippy::print_stderr, reason = "a test says what it skips")]

use std::collections::HashMap;

use iceberg::spec::{Operation, Snapshot, SnapshotReference, SnapshotRetention, Summary};

use super::*;
use crate::lake::TABLES;
use crate::lake::catalog::Config;
use crate::lake::schema::created;

/// A change that adds a snapshot; nobody reads its files.
fn snapshot(metadata: &TableMetadata, id: i64) -> Vec<TableUpdate> {
    let snapshot = Snapshot::builder()
        .with_snapshot_id(id)
        .with_parent_snapshot_id(metadata.current_snapshot_id())
        .with_sequence_number(metadata.next_sequence_number())
        .with_timestamp_ms(metadata.last_updated_ms() + 1)
        .with_manifest_list(format!("{}/metadata/snap-{id}.avro", metadata.location()))
        .with_summary(Summary { operation: Operation::Append, additional_properties: HashMap::new() })
        .with_schema_id(metadata.current_schema_id())
        .build();
    let reference = SnapshotReference::new(id, SnapshotRetention::branch(None, None, None));
    let properties = HashMap::from([("skuflow.last-commit".to_owned(), id.to_string())]);
    vec![
        TableUpdate::AddSnapshot { snapshot },
        TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.into(), reference },
        TableUpdate::SetProperties { updates: properties },
    ]
}

/// `SKUFLOW_TEST_REST` holds the settings of a catalog without our tables as JSON:
/// `{"url": "http://127.0.0.1:8181", "warehouse": "s3://lake", "credential": "key:secret"}`.
#[test]
fn a_catalog_of_others_makes_tables_and_swaps_once() {
    let Ok(settings) = std::env::var("SKUFLOW_TEST_REST") else {
        eprintln!("skipped: a REST catalog of others (SKUFLOW_TEST_REST may name one)");
        return;
    };
    let config: Config = serde_json::from_str(&settings).expect("a catalog");
    let Ok(Address::Rest(rest)) = config.address(std::path::Path::new("")) else { panic!("it is no REST catalog") };
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    event_loop.block_on(async {
        let mut catalog = RestCatalog::open(&rest).await.expect("it answers");
        let (table, mut steps) = (&TABLES[0], Steps::default());
        assert!(catalog.load(table).await.expect("it answers").is_none());
        let ours = created(table, "file:///nowhere".into()).expect("a table");
        for _ in 0..2 {
            catalog.create(table, &ours).await.expect("made, or there");
        }
        let load = async || {
            let mut catalog = RestCatalog::open(&rest).await.expect("it answers");
            catalog.load(table).await.expect("it answers").expect("it was made")
        };
        let entry = load().await;
        assert_eq!(entry.metadata.current_schema().as_struct(), ours.current_schema().as_struct());
        assert_eq!(
            entry.metadata.default_partition_spec().fields().len(),
            ours.default_partition_spec().fields().len()
        );
        let (stale, changes) = (load().await, snapshot(&entry.metadata, 11));
        assert_eq!(catalog.swap(table, entry, changes, &mut steps).await.expect("it answers"), Swap::Won);
        let changes = snapshot(&stale.metadata, 12);
        assert_eq!(catalog.swap(table, stale, changes, &mut steps).await.expect("it answers"), Swap::Lost);
        let entry = load().await;
        assert_eq!(entry.metadata.current_snapshot_id(), Some(11));
        assert_eq!(entry.metadata.properties().get("skuflow.last-commit").map(String::as_str), Some("11"));
        let (stale, changes) = (load().await, snapshot(&entry.metadata, 13));
        assert_eq!(catalog.swap(table, entry, changes, &mut steps).await.expect("it answers"), Swap::Won);
        let changes = snapshot(&stale.metadata, 14);
        assert_eq!(catalog.swap(table, stale, changes, &mut steps).await.expect("it answers"), Swap::Lost);
        assert_eq!(load().await.metadata.snapshots().count(), 2);
    });
}
