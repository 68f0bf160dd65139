//! Settings of the simulator.

use serde::{Deserialize, Serialize};
use skuflow_schemas::Timestamp;

use crate::ConfigProblem;
use crate::limits::{SIMULATED_DAYS_MAX, SIMULATED_PRODUCTS_MAX, SIMULATED_SELLERS_MAX, SIMULATED_SELLERS_MIN};

/// Settings of connector `simulator`. All but `rate_per_s` say which market it is: another value, other events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which of all markets of this size. Default 7.
    pub seed: u64,
    /// Products, 1 to 100 000. Default 1000. Each gives some 60 records a day and takes some 6 KiB of memory. More: as many
    /// more records in the same days, and a restart takes longer.
    pub products: u32,
    /// Competing sellers, 7 to 10 000; each product meets 7 to 9 of them. Default 20. More: each is seen on fewer products.
    pub sellers: u32,
    /// Days of event time, 1 to 3650. Default 60. Rules look back up to 28 days: with less, demand is hardly judged. More:
    /// a restart far behind takes longer (a seventh of a microsecond for each record before it).
    pub days: u32,
    /// When the first day begins: midnight UTC, as RFC 3339. Default 2025-01-01T00:00:00Z. Events that would be more than
    /// a day ahead of the clock are refused by `validate`, so keep `start` + `days` in the past.
    pub start: String,
    /// Records per second of wall time; 0 = as fast as they are taken. Default 0. The first catalog entries are not paced.
    /// More: fresher and dearer; what is made does not change.
    pub rate_per_s: u64,
    /// How often a day each offer is looked at, whether it changed or not: a divisor of 24. Default 4. A change is always
    /// seen when it happens; more only adds records that say nothing new.
    pub looks_per_day: u32,
    /// Days of a product in which one incident is planted; 0 = none, else 5 or more. Default 10. Less: more incidents, and
    /// fewer quiet days in which a false alert would show.
    pub incident_days: u32,
    /// What goes wrong on the way.
    pub noise: Noise,
}

/// What goes wrong on the way from the market to the records, as shares of observations from 0 to 0.5. None of it hides a
/// change: more makes more work for the steps behind, not other results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Noise {
    /// Delivered again within 6 hours, byte for byte. Default 0.01.
    pub duplicates: f64,
    /// Offers observed again within 2 minutes, with nothing new. Default 0.01.
    pub repeats: f64,
    /// Followed within 3 minutes by a record that is wrong: a price of zero or below, a hundredfold price, a currency that
    /// there is not, a time in a hundred years, an empty id. Default 0.005.
    pub dirty: f64,
    /// Of looks that found nothing new: delivered 1 to 12 days late, two in five more than 7 days. Default 0.005.
    pub late: f64,
    /// Delivered out of order: changes by up to 3 minutes (behind those of other offers, never behind a later one of the
    /// same), sales by up to 3 hours within their day, looks that found nothing new by up to 6 hours. Default 0.02.
    pub reordered: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 7,
            products: 1000,
            sellers: 20,
            days: 60,
            start: "2025-01-01T00:00:00Z".into(),
            rate_per_s: 0,
            looks_per_day: 4,
            incident_days: 10,
            noise: Noise::default(),
        }
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self { duplicates: 0.01, repeats: 0.01, dirty: 0.005, late: 0.005, reordered: 0.02 }
    }
}

impl Settings {
    /// Everything that cannot be, with its place.
    pub fn validate(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        let mut add = |path: &[&str], message: String, help: &str| {
            let path = path.iter().map(|part| (*part).to_owned()).collect();
            let help = Some(help.to_owned());
            problems.push(ConfigProblem { path, message, help, written: String::new(), known: Vec::new() });
        };
        let counts = [
            ("products", self.products, 1, SIMULATED_PRODUCTS_MAX),
            ("sellers", self.sellers, SIMULATED_SELLERS_MIN, SIMULATED_SELLERS_MAX),
            ("days", self.days, 1, SIMULATED_DAYS_MAX),
        ];
        for (field, count, least, most) in counts {
            if !(least..=most).contains(&count) {
                add(&[field], format!("a market has {least} to {most} {field}, not {count}"), "write a number between");
            }
        }
        if self.first_instant().is_none() {
            let help = "write it like \"2025-01-01T00:00:00Z\"";
            add(&["start"], format!("`{}` is no midnight in UTC, or none between 1990 and 2200", self.start), help);
        }
        if self.looks_per_day == 0 || 24 % self.looks_per_day != 0 {
            let message = format!("looks cannot be spread evenly, {} a day", self.looks_per_day);
            add(&["looks_per_day"], message, "write 1, 2, 3, 4, 6, 8, 12 or 24");
        }
        if (1..5).contains(&self.incident_days) {
            let message = format!("incidents take up to 4 days, so one in {} does not fit", self.incident_days);
            add(&["incident_days"], message, "write 5 or more, or 0 for none");
        }
        let Noise { duplicates, repeats, dirty, late, reordered } = self.noise;
        let shares = [
            ("duplicates", duplicates),
            ("repeats", repeats),
            ("dirty", dirty),
            ("late", late),
            ("reordered", reordered),
        ];
        for (field, share) in shares {
            if !(0.0..=0.5).contains(&share) {
                let message = format!("{share} is no share of observations between 0 and 0.5");
                add(&["noise", field], message, "write a fraction like 0.01");
            }
        }
        problems
    }

    /// The first instant of the market; `None` where `start` is none.
    pub(super) fn first_instant(&self) -> Option<Timestamp> {
        let start: Timestamp = self.start.parse().ok()?;
        let days = start.day().0;
        (start == start.day().start() && (7_305..84_006).contains(&days)).then_some(start)
    }

    /// Hours of event time.
    pub(super) fn hours(&self) -> i64 {
        i64::from(self.days) * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_found_with_its_place() {
        assert_eq!(Settings::default().validate(), []);
        let settings: Settings = serde_json::from_value(serde_json::json!({
            "products": 0, "sellers": 6, "days": 4000, "start": "2025-01-01T10:00:00Z", "looks_per_day": 5,
            "incident_days": 3, "noise": { "dirty": 0.6, "late": -0.1 }
        }))
        .expect("well formed");
        let paths: Vec<String> = settings.validate().iter().map(|problem| problem.path.join(".")).collect();
        let expected =
            ["products", "sellers", "days", "start", "looks_per_day", "incident_days", "noise.dirty", "noise.late"];
        assert_eq!(paths, expected);
        assert!(serde_json::from_str::<Settings>(r#"{ "sed": 7 }"#).is_err());
    }
}
