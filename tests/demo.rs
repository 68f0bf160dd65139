//! The demo, as somebody new would run it.

use std::process::Command;

use serde_json::Value;

/// Every crossing of a rule in the market's own clean series, against the alerts that came of its dirty records.
#[test]
fn the_demo_finds_what_happened_in_its_market() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let folder = dir.path().join("market");
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_skuflow")).arg("demo").arg(&folder).args(arguments).output().expect("starts")
    };
    let output = run(&["--products", "40", "--days", "40", "--format", "json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: Value = serde_json::from_slice(&output.stdout).expect("one object");
    let number = |name: &str| said[name].as_f64().unwrap_or_else(|| panic!("{name} in {said}"));
    assert!(number("recall") >= 0.95, "{said}");
    assert!(number("precision") >= 0.9, "{said}");
    assert!(number("alerts_planted") > 30.0 && number("alerts_matched") >= 0.95 * number("alerts_planted"), "{said}");
    assert!(number("features") > number("alerts"), "{said}");
    let gone = number("accepted") + number("unchanged") + number("duplicates") + number("dead_letters");
    assert!((number("read") - gone).abs() < 0.5, "every record has one fate: {said}");

    let again = run(&[]);
    assert_eq!(again.status.code(), Some(64), "a folder that is not empty is left alone");
    assert!(String::from_utf8_lossy(&again.stderr).contains("name a new folder"));
}
