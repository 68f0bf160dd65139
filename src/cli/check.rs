//! Commands that only look: `check`, `check --connect`, `test`, `plan`.

use std::process::ExitCode;

use serde_json::{Value, json};
use skuflow_processors::alerts::{Rule, Tried};

use super::{Arguments, EXIT_DATA, EXIT_UNAVAILABLE, Failure, Format, ask_or_open, load, output, usage};
use crate::config::{self, StepConfig};
use crate::inspect::{Plan, Request, connect, plan, tables};
use crate::run::threads;

/// Checks the config; starts nothing.
pub(super) fn check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = load(arguments)?;
    let config = &loaded.config;
    if arguments.format == Format::Json {
        let text = std::fs::read_to_string(&loaded.path).unwrap_or_default();
        output::json(&config::to_json(&loaded.warnings, &loaded.path.display().to_string(), &text));
    } else {
        let counts =
            [(config.connector.len(), "connector"), (config.stage.len(), "stage"), (config.sink.len(), "sink")];
        let counts = counts.map(|(count, name)| format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        output::text(&format!("{} is fine: {}\n", loaded.path.display(), counts.join(", ")));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a code is about.
pub(super) fn explain(code: &str) -> Result<(), Failure> {
    let known = config::CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(code));
    let (code, about) = known.ok_or_else(|| usage(&format!("there is no code `{code}`")))?;
    output::text(&format!("{code}: {about}\n"));
    Ok(())
}

/// Checks the config, and whether a run would find what it needs.
pub(super) fn check_connections(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let rows = connect(&load(arguments)?);
    output::rows(&rows, arguments.format);
    let all = rows.iter().all(|row| row["ok"] == true);
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(EXIT_UNAVAILABLE) })
}

/// Tries the cases beside the rules.
pub(super) fn test_rules(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = load(arguments)?;
    let steps = loaded.config.stage.iter().flat_map(|stage| &stage.steps);
    let rules = steps.filter_map(|step| if let StepConfig::Alerts(alerts) = step { Some(&alerts.read) } else { None });
    let rows: Vec<Value> = rules.flat_map(|rules| rules.iter()).flat_map(cases).collect();
    output::rows(&rows, arguments.format);
    let failed = rows.iter().any(|row| row["ok"] == false);
    Ok(if failed { ExitCode::from(EXIT_DATA) } else { ExitCode::SUCCESS })
}

/// A row for each case of a rule, or one that says that there is none.
fn cases(rule: &Rule) -> Vec<Value> {
    let row =
        |case: Value, ok: Value, result: String| json!({ "rule": rule.id(), "case": case, "ok": ok, "result": result });
    let tried = rule.test().enumerate().map(|(at, tried)| row((at + 1).into(), tried.is_ok().into(), came(&tried)));
    let rows: Vec<Value> = tried.collect();
    if rows.is_empty() { vec![row(Value::Null, Value::Null, "no case is written beside it".into())] } else { rows }
}

fn came(tried: &Tried) -> String {
    match tried.truth {
        Some(true) => format!("alert: {}", tried.message),
        Some(false) => "no alert".into(),
        None => format!("no alert: unknown, without {}", tried.nulls.join(", ")),
    }
}

/// Shows what a run would do.
pub(super) fn show_plan(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = load(arguments)?;
    let asked = |request| ask_or_open(&loaded, request).map(Option::unwrap_or_default);
    let (topics, offsets) = (asked(&Request::Topics)?, asked(&Request::Offsets)?);
    let Plan { stations, topics } = plan(&loaded, threads(&loaded.config), &topics, &offsets);
    if arguments.format == Format::Json {
        output::json(&json!({ "stations": stations, "topics": topics, "tables": tables(&loaded) }));
        return Ok(());
    }
    let stations: Vec<Value> = stations.iter().flat_map(one_line_per_topic).collect();
    output::rows(&stations, Format::Text);
    output::text("\n");
    output::rows(&topics, Format::Text);
    let changed: Vec<Value> = tables(&loaded)
        .into_iter()
        .filter(|row| row["version"].is_null() || row["version"] != row["will_be"])
        .collect();
    if !changed.is_empty() {
        output::text("\n");
        output::rows(&changed, Format::Text);
    }
    Ok(())
}

/// A station's row, its lists written downwards.
fn one_line_per_topic(station: &Value) -> Vec<Value> {
    let list = |field: &str| station[field].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = list("reads").len().max(list("writes").len()).max(1);
    let blank = Value::from("");
    let line = |at: usize| {
        let once = |field: &str| if at == 0 { station[field].clone() } else { blank.clone() };
        json!({
            "station": once("station"), "threads": once("threads"),
            "reads": list("reads").get(at).unwrap_or(&blank), "writes": list("writes").get(at).unwrap_or(&blank),
            "start": once("start"),
        })
    };
    (0..lines).map(line).collect()
}
