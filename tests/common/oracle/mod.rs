//! The oracle: ledgered events through the whole pipeline on a Kafka of its own, while its processes and the broker are killed.
//!
//! ```text
//!   ledger ─▶ files ─▶ intake ─▶ workers (2 ▸ 3 ▸ 1) ─▶ landing (tables, lake)      seeded: kill -9 of workers, now and then
//!      │                  └────────── Kafka ──────────────┘                        of intake or landing, and of the broker;
//!      └─▶ what is due ─▶ checks ◀─ topics, tables, rows                           SIGSTOP until others have the partitions
//! ```
//!
//! Each event has an id that only the ledger gives, and ends in one way: accepted once, refused, unreadable, or counted as
//! unchanged or as a duplicate. At the end all is as the ledger has it, as an undisturbed run of the embedded broker leaves it,
//! and as its own inputs make it.

pub mod checks;
mod ledger;
mod members;
pub mod tables;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use skuflow_runtime::testing::kafka::{Kafka as Server, Look};

pub use ledger::Obligations;
use ledger::{Ledger, Random};
use members::{Member, Patience, STAGES, Site};

/// How long anything that has to happen may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Members under load, one after the other.
const SCALE: [usize; 3] = [2, 3, 1];
const WORKERS: [&str; 3] = ["w0", "w1", "w2"];
const WORK: [&str; 3] = ["stage:catalog", "stage:clean", "stage:compete"];
const RAW: [&str; 2] = ["raw.offers.v1", "raw.sales.v1"];
const CLEAN_READS: [&str; 3] = ["raw.offers.v1", "raw.sales.v1", "listings.v1"];
/// What stage `compete` reads, in this order.
pub const COMPETE_READS: [&str; 2] = ["product-offers.v1", "catalog.v1"];

/// How much of what.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub events: u64,
    /// Of workers, at work.
    pub kills: u64,
    pub broker_kills: u64,
    /// Workers that are stopped until others have their partitions, and go on then.
    pub zombies: u64,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Broker,
    Zombie,
}

impl Plan {
    /// What happens while there are as many members as [`SCALE`] says. A member that is alone has nobody to become a zombie
    /// for.
    fn faults(&self, random: &mut Random) -> [Vec<Fault>; 3] {
        let share = |count: u64, among: u64, at: u64| (count * (at + 1) / among - count * at / among) as usize;
        [0, 1, 2].map(|phase| {
            let zombies = if phase < 2 { share(self.zombies, 2, phase) } else { 0 };
            let mut faults = vec![Fault::Kill; share(self.kills, 3, phase)];
            faults.extend(vec![Fault::Broker; share(self.broker_kills, 3, phase)]);
            faults.extend(vec![Fault::Zombie; zombies]);
            for at in (1..faults.len()).rev() {
                faults.swap(at, random.below(at as u64 + 1) as usize);
            }
            faults
        })
    }
}

/// The pipeline while it is disturbed.
struct Disturbed<'a> {
    site: &'a Site,
    server: Server,
    ledger: Ledger,
    random: Random,
    events_left: u64,
    faults_left: u64,
    fed: Instant,
    chunks: u32,
    intake: Member,
    landing: Member,
    workers: Vec<Member>,
    /// Which of the workers is stopped, and since when.
    frozen: Option<(usize, Instant)>,
    /// Ids of members that hold partitions, as of the last look, and of those that were killed.
    holders: Vec<String>,
    killed: BTreeSet<String>,
    catalog: Look,
    clean: Look,
    compete: Look,
    say: &'a dyn Fn(String),
}

/// What is left to be checked.
pub struct Finished {
    server: Server,
    site: Site,
    due: Obligations,
}

/// Runs the plan in `home`, a new folder, with this binary. `None` where there is no Kafka.
pub fn run(plan: Plan, binary: &Path, home: &Path, say: &dyn Fn(String)) -> Option<Finished> {
    let began = Instant::now();
    let server = Server::start_to_be_killed()?;
    let site = Site { binary: binary.into(), home: home.into(), cluster: server.bootstrap_servers() };
    write_project(home);
    let mut disturbed = Disturbed::new(&site, server, plan, say);
    disturbed.fill_tables();
    let faults = plan.faults(&mut disturbed.random);
    for (members, faults) in SCALE.into_iter().zip(faults) {
        disturbed.scale_to(members);
        for fault in faults {
            disturbed.inflict(fault);
        }
    }
    let (server, due) = disturbed.end();
    say(format!("disturbed for {:?}", began.elapsed()));
    site.finish("once.toml", WORKERS[0], "tables", &[]);
    say(format!("finished after {:?}", began.elapsed()));
    site.finish("once.toml", "fresh", "fresh", &["sink:tables"]);
    site.finish("embedded.toml", "embedded", "embedded", &[]);
    Some(Finished { server, site, due })
}

fn write_project(home: &Path) {
    const CLUSTER: &str =
        "[broker.kafka]\nbootstrap_servers = \"${ORACLE_CLUSTER}\"\nworker_id = \"${ORACLE_WORKER}\"\n\n";
    let embedded = include_str!("pipeline.toml").replace("watch = true\n", "");
    let on_kafka = |config: &str| config.replacen("[topics]", &format!("{CLUSTER}[topics]"), 1);
    let write = |name: &str, text: &str| std::fs::write(home.join(name), text).expect("writable");
    write("live.toml", &on_kafka(include_str!("pipeline.toml")));
    write("once.toml", &on_kafka(&embedded));
    write("embedded.toml", &embedded);
    write("rules.toml", include_str!("../../../rules/market.toml"));
    std::fs::create_dir(home.join("in")).expect("new");
}

impl<'a> Disturbed<'a> {
    fn new(site: &'a Site, server: Server, plan: Plan, say: &'a dyn Fn(String)) -> Self {
        let [catalog, clean, compete] = STAGES.map(|stage| server.look(&format!("oracle-{stage}")));
        Self {
            site,
            server,
            ledger: Ledger::new(plan.seed),
            random: Random(plan.seed),
            events_left: plan.events,
            faults_left: plan.kills + plan.broker_kills + plan.zombies,
            fed: Instant::now(),
            chunks: 0,
            intake: site.member("intake", &["connector:catalog", "connector:offers", "connector:orders"]),
            landing: site.member("landing", &["sink:tables", "sink:lake"]),
            workers: WORKERS.map(|name| site.member(name, &WORK)).into(),
            frozen: None,
            holders: Vec::new(),
            killed: BTreeSet::new(),
            catalog,
            clean,
            compete,
            say,
        }
    }

    /// The catalog is read, and in the tables of all who join with it.
    fn fill_tables(&mut self) {
        self.write("catalog-1.ndjson", &Ledger::catalog());
        self.intake.start();
        self.landing.start();
        self.scale_to(SCALE[0]);
        let products = Ledger::catalog().lines().count() as u64;
        let is_there = |server: &Server| server.records(false).get("raw.catalog.v1") == Some(&products);
        self.wait_until("the catalog is read", |this| is_there(&this.server));
        self.wait_until("the tables are made", |this| this.catalog.lag(&["raw.catalog.v1"]) == Some(0));
        self.wait_until("the tables are read", |this| {
            this.clean.lag(&["listings.v1"]) == Some(0) && this.compete.lag(&["catalog.v1"]) == Some(0)
        });
    }

    /// Lets as many workers work; those too many are asked to stop.
    fn scale_to(&mut self, members: usize) {
        self.thaw();
        (self.say)(format!("{members} members"));
        for (at, worker) in self.workers.iter_mut().enumerate() {
            if at >= members {
                worker.stop();
            } else if !worker.is_running() {
                worker.start();
            }
        }
    }

    /// Does it at a moment when there is work to do and the one it hits is doing it.
    fn inflict(&mut self, fault: Fault) {
        let mut patience = Patience::new(PATIENCE);
        if matches!(fault, Fault::Zombie) {
            self.thaw();
        }
        loop {
            assert!(!patience.is_over(), "no moment at work for {fault:?}: {}", self.state());
            self.tend();
            if self.lag() == Some(0) {
                self.feed();
                continue;
            }
            let Some(victim) = self.pick_at_work() else {
                std::thread::park_timeout(Duration::from_millis(20));
                continue;
            };
            std::thread::park_timeout(Duration::from_millis(self.random.below(60)));
            if self.lag().is_none_or(|lag| lag == 0) || !self.workers[victim].is_alive() {
                continue;
            }
            self.faults_left -= 1;
            return self.hit(fault, victim);
        }
    }

    fn hit(&mut self, fault: Fault, victim: usize) {
        let name = self.workers[victim].name().to_owned();
        match fault {
            Fault::Kill => {
                (self.say)(format!("kill -9 of {name}"));
                self.workers[victim].kill();
                self.killed.extend(self.holders.extract_if(.., |id| self.workers[victim].is_called(id)));
                let bystander = match self.random.below(8) {
                    0 => Some(&mut self.intake),
                    1 => Some(&mut self.landing),
                    _ => None,
                };
                if let Some(bystander) = bystander
                    && bystander.is_alive()
                {
                    bystander.kill();
                    bystander.start();
                }
                std::thread::park_timeout(Duration::from_millis(self.random.below(500)));
                self.workers[victim].start();
            }
            Fault::Broker => {
                (self.say)("kill -9 of the broker".into());
                self.server.kill();
                std::thread::park_timeout(Duration::from_millis(self.random.below(2_000)));
                self.server.start_again();
            }
            Fault::Zombie => {
                (self.say)(format!("SIGSTOP of {name}"));
                self.workers[victim].freeze(true);
                self.frozen = Some((victim, Instant::now()));
            }
        }
    }

    /// A worker that holds partitions now and is not stopped. After a kill the group still names the one that was killed.
    fn pick_at_work(&mut self) -> Option<usize> {
        let holders = [self.clean.holders(), self.compete.holders()].concat();
        self.holders = holders.into_iter().filter(|id| !self.killed.contains(id)).collect();
        let holds = |worker: &Member| self.holders.iter().any(|id| worker.is_called(id));
        let at_work: Vec<usize> =
            (0..self.workers.len()).filter(|at| !self.workers[*at].is_stopped && holds(&self.workers[*at])).collect();
        let picked = at_work.get(self.random.below(at_work.len() as u64) as usize).copied()?;
        self.workers[picked].is_alive().then_some(picked)
    }

    /// Begins again who gave up, and wakes a zombie whose partitions others have.
    fn tend(&mut self) {
        for process in [&mut self.intake, &mut self.landing].into_iter().chain(&mut self.workers) {
            if process.is_running() && !process.is_stopped {
                process.is_alive();
            }
        }
        if let Some((at, since)) = self.frozen
            && self.is_replaced(at)
        {
            (self.say)(format!("SIGCONT of {} after {:?}", self.workers[at].name(), since.elapsed()));
            self.workers[at].freeze(false);
            self.frozen = None;
        }
    }

    /// Whether others have all partitions of a worker.
    fn is_replaced(&self, at: usize) -> bool {
        [&self.clean, &self.compete].into_iter().all(|look| {
            let holders = look.holders();
            !holders.is_empty() && !holders.iter().any(|id| self.workers[at].is_called(id))
        })
    }

    /// Waits until nobody is stopped.
    fn thaw(&mut self) {
        self.wait_until("others have a zombie's partitions", |this| {
            this.tend();
            if this.frozen.is_some() && this.fed.elapsed() > Duration::from_secs(2) && this.lag() == Some(0) {
                this.feed(); // they are at work while it is away, and when it comes back
            }
            this.frozen.is_none()
        });
    }

    /// What the stages behind the connectors have not consumed.
    fn lag(&self) -> Option<u64> {
        Some(self.clean.lag(&CLEAN_READS)? + self.compete.lag(&COMPETE_READS)?)
    }

    /// Gives the next events, a share of what is left, and waits until some are read.
    fn feed(&mut self) {
        self.give(self.events_left / (2 * self.faults_left + 2));
        self.fed = Instant::now();
        while self.clean.lag(&RAW).is_none_or(|lag| lag == 0) && self.fed.elapsed() < Duration::from_secs(5) {
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn give(&mut self, events: u64) {
        self.events_left -= events;
        self.chunks += 1;
        let chunk = self.ledger.chunk(events);
        self.write(&format!("offers-{:05}.ndjson", self.chunks), &chunk.offers);
        self.write(&format!("orders-{:05}.ndjson", self.chunks), &chunk.orders);
    }

    /// Puts a file where connectors find it, whole.
    fn write(&self, name: &str, text: &str) {
        let part = self.site.home.join("part");
        std::fs::write(&part, text).expect("writable");
        std::fs::rename(part, self.site.home.join("in").join(name)).expect("writable");
    }

    /// Gives what is left and stops everybody.
    fn end(mut self) -> (Server, Obligations) {
        self.thaw();
        self.give(self.events_left);
        let gave_up: u32 = self.workers.iter().map(|worker| worker.gave_up).sum();
        let others = self.intake.gave_up + self.landing.gave_up;
        (self.say)(format!("{} events; ended by themselves: {gave_up} workers, {others} others", self.ledger.events()));
        for process in self.workers.iter_mut().chain([&mut self.intake, &mut self.landing]) {
            process.stop();
        }
        self.wait_until("nobody else is a member", |this| {
            let mut looks = [&this.catalog, &this.clean, &this.compete].into_iter();
            looks.all(|look| look.holders().iter().all(|id| this.workers[0].is_called(id)))
        });
        (self.server, self.ledger.due)
    }

    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let mut patience = Patience::new(PATIENCE);
        while !holds(self) {
            assert!(!patience.is_over(), "in vain: {what}: {}", self.state());
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn state(&self) -> String {
        let lags = [self.clean.lag(&CLEAN_READS), self.compete.lag(&COMPETE_READS)];
        format!("lag {lags:?}, members {:?} and {:?}", self.clean.holders(), self.compete.holders())
    }
}
