//! What a run of a config would do: its stations, its topics, and what is there already.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::{Config, Loaded};
use crate::names::Names;

/// A plan; nothing is done.
#[derive(Debug)]
pub struct Plan {
    /// Connectors, stages and sinks, in the order of an event's journey.
    pub stations: Vec<Value>,
    /// Topics, those that the config no longer names at the end.
    pub topics: Vec<Value>,
}

/// Plans a run over a broker that holds these `topics` and `offsets`, the rows of the two requests.
pub fn plan(loaded: &Loaded, threads: u32, topics: &[Value], offsets: &[Value]) -> Plan {
    let names = Names(&loaded.config);
    let there: BTreeMap<&str, u64> =
        topics.iter().filter_map(|row| Some((row["topic"].as_str()?, row["partitions"].as_u64()?))).collect();
    let groups: BTreeSet<&str> = offsets.iter().filter_map(|row| row["group"].as_str()).collect();
    Plan { stations: stations(loaded, threads, &groups), topics: topic_rows(&loaded.config, names, &there) }
}

fn stations(loaded: &Loaded, threads: u32, groups: &BTreeSet<&str>) -> Vec<Value> {
    let config = &loaded.config;
    let names = Names(config);
    let start = |group: &str| if groups.contains(group) { "goes on" } else { "from the first record" };
    let connectors = config.connector.iter().map(|connector| {
        let files = connector.file.as_ref().map(|file| loaded.variables.conceal(&file.path));
        let reads =
            files.or_else(|| connector.simulator.as_ref().map(|market| format!("market of seed {}", market.seed)));
        json!({
            "station": format!("connector:{}", connector.name), "threads": 1, "reads": Vec::from_iter(reads),
            "writes": names.topics(&connector.to), "start": "from its cursor",
        })
    });
    let stages = config.stage.iter().map(|stage| {
        json!({
            "station": format!("stage:{}", stage.name), "threads": threads, "reads": names.topics(&stage.from),
            "writes": names.topics(&stage.to), "start": start(&names.stage_group(stage)),
        })
    });
    let sinks = config.sink.iter().map(|sink| {
        let written = sink.serving.as_ref().map(|serving| &serving.url);
        let written = written.or_else(|| sink.lake.as_ref().map(|lake| &lake.path));
        let writes = written.map(|written| loaded.variables.conceal(written));
        json!({
            "station": format!("sink:{}", sink.name), "threads": 1, "reads": names.topics(&sink.from),
            "writes": Vec::from_iter(writes), "start": start(&Names::sink_group(sink)),
        })
    });
    connectors.chain(stages).chain(sinks).collect()
}

fn topic_rows(config: &Config, names: Names<'_>, there: &BTreeMap<&str, u64>) -> Vec<Value> {
    let wanted = u64::from(config.topics.partitions);
    let planned = names.all_topics();
    let rows = planned.iter().map(|topic| {
        let change = match there.get(topic.as_ref()) {
            None => "is made".to_owned(),
            Some(partitions) if *partitions == wanted => "stays".to_owned(),
            Some(partitions) => format!("refused: it has {partitions} partitions, which are fixed"),
        };
        json!({ "topic": topic.as_ref(), "partitions": wanted, "change": change })
    });
    let unnamed = there.iter().filter(|(topic, _)| !planned.iter().any(|known| known.as_ref() == **topic));
    let kept = unnamed.map(
        |(topic, partitions)| json!({ "topic": topic, "partitions": partitions, "change": "not in the config; kept" }),
    );
    rows.chain(kept).collect()
}
