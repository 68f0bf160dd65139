//! The rules of the house that a compiler does not check.

use std::path::{Path, PathBuf};

/// Left may be named by right, never the other way round.
const ORDER: &[&str] = &["schemas", "processors", "runtime", "ingest", "sinks"];
/// Neither of these may name the other.
const SIBLINGS: [&str; 2] = ["ingest", "sinks"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn manifest(name: &str) -> String {
    std::fs::read_to_string(root().join(name).join("Cargo.toml")).expect("a crate")
}

fn dependencies(manifest: &str) -> &str {
    let from = manifest.find("[dependencies]").expect("dependencies");
    let rest = &manifest[from + 1..];
    &rest[..rest.find("\n[").unwrap_or(rest.len())]
}

#[test]
fn a_crate_names_only_crates_to_its_left() {
    for (at, name) in ORDER.iter().enumerate() {
        let manifest = manifest(name);
        for (other_at, other) in ORDER.iter().enumerate() {
            let named = dependencies(&manifest).contains(&format!("skuflow-{other}"));
            let siblings = SIBLINGS.contains(name) && SIBLINGS.contains(other);
            assert!(!named || (other_at < at && !siblings), "{name} names {other}");
        }
    }
}

#[test]
fn the_pure_crates_link_nothing_that_does_io() {
    for name in ["schemas", "processors"] {
        let manifest = manifest(name);
        for banned in ["tokio", "sqlx", "rdkafka", "object_store", "rustix", "tracing"] {
            assert!(!dependencies(&manifest).contains(banned), "{name} names {banned}");
        }
    }
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn names_that_say_nothing_and_tests_that_do_not_run_are_absent() {
    let mut files = Vec::new();
    for folder in ORDER.iter().chain(&["src", "xtask", "tests"]) {
        sources(&root().join(folder), &mut files);
    }
    assert!(files.len() > 50, "the sources were found");
    for path in files {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        assert!(!["utils", "util", "helpers", "misc"].contains(&name.as_str()), "{}", path.display());
        if path.ends_with("tests/architecture.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let may_call_c = path.ends_with("runtime/src/broker/kafka/native.rs");
        assert!(may_call_c || !text.contains("unsafe_code"), "unsafe code in {}", path.display());
        for banned in ["#[ignore", "todo!(", "unimplemented!(", "thread::sleep"] {
            assert!(!text.contains(banned), "{banned} in {}", path.display());
        }
    }
}
