//! The commands of the README work as they stand there, with the binary that the tests built.

mod common;

use common::Project;

const README: &str = include_str!("../README.md");

/// Lines of the shell blocks.
fn commands() -> impl Iterator<Item = &'static str> {
    README.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).flat_map(str::lines)
}

#[test]
fn its_commands_work_and_print_what_it_shows() {
    let project = Project::sample();
    let mut tried = 0;
    for command in commands().filter(|command| command.contains("sample.toml") || command.starts_with("skuflow schema"))
    {
        let words =
            command.replace("cargo run --release -- ", "skuflow ").replace(" --config examples/sample.toml", "");
        let words = words.replace('\'', "");
        let mut arguments: Vec<&str> = words.split(' ').skip(1).collect();
        if let Some(at) = arguments.iter().position(|word| *word == "--filter") {
            let filter: Vec<&str> = arguments.drain(at + 1..).collect();
            let filter = Box::leak(filter.join(" ").into_boxed_str()); // for the length of this test
            arguments.push(filter);
        }
        let output = project.command(&arguments);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !shown.is_empty(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        if command.contains("run --once") {
            for line in shown.lines().filter(|line| !line.contains("done in")) {
                let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                assert!(
                    README.lines().any(|written| words(written) == words(line)),
                    "the README does not show: {line}"
                );
            }
        }
        tried += 1;
    }
    assert!(tried >= 9, "{tried} commands were found");
    assert!(commands().any(|command| command == "cargo test"), "the second command");
}

#[test]
fn the_starter_config_is_fine() {
    let home = tempfile::tempdir().expect("a temporary directory");
    let skuflow = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_skuflow"))
            .args(arguments)
            .current_dir(home.path())
            .output()
            .expect("starts")
    };
    assert!(skuflow(&["init"]).status.success());
    assert!(!skuflow(&["init"]).status.success(), "an existing file is not overwritten");
    assert!(skuflow(&["check"]).status.success());
    let empty = skuflow(&["run", "--once"]);
    assert!(String::from_utf8_lossy(&empty.stderr).contains("no file matches"));
    std::fs::create_dir(home.path().join("orders")).expect("new");
    std::fs::write(
        home.path().join("orders/1.csv"),
        "order,line,sku,quantity,price,time\n1,1,A,2,3.50,2026-01-01 10:00:00\n",
    )
    .expect("writable");
    let summary = skuflow(&["run", "--once", "--format", "json"]);
    assert!(String::from_utf8_lossy(&summary.stdout).contains("\"accepted\":1"), "{summary:?}");
}

#[test]
fn every_relative_link_leads_somewhere() {
    for link in README.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}
