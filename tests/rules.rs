//! The rules on the page about rules are fine, and their cases come out as they say.

mod common;

use common::Project;
use serde_json::Value;

const PAGE: &str = include_str!("../docs/rules.md");
const FLOWS: &str = include_str!("../src/demo/pipelines.toml");

/// What stands in the page's blocks of a kind.
fn blocks(kind: &str) -> String {
    let start = format!("```{kind}\n");
    let blocks = PAGE.split(&start).skip(1).filter_map(|block| block.split("```").next());
    blocks.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_rules_on_the_page_work() {
    let project = Project::sample();
    project.write("mine.toml", &blocks("toml"));
    let stage = blocks("text").replace("rules/*.toml", "mine.toml");
    project.edit("[[sink]]", &format!("{stage}\n[[sink]]"));
    assert!(project.command(&["check"]).status.success());
    let tried = project.json(&["test", "--format", "json"]);
    let tried = tried.as_array().expect("rows");
    assert_eq!(tried.len(), 6, "every rule has cases: {tried:?}");
    assert!(tried.iter().all(|case: &Value| case["ok"] == true), "{tried:?}");
    let said = "alert: 0.75 dearer than the cheapest of 3: 10.25";
    assert!(tried.iter().any(|case| case["result"] == said), "{tried:?}");

    project.write("mine.toml", &blocks("toml").replace("price_gap > 0.5", "price_gap > 0.9"));
    assert_eq!(project.command(&["test"]).status.code(), Some(65), "a case notices another threshold");
}

#[test]
fn the_page_names_what_there_is() {
    for link in PAGE.split("](../").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
    let stage = blocks("text");
    let steps = stage.lines().find(|line| line.starts_with("from = ")).expect("a stage");
    assert!(FLOWS.contains(steps), "the demo has the same stage");
}
