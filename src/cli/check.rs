//! Commands that only look: `check`, `check --connect`, `plan`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Arguments, EXIT_UNAVAILABLE, Failure, Format, ask_or_open, load, output, usage};
use crate::config;
use crate::inspect::{Plan, Request, connect, plan};
use crate::run::threads;

/// Checks the config; starts nothing.
pub(super) fn check(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let loaded = load(arguments)?;
    let config = &loaded.config;
    if arguments.format == Format::Json {
        let text = std::fs::read_to_string(&loaded.path).unwrap_or_default();
        output::json(&config::to_json(&loaded.warnings, &loaded.path.display().to_string(), &text));
    } else {
        output::text(&format!(
            "{} is fine: {} connectors, {} stages, {} sinks\n",
            loaded.path.display(),
            config.connector.len(),
            config.stage.len(),
            config.sink.len()
        ));
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

/// Shows what a run would do.
pub(super) fn show_plan(arguments: &Arguments) -> Result<(), Failure> {
    let loaded = load(arguments)?;
    let asked = |request| ask_or_open(&loaded, request).map(Option::unwrap_or_default);
    let (topics, offsets) = (asked(&Request::Topics)?, asked(&Request::Offsets)?);
    let Plan { stations, topics } = plan(&loaded, threads(&loaded.config), &topics, &offsets);
    if arguments.format == Format::Json {
        output::json(&json!({ "stations": stations, "topics": topics }));
        return Ok(());
    }
    let stations: Vec<Value> = stations.iter().flat_map(one_line_per_topic).collect();
    output::rows(&stations, Format::Text);
    output::text("\n");
    output::rows(&topics, Format::Text);
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
