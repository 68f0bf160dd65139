//! Metrics, and how Prometheus reads them.

use std::fmt::Write as _;

use skuflow_runtime::measure::Distribution;

/// What a metric is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric with all its samples.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Names of the labels; each sample has a value for each.
    pub(super) labels: &'static [&'static str],
    pub(super) about: &'static str,
    samples: Vec<(Vec<String>, Value)>,
}

enum Value {
    Number(f64),
    /// Bounds and counts up to them, how many there are, and what they come to.
    Distribution(Vec<(f64, u64)>, u64, f64),
}

impl Family {
    pub(super) fn new(name: &'static str, kind: Kind, labels: &'static [&'static str], about: &'static str) -> Self {
        Self { name, kind, labels, about, samples: Vec::new() }
    }

    /// Adds a number, if there is one, under these values of the labels.
    pub(super) fn add(&mut self, labels: &[&str], value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.push(labels, Value::Number(value));
        }
    }

    /// Adds a distribution, of whose values `per_unit` make one of its unit.
    pub(super) fn add_distribution(&mut self, labels: &[&str], found: &Distribution, per_unit: f64) {
        let up_to: Vec<_> = found.up_to().into_iter().map(|(bound, count)| (bound as f64 / per_unit, count)).collect();
        // Values may be added meanwhile: a total is never below the count of its last bound.
        let count = found.count().max(up_to.last().map_or(0, |(_, count)| *count));
        self.push(labels, Value::Distribution(up_to, count, found.sum() as f64 / per_unit));
    }

    fn push(&mut self, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), self.labels.len(), "{}", self.name);
        self.samples.push((labels.iter().map(|label| (*label).to_owned()).collect(), value));
    }
}

/// The families as Prometheus reads them.
pub(super) fn text<'a>(families: impl IntoIterator<Item = &'a Family>) -> String {
    let mut out = String::new();
    let line = |name: &str, suffix: &str, labels: &[(&str, &str)], value: f64| {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{name}{suffix}{labels} {value}\n")
    };
    for family in families {
        let name = family.name;
        writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", family.about, family.kind.name()).expect("memory");
        for (values, value) in &family.samples {
            let labels: Vec<_> = family.labels.iter().copied().zip(values.iter().map(String::as_str)).collect();
            match value {
                Value::Number(number) => out.push_str(&line(name, "", &labels, *number)),
                Value::Distribution(up_to, count, sum) => {
                    let bounds = up_to.iter().map(|(bound, count)| (bound.to_string(), *count));
                    for (bound, count) in bounds.chain([("+Inf".to_owned(), *count)]) {
                        let labels = [labels.as_slice(), &[("le", bound.as_str())]].concat();
                        out.push_str(&line(name, "_bucket", &labels, count as f64));
                    }
                    out.push_str(&line(name, "_sum", &labels, *sum));
                    out.push_str(&line(name, "_count", &labels, *count as f64));
                }
            }
        }
    }
    out
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut errors = Family::new("x_errors_total", Kind::Counter, &["station"], "Errors.");
        errors.add(&["a\"b\\c\nd"], 3.0);
        let mut took = Family::new("x_took_seconds", Kind::Histogram, &[], "Time.");
        let found = Distribution::new(&[1_000, 2_500_000]);
        for micros in [500, 1_000_000, 9_000_000] {
            found.add(micros);
        }
        took.add_distribution(&[], &found, 1e6);
        let empty = Family::new("x_ready", Kind::Gauge, &[], "Ready.");
        expect![[r#"
            # HELP x_errors_total Errors.
            # TYPE x_errors_total counter
            x_errors_total{station="a\"b\\c\nd"} 3
            # HELP x_took_seconds Time.
            # TYPE x_took_seconds histogram
            x_took_seconds_bucket{le="0.001"} 1
            x_took_seconds_bucket{le="2.5"} 2
            x_took_seconds_bucket{le="+Inf"} 3
            x_took_seconds_sum 10.0005
            x_took_seconds_count 3
            # HELP x_ready Ready.
            # TYPE x_ready gauge
        "#]]
        .assert_eq(&text(&[errors, took, empty]));
    }
}
