//! `skuflow demo`: a project in a new folder, a simulated market through every station, and how well the alerts tell what
//! happened in it.

mod score;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Value, json};
use skuflow_ingest::simulator::{Settings, truth};
use skuflow_runtime::broker::{Broker, BrokerError};
use skuflow_schemas::{Alert, Decoder, Event};

pub use score::{Score, score};

use crate::config::Loaded;
use crate::names::Names;
use crate::printable::{printable, thousands};
use crate::records;

const CONFIG: &str = include_str!("pipelines.toml");
const RULES: &str = include_str!("../../rules/market.toml");

/// Alerts that are shown.
const LATEST_SHOWN: usize = 4;

/// Which market.
#[derive(Clone, Copy, Debug)]
pub struct Market {
    /// Which of all markets of this size.
    pub seed: u64,
    /// Products in it.
    pub products: u32,
    /// Days of event time.
    pub days: u32,
}

/// Makes the project in `folder`, which is new or empty.
///
/// # Errors
/// Where there is something already, or it cannot be written.
pub fn make(folder: &Path, market: Market) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    std::fs::create_dir_all(folder.join("rules")).map_err(failed)?;
    let there = std::fs::read_dir(folder).map_err(failed)?.flatten().find(|entry| entry.file_name() != "rules");
    if let Some(entry) = there {
        let name = entry.file_name();
        return Err(format!(
            "{} holds {} already; name a new folder, like `skuflow demo another`",
            folder.display(),
            name.to_string_lossy()
        ));
    }
    let config = CONFIG
        .replace("SEED", &market.seed.to_string())
        .replace("PRODUCTS", &market.products.to_string())
        .replace("DAYS", &market.days.to_string());
    std::fs::write(folder.join("rules").join("market.toml"), RULES).map_err(failed)?;
    std::fs::write(folder.join("pipelines.toml"), config).map_err(failed)
}

/// What came of a run of the demo.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The latest alert of each of a few rules.
    pub latest: Vec<Alert>,
    /// Vectors of figures.
    pub features: u64,
    /// How well the alerts tell the truth.
    pub score: Score,
}

/// Reads what was published, and holds it against what happened.
///
/// # Errors
/// Where the topics cannot be read.
pub fn judge(loaded: &Loaded, broker: &dyn Broker) -> Result<Outcome, BrokerError> {
    let names = Names(&loaded.config);
    let markets = loaded.config.connector.iter().filter_map(|connector| connector.simulator.as_ref());
    let happened: Vec<_> = markets.flat_map(|market: &Settings| truth(market)).collect();
    let (mut features, mut alerts) = (0, Vec::new());
    for topic in broker.topics()? {
        if topic.name == names.topic("features.v1") {
            features = records::count(broker, &topic)?;
        }
        if topic.name == names.topic("alerts.v1") {
            records::each(broker, &topic, None, &mut |_, record| {
                if let Ok(Event::Alert(alert)) = Decoder.decode(record.value.unwrap_or_default()) {
                    alerts.push(*alert);
                }
                ControlFlow::Continue(())
            })?;
        }
    }
    let score = score(&happened, &alerts);
    Ok(Outcome { features, score, latest: latest(alerts) })
}

/// The latest alert of each rule, of those the latest.
fn latest(mut alerts: Vec<Alert>) -> Vec<Alert> {
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.envelope.observed_at));
    let mut rules = BTreeSet::new();
    alerts.retain(|alert| rules.len() < LATEST_SHOWN && rules.insert(alert.rule.clone()));
    alerts
}

impl Outcome {
    /// The fields that it adds to those of a run.
    pub fn to_json(&self) -> Value {
        let rules: serde_json::Map<String, Value> = self
            .score
            .by_rule
            .iter()
            .map(|(rule, [due, found, alerts, right])| {
                (rule.clone(), json!({ "due": due, "found": found, "alerts": alerts, "right": right }))
            })
            .collect();
        json!({
            "features": self.features,
            "alerts": self.score.alerts,
            "alerts_planted": self.score.planted,
            "alerts_matched": self.score.matched,
            "precision": self.score.precision(),
            "recall": self.score.recall(),
            "rules": rules,
        })
    }

    /// As lines for people.
    pub fn to_text(&self) -> String {
        let score = &self.score;
        let mut text = String::from("\n  alerts against what happened in the market\n");
        let mut line = |name: &str, counts: [&str; 4]| {
            let [due, found, alerts, right] = counts;
            text.push_str(&format!("    {name:<28}{due:>9}{found:>9}{alerts:>9}{right:>9}\n"));
        };
        line("rule", ["due", "found", "alerts", "right"]);
        for (rule, counts) in &score.by_rule {
            line(rule, counts.map(thousands).each_ref().map(String::as_str));
        }
        let all = [score.due, score.found, score.alerts, score.right].map(thousands);
        line("all", all.each_ref().map(String::as_str));
        let recall = format!("found of due     {:>7.1} %  (recall)", score.recall() * 100.0);
        let precision = format!("right of alerts  {:>7.1} %  (precision)", score.precision() * 100.0);
        text.push_str(&format!(
            "\n  due: how often a rule comes true in the market's own clean series; right: alerts at such a time\n\
             \x20   {recall}\n    {precision}\n    incidents found {:>6} of {} that were planted; {} vectors of figures were made on the way\n",
            thousands(score.matched), thousands(score.planted), thousands(self.features)
        ));
        text.push_str("\n  among the latest alerts\n");
        for alert in &self.latest {
            let at = alert.envelope.observed_at.to_string();
            let minute = at.get(..16).unwrap_or(&at).replace('T', " ");
            let (severity, product) = (alert.severity.name(), &alert.product);
            text.push_str(&format!("    {minute}  {severity:<8}  {product}: {}\n", printable(&alert.message)));
        }
        text
    }
}
