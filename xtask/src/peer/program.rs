//! The two programs that do the job, and how each is started.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::cluster::{Cluster, PARTITIONS};
use super::load;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Skuflow,
    KafkaStreams,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Skuflow => "skuflow",
            Self::KafkaStreams => "kafka-streams",
        }
    }
}

/// How a program is to work.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub kind: Kind,
    pub is_exactly_once: bool,
    pub commit_ms: u32,
    /// Of skuflow, each for both stages: it has a thread per stage.
    pub threads: u32,
}

impl Setting {
    pub fn title(self) -> String {
        let threads = match self.kind {
            Kind::Skuflow => format!("{} per stage", self.threads),
            Kind::KafkaStreams => self.threads.to_string(),
        };
        format!("{}, {}, {} ms, {threads}", self.kind.name(), self.guarantee(), self.commit_ms)
    }

    pub fn guarantee(self) -> &'static str {
        if self.is_exactly_once { "exactly-once" } else { "at-least-once" }
    }
}

/// What is needed to start them.
pub struct Programs {
    pub cluster: Cluster,
    /// skuflow's binary.
    pub binary: PathBuf,
    /// Folder with the jar of the other, and those that it needs.
    pub java: PathBuf,
    /// Folder of the benchmark's sources.
    pub sources: PathBuf,
    /// Where they keep their state.
    pub home: PathBuf,
}

/// A program at work.
pub struct Running {
    pub child: Child,
    pub topics: Topics,
    folder: PathBuf,
}

/// Where its work can be seen.
#[derive(Clone)]
pub struct Topics {
    /// Who reads the offers, and who their copies.
    pub groups: [String; 2],
    pub copies: String,
    pub features: String,
    pub alerts: String,
    pub dead_letters: String,
}

impl Topics {
    pub fn of(kind: Kind, name: &str) -> Self {
        match kind {
            Kind::Skuflow => Self {
                groups: [format!("{name}-clean"), format!("{name}-compete")],
                copies: "product-offers.v1".into(),
                features: "features.v1".into(),
                alerts: "alerts.v1".into(),
                dead_letters: format!("dlq.{}", load::RAW),
            },
            Kind::KafkaStreams => Self {
                groups: [name.to_owned(), name.to_owned()],
                copies: "ks.product-offers".into(),
                features: "ks.features".into(),
                alerts: "ks.alerts".into(),
                dead_letters: "ks.dlq".into(),
            },
        }
    }
}

impl Programs {
    /// Deletes what the programs of before have written.
    pub fn clear(&self, kind: Kind) -> Result<()> {
        self.cluster.delete(match kind {
            Kind::Skuflow => "(product-offers|features|alerts|quality)\\.v1|dlq\\..*|late\\..*|changelog\\..*",
            Kind::KafkaStreams => "ks.*",
        })
    }

    /// Starts one under this name, which it goes on under if it is started again.
    pub fn start(&self, setting: Setting, name: &str) -> Result<Running> {
        let folder = self.home.join(name);
        std::fs::create_dir_all(&folder)?;
        let mut command = match setting.kind {
            Kind::Skuflow => self.skuflow(setting, name, &folder)?,
            Kind::KafkaStreams => {
                ensure!(self.java.join("libs").exists(), "the Java program is not built: use run.sh");
                self.kafka_streams(setting, name, &folder)
            }
        };
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.home.join(format!("{name}.log")))?;
        let child = command.stdout(log.try_clone()?).stderr(log).stdin(Stdio::null()).spawn();
        let child = child.with_context(|| format!("{command:?}"))?;
        Ok(Running { child, topics: Topics::of(setting.kind, name), folder })
    }

    /// Removes what a program of this name has on the disk.
    pub fn wipe(&self, name: &str) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.home.join(name))?)
    }

    fn skuflow(&self, setting: Setting, name: &str, folder: &Path) -> Result<Command> {
        let mut config = std::fs::read_to_string(self.sources.join("pipelines.toml"))?;
        for (word, value) in [
            ("NAME", name.to_owned()),
            ("SERVERS", self.cluster.servers.clone()),
            ("THREADS", setting.threads.to_string()),
            ("COMMIT_MS", setting.commit_ms.to_string()),
        ] {
            config = config.replace(word, &value);
        }
        std::fs::create_dir_all(folder.join("rules"))?;
        std::fs::copy(self.sources.join("rules/price-drop.toml"), folder.join("rules/price-drop.toml"))?;
        std::fs::write(folder.join("pipelines.toml"), config)?;
        let mut command = Command::new(&self.binary);
        command.args(["run", "--only", "stage:clean", "--only", "stage:compete", "--config"]);
        command.arg(folder.join("pipelines.toml"));
        Ok(command)
    }

    fn kafka_streams(&self, setting: Setting, name: &str, folder: &Path) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xms512m", "-Xmx1g", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]);
        command.arg("-cp").arg(format!("{}/libs/*", self.java.display())).arg("skuflow.peer.Main");
        command.args([&self.cluster.servers, name, &folder.join("state").display().to_string()]);
        command.arg(if setting.is_exactly_once { "exactly_once_v2" } else { "at_least_once" });
        command.args([setting.commit_ms.to_string(), setting.threads.to_string(), PARTITIONS.to_string()]);
        command
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _it_may_have_ended = self.child.kill();
        let _nothing_else_is_to_be_done = self.child.wait();
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end, and removes what it has on the disk.
    pub fn stop(mut self) -> Result<()> {
        let _it_may_have_ended = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status()?;
        self.child.wait()?;
        Ok(std::fs::remove_dir_all(&self.folder)?)
    }

    pub fn is_alive(&mut self) -> Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the program has ended by itself");
        Ok(())
    }
}
