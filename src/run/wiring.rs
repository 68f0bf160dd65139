//! From settings to stations: one `match` per kind.

use std::collections::HashMap;
use std::sync::Arc;

use skuflow_ingest::file::FileConnector;
use skuflow_ingest::simulator::Simulator;
use skuflow_ingest::{Connector, Intake, Publisher};
use skuflow_processors::{alerts, catalog, dedup, features, route, validate};
use skuflow_runtime::broker::Member;
use skuflow_runtime::clock::Clock;
use skuflow_runtime::stage::{Control, InputSpec, StageSettings, StageSpec, Step, Tally, Worker, step};
use skuflow_schemas::topic;
use skuflow_sinks::batcher::Cut;
use skuflow_sinks::consume::{Consume, Form, Progress};
use skuflow_sinks::lake::{Lake, Table, Upkeep};
use skuflow_sinks::serving::Serving;

use super::first_pass::{Behind, FirstPass, InTurn, feeds_tables, is_table, table_sources};
use super::stations::{Counts, Station};
use super::upkeep::{Seen, Tending, Work};
use super::{Only, OpenError, Opened, Pipeline, Store, complete};
use crate::config::{Config, ConnectorConfig, Loaded, SinkConfig, StageConfig, StepConfig};
use crate::names::{CONNECTOR, Names, QUALITY, SINK, dead_letters, late};

/// Makes the topics and the stations.
pub(super) fn wire(
    loaded: Arc<Loaded>,
    broker: Opened,
    control: Arc<Control>,
    only: &Only,
) -> Result<Pipeline, OpenError> {
    let config = &loaded.config;
    let names = Names(config);
    broker.prepare(names)?;
    let mut pipeline = Pipeline {
        broker,
        control,
        connectors: Vec::new(),
        workers: Vec::new(),
        sinks: Vec::new(),
        writers: Arc::default(),
        stations: Vec::new(),
        tended: Vec::new(),
        http: config.http.as_ref().map(|http| super::http::bind(http.listen)).transpose()?,
        loaded: loaded.clone(),
    };
    let first_pass = Arc::new(first_pass(&pipeline, names, only));
    for connector in config.connector.iter().filter(|connector| only.has("connector", &connector.name)) {
        add_connector(&mut pipeline, connector, names, first_pass.clone())?;
    }
    for stage in config.stage.iter().filter(|stage| only.has("stage", &stage.name)) {
        add_stage(&mut pipeline, stage, names);
    }
    for sink in config.sink.iter().filter(|sink| only.has("sink", &sink.name)) {
        add_sink(&mut pipeline, sink, names)?;
    }
    pipeline.writers.complete_unwritten(names.all_topics(), &pipeline.control);
    Ok(pipeline)
}

/// Who feeds tables, and which stages stand between them and those who join with the tables.
fn first_pass(pipeline: &Pipeline, names: Names<'_>, only: &Only) -> FirstPass {
    let config = names.0;
    let sources = table_sources(config);
    let running = config.connector.iter().filter(|connector| only.has("connector", &connector.name));
    let feeding = running.filter(|connector| feeds_tables(connector, &sources));
    // With `--once`, who joins waits for the whole table and for the end of everything else.
    let must_be_read = |topic: &str| sources.contains(topic) || (is_table(topic) && !pipeline.control.is_once());
    // What only reads on the way to a table, to make something else of it, is not waited for: it may wait for the others.
    let makes_tables =
        |stage: &StageConfig| stage.to.iter().any(|topic| is_table(topic) || sources.contains(topic.as_str()));
    let must_be_read =
        |stage: &StageConfig, topic: &str| must_be_read(topic) && (makes_tables(stage) || is_table(topic));
    let running = config.stage.iter().filter(|stage| only.has("stage", &stage.name));
    let behind = running.map(|stage| {
        let reads = stage.from.iter().filter(|topic| must_be_read(stage, topic)).map(|topic| names.topic(topic));
        let reads = reads.collect();
        let writes = names.topics(&stage.to).into_iter().collect();
        Behind { group: names.stage_group(stage), reads, writes, ends: None, is_there: false }
    });
    FirstPass::new(
        pipeline.broker.shared(),
        feeding.map(|connector| connector.name.clone()).collect(),
        behind.collect(),
    )
}

fn add_connector(
    pipeline: &mut Pipeline,
    settings: &ConnectorConfig,
    names: Names<'_>,
    first_pass: Arc<FirstPass>,
) -> Result<(), OpenError> {
    let connector = connector(settings, &pipeline.loaded)?;
    let topics: HashMap<_, _> =
        settings.to.iter().filter_map(|name| Some((topic(name)?.family, names.topic(name)))).collect();
    let intake = Arc::new(Intake::default());
    let publisher = Publisher {
        name: settings.name.clone(),
        transactional_id: format!("{}-{CONNECTOR}-{}", names.0.name, settings.name),
        dead_letters: dead_letters(&settings.name),
        quality: names.topic(QUALITY),
        broker: pipeline.broker.shared(),
        clock: Clock::System,
        control: pipeline.control.clone(),
        intake: intake.clone(),
        topics,
    };
    let written = publisher.topics.values().cloned().chain([publisher.dead_letters.clone(), publisher.quality.clone()]);
    pipeline.writers.add(&complete::connector(&settings.name), 1, written);
    let in_turn = InTurn { name: settings.name.clone(), connector, first_pass };
    pipeline.connectors.push((publisher, Box::new(in_turn)));
    pipeline.stations.push(Station {
        name: format!("connector:{}", settings.name),
        counts: Counts::Connector(intake),
        group: String::new(),
        reads: Vec::new(),
        writes: settings.to.iter().map(|topic| names.topic(topic).to_string()).collect(),
    });
    Ok(())
}

/// The connector of a block, by its kind.
pub(crate) fn connector(settings: &ConnectorConfig, loaded: &Loaded) -> Result<Box<dyn Connector>, OpenError> {
    match (&settings.file, &settings.simulator) {
        (Some(file), _) => {
            let made = FileConnector::new(&settings.name, &settings.customer, &loaded.base, file.clone());
            Ok(Box::new(made.map_err(|error| OpenError::Data(error.to_string()))?))
        }
        (None, Some(simulator)) => {
            let made = Simulator::new(&settings.name, &settings.customer, simulator);
            Ok(Box::new(made.map_err(|error| OpenError::Data(error.to_string()))?))
        }
        (None, None) => Err(OpenError::Data(format!("connector `{}` has no kind", settings.name))),
    }
}

fn add_stage(pipeline: &mut Pipeline, settings: &StageConfig, names: Names<'_>) {
    let config = names.0;
    let inputs: Vec<InputSpec> = settings
        .from
        .iter()
        .filter_map(|name| Some(InputSpec { topic: names.topic(name), family: topic(name)?.family }))
        .collect();
    let outputs: Vec<(String, Arc<str>)> = settings.to.iter().map(|name| (name.clone(), names.topic(name))).collect();
    let written: Vec<Arc<str>> = outputs
        .iter()
        .map(|(_, topic)| topic.clone())
        .chain(inputs.iter().flat_map(|input| [dead_letters(&input.topic), late(&input.topic)]))
        .chain([names.topic(QUALITY)])
        .collect();
    let spec = Arc::new(StageSpec {
        name: settings.name.clone(),
        group: names.stage_group(settings),
        inputs,
        steps: settings.steps.iter().map(step_factory).collect(),
        outputs,
        quality_topic: names.topic(QUALITY),
        settings: StageSettings {
            commit_interval: config.runtime.commit_interval.into(),
            cache_bytes: usize::try_from(config.runtime.cache_bytes.0).unwrap_or(usize::MAX),
            idle_max: config.runtime.idle_max.into(),
            ..StageSettings::default()
        },
    });
    let tally = Arc::new(Tally::default());
    let threads = threads(config);
    let worker = names.worker();
    pipeline.writers.add(&complete::stage(&settings.name), threads as usize, written);
    for index in 0..threads {
        let id = format!("{}-{}-{worker}-{index}", config.name, settings.name);
        tally.seat(index); // so that a worker that does not begin is missed
        pipeline.workers.push(Worker {
            spec: spec.clone(),
            broker: pipeline.broker.shared(),
            member: Member { id, index, count: threads },
            control: pipeline.control.clone(),
            tally: tally.clone(),
        });
    }
    pipeline.stations.push(Station {
        name: format!("stage:{}", settings.name),
        counts: Counts::Stage(tally),
        group: names.stage_group(settings),
        writes: settings.to.iter().map(|topic| names.topic(topic).to_string()).collect(),
        reads: settings.from.iter().map(|topic| names.topic(topic).to_string()).collect(),
    });
}

/// Threads of a stage: a processor each, and a partition at least.
pub(crate) fn threads(config: &Config) -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    config.runtime.threads.unwrap_or(processors).clamp(1, config.topics.partitions)
}

fn step_factory(settings: &StepConfig) -> Arc<dyn Step> {
    match settings.clone() {
        StepConfig::Validate(config) => step(validate::Validate::new(config)),
        StepConfig::Dedup(config) => step(dedup::Dedup::new(config)),
        StepConfig::Catalog(config) => step(catalog::Catalog::new(config)),
        StepConfig::Route(config) => step(route::Route::new(config)),
        StepConfig::Features(config) => step(features::Features::new(config)),
        StepConfig::Alerts(config) => step(alerts::Alerts::new(config.read)),
    }
}

fn add_sink(pipeline: &mut Pipeline, settings: &SinkConfig, names: Names<'_>) -> Result<(), OpenError> {
    let mut add = |name: &str, topics: Vec<Arc<str>>, (form, cut): (Form, Cut), store: Store| {
        let progress = Arc::new(Progress::default());
        pipeline.stations.push(Station {
            name: format!("sink:{name}"),
            counts: Counts::Sink(progress.clone()),
            group: Names::sink_group(settings),
            reads: topics.iter().map(ToString::to_string).collect(),
            writes: Vec::new(),
        });
        let consume = Consume {
            name: settings.name.clone(),
            topics,
            transactional_id: format!("{}-{SINK}-{name}", names.0.name),
            broker: pipeline.broker.shared(),
            form,
            cut,
            control: pipeline.control.clone(),
            progress,
        };
        pipeline.sinks.push((consume, store));
    };
    if let Some(serving) = &settings.serving {
        let place = serving.place(&pipeline.loaded.base).map_err(OpenError::Data)?;
        let cut = Cut { age_max: serving.batch_age.into(), ..Cut::default() };
        let upkeep = serving.upkeep(&place);
        add(
            &settings.name,
            names.topics(&settings.from),
            (Form::Event, cut),
            Store::Serving(Box::new(Serving::new(&settings.name, place))),
        );
        if let Some(upkeep) = upkeep.filter(|_| !pipeline.control.is_once()) {
            let work = Work::Serving(upkeep, format!("sink:{}", settings.name));
            pipeline.tended.push(Tending { work, every: serving.upkeep_every.into() });
        }
    } else if let Some(lake) = &settings.lake {
        // A table has its topic to itself, and positions of its own: each is a loop of its own.
        let place = pipeline.loaded.lake_place(lake).map_err(OpenError::Refused)?;
        let mut tables = Vec::new();
        for (table, topic) in settings.from.iter().filter_map(|name| Some((Table::of_topic(name)?, names.topic(name))))
        {
            let store = Lake::new(&settings.name, place.clone(), table, Clock::System);
            let form = if table.is_raw() { Form::Raw } else { Form::Event };
            let name = format!("{}/{}", settings.name, table.short_name());
            add(&name, vec![topic], (form, lake.cut()), Store::Lake(Box::new(store)));
            tables.push((format!("sink:{name}"), table));
        }
        let every = lake.upkeep.every.0.filter(|_| !pipeline.control.is_once());
        for ((station, table), every) in tables.into_iter().zip(every.into_iter().cycle()) {
            let upkeep = Upkeep::new(&settings.name, place.clone(), table, lake.upkeep.clone(), Clock::System);
            let tended = Seen { station, tended: Arc::default() };
            pipeline.tended.push(Tending { work: Work::Lake(Box::new(upkeep), tended), every: every.into() });
        }
    } else {
        return Err(OpenError::Data(format!("sink `{}` has no kind", settings.name)));
    }
    Ok(())
}
