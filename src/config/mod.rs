//! `pipelines.toml`: read, checked as a whole, nothing started.
//!
//! ```text
//!   text ─▶ tree with spans (interpolated) ─▶ read: serde, all problems ─▶ check: topics, chains, components ─▶ Loaded
//!                                                                          rules: the files of `alerts`, likewise
//! ```

mod check;
mod model;
mod problem;
mod read;
mod rules;
mod tree;
mod variables;

use std::path::{Path, PathBuf};

use skuflow_sinks::lake::{self, CatalogConfig, Place, S3Config};

pub use model::{
    AlertsConfig, BrokerConfig, Config, ConnectorConfig, EmbeddedConfig, HttpConfig, KafkaConfig, RegistryConfig,
    RuntimeConfig, SaslConfig, Secret, SecurityConfig, SinkConfig, StageConfig, StepConfig, TlsConfig, TopicsConfig,
};
pub use problem::{CODES, Problem, Severity, Source, closest, render, to_json};
pub use variables::Variables;

use tree::Parsed;

/// The starter file that `skuflow init` writes: `pipelines.toml` at the root of the repository.
pub const STARTER: &str = include_str!("../../pipelines.toml");

/// A config that can be run.
#[derive(Debug)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// Things that look like mistakes, but may be meant.
    pub warnings: Vec<Problem>,
    /// What came from the environment, and is not to be printed.
    pub variables: Variables,
    /// The file.
    pub path: PathBuf,
    /// The folder that relative paths are relative to.
    pub base: PathBuf,
}

impl Loaded {
    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.base.join(&self.config.data_dir)
    }

    /// Where a lake of the config is.
    ///
    /// # Errors
    /// A secret that cannot be had.
    pub fn lake_place(&self, lake: &lake::Config) -> Result<Place, String> {
        lake.place(&self.base, &|name| std::env::var(name).ok())
    }
}

/// Reads and checks a config file. Starts nothing, makes nothing.
///
/// # Errors
/// Everything that is wrong, in the order of the file, with the file's text to show it in.
pub fn load(path: &Path) -> Result<Loaded, (Vec<Problem>, String)> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let help = "write one with `skuflow init`, or name another with --config";
        (vec![Problem::new("SKU-001", 0..0, format!("cannot read the config: {error}")).help(help)], String::new())
    })?;
    let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match examine(&text, base, &|name| std::env::var(name).ok()) {
        (Ok((config, warnings)), variables) => {
            Ok(Loaded { config, warnings, variables, path: path.into(), base: base.into() })
        }
        (Err(problems), _) => Err((problems, text)),
    }
}

/// Reads and checks the text of a config; `variable` looks up what `${…}` names.
///
/// # Errors
/// Everything that is wrong, in the order of the file.
pub fn parse(text: &str, base: &Path, variable: &dyn Fn(&str) -> Option<String>) -> Examined {
    examine(text, base, variable).0
}

/// A config with its warnings, or everything that is wrong.
pub type Examined = Result<(Config, Vec<Problem>), Vec<Problem>>;

fn examine(text: &str, base: &Path, variable: &dyn Fn(&str) -> Option<String>) -> (Examined, Variables) {
    let Parsed { tree, mut problems, unset, mut variables, filled } = tree::parse(text, variable);
    let Some(mut tree) = tree else { return (Err(problems), variables) };
    check::check_tree(&mut tree, &mut problems);
    let (mut config, whole) = read::read::<Config>(&mut tree, unset, &mut problems);
    if let Some(config) = &mut config {
        check::check(config, &tree, (base, variable), whole, &mut problems);
        let of_buckets =
            config.sink.iter().filter_map(|sink| sink.lake.as_ref()?.s3.as_ref()).flat_map(S3Config::secrets);
        for secret in config.broker.kafka.iter().flat_map(KafkaConfig::secrets).chain(of_buckets) {
            secret.read(base, variable).into_iter().for_each(|secret| variables.keep_out(secret));
        }
        let catalogs = config.sink.iter().filter_map(|sink| sink.lake.as_ref()?.catalog.as_ref());
        catalogs.flat_map(CatalogConfig::secrets).for_each(|secret| variables.keep_out(secret));
        rules::read_all(config, &tree, base, variable, &mut problems);
    }
    problems.sort_by_key(|problem| problem.span.start);
    problems.sort_by_key(|problem| problem.source.is_some()); // the config first, then its files
    for problem in problems.iter_mut().filter(|problem| problem.source.is_none()) {
        problem.conceal(&variables, filled.contains(&problem.span));
    }
    let examined = match config {
        Some(config) if problems.iter().all(|problem| problem.severity == Severity::Warning) => Ok((config, problems)),
        _ => Err(problems),
    };
    (examined, variables)
}
