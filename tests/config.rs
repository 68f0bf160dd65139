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
    for example in ["sample.toml", "retail.toml", "grocery.toml"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let text = std::fs::read_to_string(folder.join(example)).expect("there");
        let warnings = parse(&text, &folder, &variable).expect("fine").1;
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

#[test]
fn what_is_wrong_with_a_rule_is_said_without_the_values_of_variables() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let rule = |when: &str| {
        format!("[[rule]]\nid = \"a\"\nwhen = \"{when}\"\nseverity = \"info\"\nmessage = \"${{SECRET:-x}}\"\n")
    };
    let config = include_str!("config/rule_names.toml").replace("tests/config/rules/rule_names.toml", "*.toml");
    let secret = |name: &str| (name == "SECRET").then(|| "hidden_treasure".to_owned());
    let said = |when: &str| {
        std::fs::write(folder.path().join("rules.toml"), rule(when)).expect("writable");
        let problems = parse(&config, folder.path(), &secret).err().unwrap_or_default();
        render(&problems, "file", &config, false)
    };
    assert_eq!(said("features.price_gap > 1.0"), "0 errors and 0 warnings\n");
    assert!(said("features.${SECRET} > 1.0").contains("there is no `${SECRET}` in `features`"));
    for when in ["features.${SECRET} > 1.0", "features.x${SECRET} > 1.0", "${SECRET} ${SECRET}", "'${SECRET}'"] {
        let said = said(when);
        assert!(said.contains("1 error") && !said.contains("hidden"), "{said}");
    }
}

/// Each place takes a value that cannot stand there, in one way or another.
#[test]
fn what_is_wrong_with_the_value_of_a_variable_is_said_without_it() {
    for (place, value, said) in [
        ("name = \"sample\"", "Hidden Treasure", "`${SECRET}` is no name"),
        ("name = \"sample\"", "Hi!", "`${SECRET}` is no name"),
        ("customer = \"tea-shop\"", "Hidden Treasure", "customer `${SECRET}` must be"),
        ("window = \"7d\"", "Hidden Treasure", "`${SECRET}` does not start with a whole number"),
        ("window = \"7d\"", "77777777", "`${SECRET}` needs one of the units"),
        ("format = \"csv\"", "Hidden Treasure", "`${SECRET}` is not known here"),
        ("delimiter = \";\"", "Hidden Treasure", "expected a character"),
        ("time_zone = \"Europe/Berlin\"", "Hidden\nTreasure", "`${SECRET}` is not a known time zone"),
        ("when = 'item.shop == \"ours\"'", "Hidden Treasure ((", "cannot be used here"),
        ("\"listings.v1\"]\nsteps", "Hidden.Treasure", "there is no topic `${SECRET}`"),
        ("name = \"orders\"", "eu-orders", "the name `${SECRET}` is taken"),
        (
            "url = \"sqlite:${SAMPLE_DATA:-data/sample}/serving.db\"",
            "Hidden Treasure",
            "`pg://${SECRET}@db` is no URL of SQLite",
        ),
    ] {
        let field = place.split_once('=').map_or("", |(field, _)| field);
        let written = if field.trim() == "url" { "pg://${SECRET}@db" } else { "${SECRET}" };
        let with = match field {
            "" => "\"${SECRET}\"]\nsteps".to_owned(),
            field => format!("{field}= \"{written}\""),
        };
        let text = sample().replacen(place, &with, 1);
        assert_ne!(text, sample(), "{place}");
        let secret = |name: &str| (name == "SECRET").then(|| value.to_owned());
        let problems = parse(&text, Path::new("."), &secret).expect_err(place);
        let shown = render(&problems, "file", &text, false);
        assert!(shown.contains(said), "{place}: {said} in\n{shown}");
        for piece in [value, "Hidden", "Treasure", "77777"] {
            let plain = if value == "eu-orders" { "\u{0}" } else { piece };
            assert!(!shown.contains(plain), "{place}: {piece} in\n{shown}");
        }
    }
}
