//! `skuflow demo`.

use std::path::Path;
use std::process::ExitCode;

use super::{Arguments, EXIT_DATA, EXIT_USAGE, Failure, Format, load_from, output, run_through};
use crate::demo::{Market, judge, make};
use crate::run::{Only, open_broker};

pub(super) fn demo(arguments: &Arguments, folder: &Path, market: Market) -> Result<ExitCode, Failure> {
    make(folder, market).map_err(|reason| Failure::new(EXIT_USAGE, &reason))?;
    let config = folder.join("pipelines.toml");
    output::note(&format!("made {} and rules/market.toml; running it\n", config.display()));
    let summary = run_through(load_from(&config, arguments.format)?, true, &Only::default())?;
    let loaded = load_from(&config, arguments.format)?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(EXIT_DATA, &error.to_string());
    let broker = open_broker(&loaded).map_err(|error| failed(&error))?;
    let outcome = judge(&loaded, &broker).map_err(|error| failed(&error))?;
    match arguments.format {
        Format::Json => {
            let mut json = summary.to_json();
            if let (Some(all), serde_json::Value::Object(more)) = (json.as_object_mut(), outcome.to_json()) {
                all.extend(more);
            }
            output::json(&json);
        }
        Format::Text => {
            output::text(&summary.to_text());
            output::text(&outcome.to_text());
            output::text(&format!(
                "\nnext:\n  cd {}\n  skuflow tap alerts.v1 -n 3\n  skuflow dlq list\n  sqlite3 data/serving.db \
                 \"select product, price_index, competitor_count_active from product_features limit 5\"\n",
                folder.display()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}
