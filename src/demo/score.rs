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

#[cfg(test)]
mod tests {
    use skuflow_ingest::simulator::{Settings, truth};
    use skuflow_schemas::{Envelope, Timestamp};

    use super::*;

    /// An alert at every crossing of which one is due.
    fn perfect(truth: &[Crossing]) -> Vec<Alert> {
        let due = truth.iter().filter(|crossing| !crossing.silenced);
        let alert = |crossing: &Crossing| Alert {
            envelope: Envelope { observed_at: crossing.at, ..Envelope::default() },
            rule: crossing.rule.id().into(),
            product: crossing.product.clone(),
            seller: crossing.seller.clone(),
            ..Alert::default()
        };
        due.map(alert).collect()
    }

    /// With the controls: alerts of another product, too many of them, too few, or at other times are not right.
    #[test]
    fn alerts_are_right_where_and_when_something_happened() {
        let truth = truth(&Settings { products: 20, days: 30, ..Settings::default() });
        let alerts = perfect(&truth);
        let judged = score(&truth, &alerts);
        assert_eq!((judged.precision(), judged.recall()), (1.0, 1.0));
        assert!(judged.planted > 10 && judged.matched == judged.planted);

        let half = score(&truth, &alerts[..alerts.len() / 2]);
        assert!(half.recall() < 0.6 && half.precision() > 0.99, "{half:?}");
        let twice = score(&truth, &[alerts.clone(), alerts.clone()].concat());
        assert!(twice.recall() > 0.99 && twice.precision() < 0.6, "{twice:?}");

        let mut shuffled = alerts.clone();
        let times: Vec<Timestamp> = alerts.iter().map(|alert| alert.envelope.observed_at).collect();
        for (at, alert) in shuffled.iter_mut().enumerate() {
            alert.envelope.observed_at = times[(at * 7_919 + 13) % times.len()];
        }
        assert!(score(&truth, &shuffled).recall() < 0.5);
        let elsewhere: Vec<Alert> =
            alerts.into_iter().map(|alert| Alert { product: "P-other".into(), ..alert }).collect();
        assert_eq!(score(&truth, &elsewhere).right, 0);
    }
}
