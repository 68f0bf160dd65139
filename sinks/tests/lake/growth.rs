//! What many commits leave behind stays bounded.

use skuflow_sinks::Sink as _;
use skuflow_sinks::lake::TABLES;
use skuflow_sinks::limits::{METADATA_FILES_KEPT, SNAPSHOTS_KEPT, TIDY_EVERY};

use super::world::{batch, broker, lake, path_of, pointer, ready, records, rows, table_files, wait};

#[test]
fn snapshots_manifests_and_metadata_files_stay_few() {
    const COMMITS: u64 = 140;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("lake");
    let table = &TABLES[2];
    let broker = broker(3 * COMMITS);
    let mut lake = ready(&broker, lake(&folder, table, None));
    for next in 1..=COMMITS {
        let from = (next > 1).then(|| next - 1);
        let landed = wait(lake.land(&batch(&broker, table, 0, (from, next)))).expect("lands");
        assert_eq!(landed.records, 1);
    }
    let (metadata, files) = table_files(&folder, table).expect("made");
    assert_eq!(files.len() as u64, COMMITS);
    assert_eq!(rows(&folder, table), records(&broker, table)[..COMMITS as usize]);
    assert!(metadata.snapshots().len() < SNAPSHOTS_KEPT + TIDY_EVERY as usize, "{}", metadata.snapshots().len());
    let location = path_of(&pointer(&folder, table).expect("made"));
    let names = std::fs::read_dir(location.parent().expect("a folder")).expect("readable").flatten();
    let names = names.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count();
    assert!(names <= METADATA_FILES_KEPT + 1, "{names} metadata files");
    let snapshot = metadata.current_snapshot().expect("there are rows");
    let total = snapshot.summary().additional_properties.get("total-records").cloned();
    assert_eq!(total, Some(COMMITS.to_string()), "totals are carried on");
}
