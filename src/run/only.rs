//! `run --only`: some stations of the config, while the others stand still.

use crate::config::{Config, closest};

/// The stations that run, as `kind:name`; all where nothing was asked for.
#[derive(Clone, Debug, Default)]
pub struct Only {
    stations: Option<Vec<String>>,
}

impl Only {
    /// The stations that are asked for, by `kind:name` or by a name that every kind may have.
    ///
    /// # Errors
    /// What no station is called, and what may have been meant.
    pub fn new(asked: &[String], config: &Config) -> Result<Self, String> {
        let known = stations(config);
        let mut found = Vec::new();
        for name in asked {
            let before = found.len();
            found.extend(known.iter().filter(|station| is_called(station, name)).cloned());
            if found.len() == before {
                let names = known.iter().flat_map(|station| [station.as_str(), bare(station)]);
                let meant = closest(name, names).map_or(String::new(), |meant| format!(" did you mean `{meant}`?"));
                return Err(format!("there is no station `{name}`;{meant} there are: {}", known.join(", ")));
            }
        }
        Ok(Self { stations: (!asked.is_empty()).then_some(found) })
    }

    /// Whether the station of this kind and name runs.
    pub(super) fn has(&self, kind: &str, name: &str) -> bool {
        let called = |station: &String| station.split_once(':') == Some((kind, name));
        self.stations.as_ref().is_none_or(|stations| stations.iter().any(called))
    }
}

fn stations(config: &Config) -> Vec<String> {
    let connectors = config.connector.iter().map(|connector| format!("connector:{}", connector.name));
    let stages = config.stage.iter().map(|stage| format!("stage:{}", stage.name));
    let sinks = config.sink.iter().map(|sink| format!("sink:{}", sink.name));
    connectors.chain(stages).chain(sinks).collect()
}

fn bare(station: &str) -> &str {
    station.split_once(':').map_or(station, |(_, name)| name)
}

fn is_called(station: &str, name: &str) -> bool {
    station == name || bare(station) == name
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    #[test]
    fn stations_are_named_with_or_without_their_kind() {
        let (config, _) = parse(include_str!("../../examples/sample.toml"), Path::new("."), &|_| None).expect("fine");
        let only =
            |names: &[&str]| Only::new(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &config);
        let all = only(&[]).expect("everything");
        assert!(all.has("stage", "clean") && all.has("sink", "tables"));
        let both = only(&["catalog"]).expect("known");
        assert!(both.has("stage", "catalog") && both.has("connector", "catalog") && !both.has("sink", "tables"));
        let one = only(&["stage:catalog", "tables"]).expect("known");
        assert!(one.has("stage", "catalog") && !one.has("connector", "catalog") && one.has("sink", "tables"));
        let wrong = only(&["stage:claen"]).expect_err("misspelt");
        assert!(wrong.contains("did you mean `stage:clean`?"), "{wrong}");
        let wrong = only(&["sink:clean"]).expect_err("another kind");
        assert!(wrong.contains("there is no station `sink:clean`"), "{wrong}");
    }
}
