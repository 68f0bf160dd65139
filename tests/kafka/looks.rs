//! Who looks at a cluster: what is shown is what is there.

use skuflow_runtime::testing::kafka::kafka;

use crate::sample_on;

#[test]
fn the_last_records_of_a_topic_are_as_many_as_are_asked_for() {
    let Some(server) = kafka() else { return };
    let project = sample_on(server, "looks");
    project.run_once();
    for _ in 0..3 {
        project.run_once(); // ends of transactions behind the last records
    }
    let shown = |count: &str| {
        let tapped = project.command(&["tap", "sales.v1", "-n", count]);
        assert!(tapped.status.success(), "{}", String::from_utf8_lossy(&tapped.stderr));
        String::from_utf8_lossy(&tapped.stdout).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let all = shown("1000000");
    assert!(all.len() > 10, "{}", all.len());
    for count in [1, 3, 10] {
        assert_eq!(shown(&count.to_string()), all[all.len() - count..]);
    }
    let behind = project.json(&["freshness", "--format", "json"]);
    for row in behind.as_array().expect("rows") {
        assert_eq!((&row["lag_records"], &row["lag_seconds"]), (&0.into(), &0.0.into()), "{row}");
        assert!(row["age_seconds"].is_number() && row["head"] == row["ours"] && row["head"].is_string(), "{row}");
    }
}
