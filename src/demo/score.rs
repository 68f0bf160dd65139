//! Alerts held against the truth.

use std::collections::BTreeMap;

use skuflow_ingest::simulator::Crossing;
use skuflow_schemas::{Alert, Text};

/// How far apart in event time an alert and its crossing may be, in microseconds: half an hour.
const TOLERANCE: u64 = 1_800_000_000;

/// How well alerts tell the truth.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Score {
    /// Alerts given.
    pub alerts: u64,
    /// Alerts at a crossing.
    pub right: u64,
    /// Crossings of which an alert was due: all but those within the cooldown of the one before.
    pub due: u64,
    /// Those of them with an alert.
    pub found: u64,
    /// Incidents that were planted and made an alert due.
    pub planted: u64,
    /// Those of them with an alert.
    pub matched: u64,
    /// By rule: due, found, alerts, right.
    pub by_rule: BTreeMap<String, [u64; 4]>,
}

impl Score {
    /// The share of the alerts that are right; 1 where there are none.
    pub fn precision(&self) -> f64 {
        share(self.right, self.alerts)
    }

    /// The share of the crossings that were found; 1 where there are none.
    pub fn recall(&self) -> f64 {
        share(self.found, self.due)
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// What an alert and a crossing have to agree on.
type Matter = (String, Text, Option<Text>);

/// Holds `alerts` against `truth`: each alert counts for one crossing of its rule, product and seller at most, and each
/// crossing for one alert. An alert at a crossing within the cooldown is right where it is worse, so it is not wrong.
pub fn score(truth: &[Crossing], alerts: &[Alert]) -> Score {
    let mut matters: BTreeMap<Matter, (Vec<&Crossing>, Vec<i64>)> = BTreeMap::new();
    for crossing in truth {
        let matter = (crossing.rule.id().to_owned(), crossing.product.clone(), crossing.seller.clone());
        matters.entry(matter).or_default().0.push(crossing);
    }
    for alert in alerts {
        let matter = (alert.rule.to_string(), alert.product.clone(), alert.seller.clone());
        matters.entry(matter).or_default().1.push(alert.envelope.observed_at.micros());
    }
    let mut score = Score::default();
    for ((rule, _, _), (mut crossings, mut times)) in matters {
        crossings.sort_by_key(|crossing| crossing.at);
        times.sort_unstable();
        let of_rule = score.by_rule.entry(rule).or_default();
        let mut next = 0;
        for crossing in crossings {
            let at = crossing.at.micros();
            while times.get(next).is_some_and(|time| *time < at && time.abs_diff(at) > TOLERANCE) {
                next += 1;
            }
            let found = u64::from(times.get(next).is_some_and(|time| time.abs_diff(at) <= TOLERANCE));
            next += found as usize;
            of_rule[3] += found;
            if !crossing.silenced {
                of_rule[0] += 1;
                of_rule[1] += found;
                score.planted += u64::from(crossing.planted);
                score.matched += u64::from(crossing.planted) * found;
            }
        }
        of_rule[2] += times.len() as u64;
    }
    for [due, found, alerts, right] in score.by_rule.values() {
        score.due += due;
        score.found += found;
        score.alerts += alerts;
        score.right += right;
    }
    score
}
