//! From settings to stations: one `match` per kind.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use skuflow_ingest::file::FileConnector;
use skuflow_ingest::{Connector, Intake, Publisher};
use skuflow_processors::{catalog, dedup, route, validate};
use skuflow_runtime::broker::embedded::Embedded;
use skuflow_runtime::broker::{Broker, Member};
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::{Control, InputSpec, StageSettings, StageSpec, Step, Tally, Worker, step};
use skuflow_schemas::{DEAD_LETTER_PREFIX, LATE_PREFIX, topic};
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::consume::{Consume, Progress};
use skuflow_sinks::serving::Serving;

use super::complete;
use super::{OpenError, Pipeline};
use crate::config::{Config, ConnectorConfig, Loaded, SinkConfig, StageConfig, StepConfig};

const QUALITY: &str = "quality.v1";

/// Names of topics on the broker.
struct Names<'a> {
    prefix: &'a str,
}

impl Names<'_> {
    fn of(&self, logical: &str) -> Arc<str> {
        format!("{}{logical}", self.prefix).into()
    }

    fn dead_letters(origin: &str) -> Arc<str> {
        format!("{DEAD_LETTER_PREFIX}{origin}").into()
    }

    fn late(origin: &str) -> Arc<str> {
        format!("{LATE_PREFIX}{origin}").into()
    }

    /// The name on the broker of a topic in a sink's `from`: the prefix stands behind `dlq.` and `late.`.
    fn of_any(&self, written: &str, connectors: &[ConnectorConfig]) -> Arc<str> {
        for special in [DEAD_LETTER_PREFIX, LATE_PREFIX] {
            if let Some(origin) = written.strip_prefix(special) {
                let is_connector = connectors.iter().any(|connector| connector.name == origin);
                let prefix = if is_connector { "" } else { self.prefix };
                return format!("{special}{prefix}{origin}").into();
            }
        }
        self.of(written)
    }
}

/// Makes the topics and the stations.
pub(super) fn wire(loaded: Arc<Loaded>, broker: Embedded, control: Arc<Control>) -> Result<Pipeline, OpenError> {
    let config = &loaded.config;
    let names = Names { prefix: &config.topics.prefix };
    for topic in all_topics(config, &names) {
        let made = broker.ensure_topic(&topic, config.topics.partitions);
        made.map_err(|error| OpenError::Data(error.to_string()))?;
    }
    let mut pipeline = Pipeline {
        broker,
        control,
        connectors: Vec::new(),
        workers: Vec::new(),
        sinks: Vec::new(),
        writers: Arc::default(),
        intakes: Vec::new(),
        tallies: Vec::new(),
        progress: Vec::new(),
        loaded: loaded.clone(),
    };
    for connector in &config.connector {
        add_connector(&mut pipeline, connector, &names)?;
    }
    for stage in &config.stage {
        add_stage(&mut pipeline, stage, &names);
    }
    for sink in &config.sink {
        add_sink(&mut pipeline, sink, &names)?;
    }
    pipeline.writers.complete_unwritten(all_topics(config, &names), &pipeline.control);
    Ok(pipeline)
}

fn all_topics(config: &Config, names: &Names<'_>) -> BTreeSet<Arc<str>> {
    let mut topics = BTreeSet::from([names.of(QUALITY)]);
    for connector in &config.connector {
        topics.extend(connector.to.iter().map(|topic| names.of(topic)));
        topics.insert(Names::dead_letters(&connector.name));
    }
    for stage in &config.stage {
        topics.extend(stage.to.iter().map(|topic| names.of(topic)));
        for input in stage.from.iter().map(|topic| names.of(topic)) {
            topics.extend([Names::dead_letters(&input), Names::late(&input), input]);
        }
    }
    for sink in &config.sink {
        topics.extend(sink.from.iter().map(|topic| names.of_any(topic, &config.connector)));
    }
    topics
}

fn add_connector(pipeline: &mut Pipeline, settings: &ConnectorConfig, names: &Names<'_>) -> Result<(), OpenError> {
    let config = &pipeline.loaded.config;
    let connector = connector(settings, &pipeline.loaded)?;
    let topics: HashMap<_, _> =
        settings.to.iter().filter_map(|name| Some((topic(name)?.family, names.of(name)))).collect();
    let intake = Arc::new(Intake::default());
    let publisher = Publisher {
        name: settings.name.clone(),
        transactional_id: format!("{}-connector-{}", config.name, settings.name),
        dead_letters: Names::dead_letters(&settings.name),
        quality: names.of(QUALITY),
        broker: Arc::new(pipeline.broker.clone()),
        clock: Clock::System,
        control: pipeline.control.clone(),
        intake: intake.clone(),
        topics,
    };
    let written = publisher.topics.values().cloned().chain([publisher.dead_letters.clone(), publisher.quality.clone()]);
    pipeline.writers.add(&complete::connector(&settings.name), 1, written);
    pipeline.connectors.push((publisher, connector));
    pipeline.intakes.push(intake);
    Ok(())
}

/// The connector of a block, by its kind.
pub(crate) fn connector(settings: &ConnectorConfig, loaded: &Loaded) -> Result<Box<dyn Connector>, OpenError> {
    match &settings.file {
        Some(file) => {
            let made = FileConnector::new(&settings.name, &settings.customer, &loaded.base, file.clone());
            Ok(Box::new(made.map_err(|error| OpenError::Data(error.to_string()))?))
        }
        None => Err(OpenError::Data(format!("connector `{}` has no kind", settings.name))),
    }
}

fn add_stage(pipeline: &mut Pipeline, settings: &StageConfig, names: &Names<'_>) {
    let config = &pipeline.loaded.config;
    let inputs: Vec<InputSpec> = settings
        .from
        .iter()
        .filter_map(|name| Some(InputSpec { topic: names.of(name), family: topic(name)?.family }))
        .collect();
    let outputs: Vec<(String, Arc<str>)> = settings.to.iter().map(|name| (name.clone(), names.of(name))).collect();
    let written: Vec<Arc<str>> = outputs
        .iter()
        .map(|(_, topic)| topic.clone())
        .chain(inputs.iter().flat_map(|input| [Names::dead_letters(&input.topic), Names::late(&input.topic)]))
        .chain([names.of(QUALITY)])
        .collect();
    let spec = Arc::new(StageSpec {
        name: settings.name.clone(),
        group: format!("{}-{}", config.name, settings.name),
        inputs,
        steps: settings.steps.iter().map(step_factory).collect(),
        outputs,
        quality_topic: names.of(QUALITY),
        settings: StageSettings {
            commit_interval: config.runtime.commit_interval.into(),
            cache_bytes: usize::try_from(config.runtime.cache_bytes.0).unwrap_or(usize::MAX),
            idle_max: config.runtime.idle_max.into(),
        },
    });
    let tally = Arc::new(Tally::default());
    let threads = threads(config);
    pipeline.writers.add(&complete::stage(&settings.name), threads as usize, written);
    for index in 0..threads {
        let id = format!("{}-{}-local-{index}", config.name, settings.name);
        pipeline.workers.push(Worker {
            spec: spec.clone(),
            broker: Arc::new(pipeline.broker.clone()),
            member: Member { id, index, count: threads },
            control: pipeline.control.clone(),
            tally: tally.clone(),
        });
    }
    pipeline.tallies.push(tally);
}

/// Threads of a stage: a processor each, and a partition at least.
fn threads(config: &Config) -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let wanted = if config.runtime.threads == 0 { processors } else { config.runtime.threads };
    wanted.clamp(1, config.topics.partitions)
}

fn step_factory(settings: &StepConfig) -> Arc<dyn Step> {
    match settings.clone() {
        StepConfig::Validate(config) => step(validate::Validate::new(config)),
        StepConfig::Dedup(config) => step(dedup::Dedup::new(config)),
        StepConfig::Catalog(config) => step(catalog::Catalog::new(config)),
        StepConfig::Route(config) => step(route::Route::new(config)),
    }
}

fn add_sink(pipeline: &mut Pipeline, settings: &SinkConfig, names: &Names<'_>) -> Result<(), OpenError> {
    let Some(serving) = &settings.serving else {
        return Err(OpenError::Data(format!("sink `{}` has no kind", settings.name)));
    };
    let config = &pipeline.loaded.config;
    let progress = Arc::new(Progress::default());
    let consume = Consume {
        name: settings.name.clone(),
        topics: settings.from.iter().map(|topic| names.of_any(topic, &config.connector)).collect(),
        broker: Arc::new(pipeline.broker.clone()),
        cut: Cut { age_max: serving.batch_age.into(), ..Cut::default() },
        control: pipeline.control.clone(),
        progress: progress.clone(),
    };
    let database = serving.database(&pipeline.loaded.base).map_err(OpenError::Data)?;
    pipeline.sinks.push((consume, Serving::new(&settings.name, &database)));
    pipeline.progress.push(progress);
    Ok(())
}
