//! Bad configs, and what is said of them: `tests/config/<name>.toml` and `.txt`. `UPDATE_EXPECT=1` refreshes the texts.

use std::path::Path;

use skuflow::config::{Severity, parse, render};

fn variable(_: &str) -> Option<String> {
    None
}

fn said(text: &str, file: &str) -> String {
    match parse(text, Path::new("."), &variable) {
        Ok((_, warnings)) => render(&warnings, file, text, false),
        Err(problems) => render(&problems, file, text, false),
    }
}

#[test]
fn every_bad_config_is_explained() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    let mut names: Vec<_> = std::fs::read_dir(&folder).expect("readable").flatten().map(|entry| entry.path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    names.sort();
    assert!(names.len() >= 20, "{} cases", names.len());
    for path in names {
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let file = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let found = said(&text, file);
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&expected, &found).expect("writable");
        }
        assert_eq!(found, std::fs::read_to_string(&expected).unwrap_or_default(), "{file}");
        assert!(found.contains("SKU-"), "{file}: something is said");
    }
}

fn sample() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample.toml")).expect("there")
}

#[test]
fn the_examples_are_fine() {
    for example in ["sample.toml", "retail.toml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(example);
        let text = std::fs::read_to_string(path).expect("there");
        let warnings = parse(&text, Path::new("."), &variable).expect("fine").1;
        assert_eq!(warnings, [], "{example}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    let text = sample();
    for length in (0..text.len()).step_by(61).filter(|at| text.is_char_boundary(*at)) {
        said(&text[..length], "prefix");
    }
    let mut random = 5_u64;
    for round in 0..300 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..3 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (random >> 33) as usize % bytes.len();
            bytes[at] = (random >> 56) as u8;
        }
        said(&String::from_utf8_lossy(&bytes), &round.to_string());
    }
}

#[test]
fn a_value_from_the_environment_is_text_and_nothing_else() {
    let text = sample().replace("name = \"sample\"", "name = \"${NAME}\"");
    let inject = |name: &str| (name == "NAME").then(|| "x\"\npartitions = 9 #".to_owned());
    let problems = parse(&text, Path::new("."), &inject).expect_err("no name");
    assert!(
        problems.iter().all(|problem| problem.severity == Severity::Error && problem.code == "SKU-021"),
        "{problems:?}"
    );
}
