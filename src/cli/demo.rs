//! `skuflow demo`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use super::{Arguments, EXIT_DATA, EXIT_USAGE, Failure, Format, load_from, output, run_through};
use crate::demo::{Market, judge, make};
use crate::run::{Only, Summary, open_broker};

pub(super) fn demo(arguments: &Arguments, folder: &Path, market: Market) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    make(folder, market).map_err(|reason| Failure::new(EXIT_USAGE, &reason))?;
    let config = folder.join("pipelines.toml");
    output::note(&format!(
        "made {} and rules/market.toml; running a market of {} products over {} days\n",
        config.display(),
        market.products,
        market.days
    ));
    let summary = run_through(load_from(&config, arguments.format)?, true, &Only::default())?;
    let progress = output::Progress::new(true);
    progress.step(None, "holding the alerts against what happened in the market");
    let loaded = load_from(&config, arguments.format)?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(EXIT_DATA, &error.to_string());
    let broker = open_broker(&loaded).map_err(|error| failed(&error))?;
    let outcome = judge(&loaded, &*broker).map_err(|error| failed(&error))?;
    drop(progress);
    match arguments.format {
        Format::Json => {
            let mut json = summary.to_json();
            if let (Some(all), serde_json::Value::Object(more)) = (json.as_object_mut(), outcome.to_json()) {
                all.extend(more);
            }
            output::json(&json);
        }
        Format::Text => {
            output::text(&(summary.to_text() + &outcome.to_text() + &Summary::done(started.elapsed())));
            output::text(&next(folder));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What to try next, as it can be pasted.
fn next(folder: &Path) -> String {
    let (folder, skuflow) = (word(&folder.display().to_string()), word(&program()));
    format!(
        "\nnext:\n  cd {folder}\n  {skuflow} tap alerts.v1 -n 3\n  {skuflow} lake sql\n  sqlite3 data/serving.db \"select \
         product, price_index, competitor_count_active from product_features limit 5\"\n"
    )
}

/// A word of a shell that stands for `text`.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:,@%".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// How this program is called from another folder: by its name, where the shell finds it.
fn program() -> String {
    let called = std::env::args_os().next().unwrap_or_default();
    let is_name = Path::new(&called).components().count() == 1;
    match std::env::current_exe() {
        Ok(path) if !is_name => path.display().to_string(),
        _ => "skuflow".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted() {
        assert_eq!(word("/home/you/skuflow-demo"), "/home/you/skuflow-demo");
        assert_eq!(word("my shop's"), r"'my shop'\''s'");
        assert!(next(Path::new("tea & cake")).contains("\n  cd 'tea & cake'\n"));
    }
}
