//! The command line. Results go to stdout, everything else to stderr.

mod athena;
mod check;
mod demo;
mod lake;
mod logs;
mod output;
mod schema;
mod serving;
mod statements;
mod upkeep;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand, ValueEnum};
use skuflow_runtime::stage::Control;

use crate::config::{self, Loaded, STARTER, Variables};
use crate::demo::Market;
use crate::inspect::{Answer, REPLAYED, Remedy, Request, answer};

use crate::printable::printable;
use crate::run::{Only, OpenError, Pipeline, RunError, Summary, ask, is_data_dir, open_broker};

const EXIT_USAGE: u8 = 64;
const EXIT_DATA: u8 = 65;
const EXIT_UNAVAILABLE: u8 = 69;
const EXIT_IO: u8 = 74;
const EXIT_CONFIG: u8 = 78;

/// Said by `--help`, and by the README.
const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    freshness: something is further behind than a --max-… allows
  64   usage: the command, or a name in it, is wrong
  65   data: what is stored is damaged or of another config, a station cannot go on, or a case of test fails
  69   unavailable: in use by another run, nothing there yet, or check --connect misses something
  74   IO: a file or the data directory cannot be read or written now
  78   config: it has mistakes, and nothing was started
  130  stopped at once by a second Ctrl-C";

/// Exactly-once event streaming for product and commerce data, in one binary.
#[derive(Parser)]
#[command(version, about, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The config.
    #[arg(long, short, global = true, default_value = "pipelines.toml")]
    config: PathBuf,
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// How logs are written on stderr; the variable `SKUFLOW_LOG` says which, like `info`.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    log_format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Run every station of the config, until Ctrl-C.
    Run {
        /// Process all that is there, then stop with a summary.
        #[arg(long)]
        once: bool,
        /// Keep watching for new files and lines.
        #[arg(long, conflicts_with = "once")]
        watch: bool,
        /// Only this station, by its name or like `stage:clean`; may be given more than once.
        #[arg(long)]
        only: Vec<String>,
    },
    /// Check the config; start nothing.
    Check {
        /// Say what a code is about.
        #[arg(long)]
        explain: Option<String>,
        /// Look too whether directories can be written, files are there and databases open.
        #[arg(long, conflicts_with = "explain")]
        connect: bool,
    },
    /// Try the cases beside the rules of `alerts`; start nothing.
    Test,
    /// Show what a run would do: stations, topics, and what is there already. Changes nothing.
    Plan,
    /// Make a project in a new folder, run a simulated market through it, and hold its alerts against what happened there.
    Demo {
        /// The folder.
        #[arg(default_value = "skuflow-demo")]
        folder: PathBuf,
        /// Which market: the same seed gives the same events.
        #[arg(long, default_value_t = 7)]
        seed: u64,
        /// Products in it.
        #[arg(long, default_value_t = 200)]
        products: u32,
        /// Days of event time.
        #[arg(long, default_value_t = 60)]
        days: u32,
    },
    /// Write a starter config.
    Init {
        /// Where to.
        #[arg(default_value = "pipelines.toml")]
        path: PathBuf,
    },
    /// Show the last records of a topic.
    Tap {
        /// The topic.
        topic: String,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 10)]
        limit: usize,
    },
    /// Look at dead letters, and send them again.
    Dlq {
        #[command(subcommand)]
        command: DeadLetters,
    },
    /// Show how far each stage and sink has come; `drop` forgets a group that is no longer in the config.
    Offsets {
        /// Forget the positions of this group.
        #[arg(long)]
        drop: Option<String>,
    },
    /// Show how far each stage and sink is behind, in records and in seconds of event time.
    Freshness(Thresholds),
    /// Look at the tables of the lake, print statements that read them, and tend them.
    Lake {
        #[command(subcommand)]
        command: lake::Lake,
    },
    /// Print the rights that roles of Postgres need on the serving tables; compare these with their topics, build them again, and tend them.
    Serving {
        #[command(subcommand)]
        command: serving::Serving,
    },
    /// List topics and families, or say what the fields of one family are, and how its figures are computed.
    Schema {
        /// The family.
        family: Option<String>,
        /// Print its Avro schema.
        #[arg(long, requires = "family")]
        avro: bool,
    },
}

/// What `freshness` puts up with; what cannot be known is more than that.
#[derive(Args)]
struct Thresholds {
    /// Exit with 1 where anything is further behind in event time, in seconds.
    #[arg(long)]
    max_lag_seconds: Option<f64>,
    /// Exit with 1 where anything is further behind, in records.
    #[arg(long)]
    max_lag_records: Option<f64>,
    /// Exit with 1 where the last record was taken in longer ago, in seconds.
    #[arg(long)]
    max_age_seconds: Option<f64>,
}

impl Thresholds {
    /// Whether a row of `freshness` goes beyond any.
    fn are_passed(&self, row: &serde_json::Value) -> bool {
        let limits = [
            ("lag_seconds", self.max_lag_seconds),
            ("lag_records", self.max_lag_records),
            ("age_seconds", self.max_age_seconds),
        ];
        limits.iter().any(|(field, max)| max.is_some_and(|max| row[*field].as_f64().is_none_or(|found| found > max)))
    }
}

#[derive(Subcommand)]
enum DeadLetters {
    /// Count them by topic and reason.
    List,
    /// Show them whole.
    Show {
        /// The topic or connector they come from.
        topic: String,
        /// Only those for which this CEL expression is true; it sees topic, partition, offset, stage, code, message,
        /// attempt, key, file and line.
        #[arg(long)]
        filter: Option<String>,
        /// How many.
        #[arg(long, short = 'n', default_value_t = 10)]
        limit: usize,
    },
    /// Send them again: to their topic, or, for a connector, through its present mapping. Each goes once.
    Replay {
        /// The topic or connector they come from.
        topic: String,
        /// Only those for which this CEL expression is true, as in `show`.
        #[arg(long)]
        filter: Option<String>,
        /// Only say what would happen.
        #[arg(long)]
        dry_run: bool,
        /// How many a second at most.
        #[arg(long, value_name = "PER_SECOND", conflicts_with = "dry_run", value_parser = clap::value_parser!(u32).range(1..))]
        rate: Option<u32>,
    },
}

/// A message for stderr, and how to exit.
struct Failure {
    exit: u8,
    message: String,
}

impl Failure {
    /// One line that says why.
    fn new(exit: u8, reason: &str) -> Self {
        Self { exit, message: format!("error: {}\n", printable(reason)) }
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            output::help(&error);
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    logs::begin(arguments.log_format == Format::Json);
    match execute(&arguments) {
        Ok(exit) => exit,
        Err(failure) => {
            output::error(&failure.message);
            ExitCode::from(failure.exit)
        }
    }
}

fn execute(arguments: &Arguments) -> Result<ExitCode, Failure> {
    match &arguments.command {
        Command::Run { once, watch, only } => return run(arguments, *once, *watch, only),
        Command::Check { explain: Some(code), .. } => check::explain(code)?,
        Command::Check { connect: true, .. } => return check::check_connections(arguments),
        Command::Check { .. } => return check::check(arguments),
        Command::Test => return check::test_rules(arguments),
        Command::Plan => check::show_plan(arguments)?,
        Command::Demo { folder, seed, products, days } => {
            let market = Market { seed: *seed, products: *products, days: *days };
            return demo::demo(arguments, folder, market);
        }
        Command::Init { path } => init(path)?,
        Command::Schema { family, avro } => schema::schema(family.as_deref(), *avro, arguments.format)?,
        Command::Tap { topic, limit } => {
            let request = Request::Tap { topic: topic.clone(), limit: *limit };
            output::lines(&inspect(arguments, &request)?);
        }
        Command::Dlq { command } => dead_letters(arguments, command)?,
        Command::Offsets { drop: None } => output::rows(&inspect(arguments, &Request::Offsets)?, arguments.format),
        Command::Offsets { drop: Some(group) } => {
            let request = Request::DropOffsets { group: group.clone() };
            output::rows(&inspect(arguments, &request)?, arguments.format);
        }
        Command::Lake { command } => lake::lake(command, &load(arguments)?, arguments.format)?,
        Command::Serving { command } => serving::serving(command, &load(arguments)?, arguments.format)?,
        Command::Freshness(thresholds) => return freshness(arguments, thresholds),
    }
    Ok(ExitCode::SUCCESS)
}

fn load(arguments: &Arguments) -> Result<Loaded, Failure> {
    load_from(&arguments.config, arguments.format)
}

fn load_from(path: &Path, format: Format) -> Result<Loaded, Failure> {
    let file = path.display().to_string();
    match config::load(path) {
        Ok(loaded) => {
            logs::conceal(&loaded.variables);
            if !loaded.warnings.is_empty() {
                let text = std::fs::read_to_string(&loaded.path).unwrap_or_default();
                output::note(&config::render(&loaded.warnings, &file, &text, output::is_coloured()));
            }
            Ok(loaded)
        }
        Err((problems, text)) => {
            if format == Format::Json {
                output::json(&config::to_json(&problems, &file, &text));
            }
            Err(Failure { exit: EXIT_CONFIG, message: config::render(&problems, &file, &text, output::is_coloured()) })
        }
    }
}

fn run(arguments: &Arguments, once: bool, watch: bool, only: &[String]) -> Result<ExitCode, Failure> {
    let mut loaded = load(arguments)?;
    let only = Only::new(only, &loaded.config).map_err(|reason| usage(&reason))?;
    for file in loaded.config.connector.iter_mut().filter_map(|connector| connector.file.as_mut()) {
        file.watch = !once && (watch || file.watch);
    }
    let summary = run_through(loaded, once, &only)?;
    match arguments.format {
        Format::Json => output::json(&summary.to_json()),
        Format::Text => output::text(&(summary.to_text() + &Summary::done(summary.elapsed))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the stations, with progress on the screen.
fn run_through(loaded: Loaded, once: bool, only: &Only) -> Result<Summary, Failure> {
    let variables = loaded.variables.clone();
    let failed = |error: RunError| failure(&error, &variables);
    let pipeline = Pipeline::open(loaded, once, only).map_err(failed)?;
    stop_on_signals(pipeline.control());
    let progress = output::Progress::new(once);
    pipeline.run(&|look| progress.show(look)).map_err(failed)
}

/// The first SIGTERM or SIGINT stops cleanly, the second one at once: what is committed stands in either case.
fn stop_on_signals(control: Arc<Control>) {
    let Ok(mut signals) = signal_hook::iterator::Signals::new(signal_hook::consts::TERM_SIGNALS) else { return };
    let seen = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if seen.fetch_add(1, Ordering::Relaxed) > 0 {
                #[expect(clippy::disallowed_methods, reason = "asked twice: now")]
                std::process::exit(130);
            }
            output::note("stopping: committing what is done (once more to stop at once)\n");
            control.stop();
        }
    });
}

fn failure(error: &RunError, variables: &Variables) -> Failure {
    let exit = match error {
        RunError::Open(OpenError::InUse(_) | OpenError::Unreachable(_)) => EXIT_UNAVAILABLE,
        RunError::Open(OpenError::Io(_)) => EXIT_IO,
        RunError::Open(OpenError::Refused(_)) => EXIT_CONFIG,
        RunError::Open(OpenError::Topics(_) | OpenError::Data(_)) | RunError::Station(_) => EXIT_DATA,
    };
    if let RunError::Open(OpenError::Topics(wrong)) = error {
        let each = wrong.iter().map(|reason| Failure::new(exit, &variables.conceal(reason)).message);
        return Failure { exit, message: each.collect() };
    }
    Failure::new(exit, &variables.conceal(&error.to_string()))
}

fn init(path: &Path) -> Result<(), Failure> {
    let written = std::fs::File::create_new(path).and_then(|mut file| {
        use std::io::Write as _;
        file.write_all(STARTER.as_bytes())
    });
    written.map_err(|error| Failure::new(EXIT_IO, &format!("{}: {error}", path.display())))?;
    output::text(&format!(
        "wrote {}; next: edit it, then `skuflow check`; `skuflow demo` makes a \
         project with figures, rules and alerts\n",
        path.display()
    ));
    Ok(())
}

fn dead_letters(arguments: &Arguments, command: &DeadLetters) -> Result<(), Failure> {
    let request = match command.clone_request() {
        request @ Request::ShowDeadLetters { .. } => {
            output::lines(&inspect(arguments, &request)?);
            return Ok(());
        }
        request => request,
    };
    let rows = match command {
        DeadLetters::Replay { rate: Some(rate), .. } => replay_slowly(arguments, &request, *rate)?,
        _ => inspect(arguments, &request)?,
    };
    output::rows(&rows, arguments.format);
    Ok(())
}

/// Sends letters again, `rate` a second, until there are no more. What cannot be sent is told as of the last look.
fn replay_slowly(arguments: &Arguments, request: &Request, rate: u32) -> Result<Vec<serde_json::Value>, Failure> {
    let mut replayed: Option<serde_json::Value> = None;
    loop {
        let begun = Instant::now();
        let mut rows = inspect(arguments, request)?;
        let at = rows.iter().position(|row| row["outcome"] == REPLAYED);
        let row = at.map(|at| rows.remove(at));
        let now = row.as_ref().map_or(0, |row| row["count"].as_u64().unwrap_or(0));
        replayed = match (replayed, row) {
            (Some(mut all), _) => {
                let before = all["count"].as_u64().unwrap_or(0);
                all["count"] = (before + now).into();
                Some(all)
            }
            (None, row) => row,
        };
        if now < u64::from(rate) {
            return Ok(rows.into_iter().chain(replayed).collect());
        }
        std::thread::park_timeout(Duration::from_secs(1).saturating_sub(begun.elapsed()));
    }
}

impl DeadLetters {
    fn clone_request(&self) -> Request {
        match self {
            Self::List => Request::DeadLetters,
            Self::Show { topic, filter, limit } => {
                Request::ShowDeadLetters { topic: topic.clone(), filter: filter.clone(), limit: *limit }
            }
            Self::Replay { topic, filter, dry_run, rate } => Request::ReplayDeadLetters {
                topic: topic.clone(),
                filter: filter.clone(),
                dry_run: *dry_run,
                limit: rate.map(|rate| rate as usize),
            },
        }
    }
}

fn freshness(arguments: &Arguments, thresholds: &Thresholds) -> Result<ExitCode, Failure> {
    let rows = inspect(arguments, &Request::Freshness)?;
    output::rows(&rows, arguments.format);
    Ok(if rows.iter().any(|row| thresholds.are_passed(row)) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What is there, which has to be something.
fn inspect(arguments: &Arguments, request: &Request) -> Result<Vec<serde_json::Value>, Failure> {
    let loaded = load(arguments)?;
    ask_or_open(&loaded, request)?.ok_or_else(|| {
        let reason = format!("there is no data in {} yet; `skuflow run` makes it", loaded.data_dir().display());
        Failure::new(EXIT_UNAVAILABLE, &loaded.variables.conceal(&reason))
    })
}

/// Asks the `run` that owns the data directory, or opens it where nobody does; `None` where there is none.
fn ask_or_open(loaded: &Loaded, request: &Request) -> Result<Option<Vec<serde_json::Value>>, Failure> {
    let data_dir = loaded.data_dir();
    let failed = |exit, reason: &str| Failure::new(exit, &loaded.variables.conceal(reason));
    let answer = match ask(&data_dir, request) {
        Some(answer) => answer.map_err(|error| {
            let reason = format!("the run that owns {} does not answer: {error}", data_dir.display());
            failed(EXIT_UNAVAILABLE, &reason)
        })?,
        None if loaded.config.broker.kafka.is_none() && !is_data_dir(&data_dir) => return Ok(None),
        None => {
            let broker = open_broker(loaded).map_err(|error| failure(&RunError::Open(error), &loaded.variables))?;
            answer(request, &*broker, loaded)
        }
    };
    match answer {
        Answer::Rows(rows) => Ok(Some(rows)),
        Answer::Failed(remedy, reason) => Err(failed(exit_code(remedy), &reason)),
    }
}

fn exit_code(remedy: Remedy) -> u8 {
    match remedy {
        Remedy::Ask => EXIT_USAGE,
        Remedy::Wait => EXIT_UNAVAILABLE,
        Remedy::Disk => EXIT_IO,
        Remedy::Data => EXIT_DATA,
    }
}

fn usage(message: &str) -> Failure {
    Failure::new(EXIT_USAGE, message)
}
