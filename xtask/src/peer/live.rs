//! Offers at a steady rate: how long it takes until the figures they give can be read, and how long after a kill.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rdkafka::consumer::BaseConsumer;
use rdkafka::message::Message as _;
use skuflow_schemas::{Decoder, Event};

use super::cluster::{Cluster, Sender, assign, ends};
use super::load::{Market, RAW, number_of};

/// What is sent at the beginning does not count.
const WARM_UP: Duration = Duration::from_secs(10);
/// How long figures are waited for at the end.
const DRAIN: Duration = Duration::from_secs(5);

/// A market at a steady rate, and who reads what comes of it.
pub struct Live<'a> {
    market: &'a mut Market,
    sender: Sender,
    consumer: BaseConsumer,
    rate: u64,
    sent: HashMap<(u32, i64), Instant>,
    began: Instant,
    count: u64,
}

impl<'a> Live<'a> {
    /// Reads `features` from its present end on.
    pub fn new(cluster: &Cluster, market: &'a mut Market, features: &str, rate: u64) -> Result<Self> {
        let consumer = cluster.consumer("live")?;
        assign(&consumer, features, &ends(&consumer, features)?)?;
        let sender = Sender::new(cluster)?;
        Ok(Self { market, sender, consumer, rate, sent: HashMap::new(), began: Instant::now(), count: 0 })
    }

    /// Sends what is due, and gives how long the figures of a record took, if some came.
    fn turn(&mut self) -> Result<Option<(Instant, Duration)>> {
        let due = (self.began.elapsed().as_secs_f64() * self.rate as f64) as u64;
        while self.count < due {
            let made = self.market.next();
            if let Some(figures) = made.figures {
                self.sent.insert(figures, Instant::now());
            }
            self.sender.send(RAW, &made.key, &made.value)?;
            self.count += 1;
        }
        let Some(Ok(record)) = self.consumer.poll(Duration::from_millis(1)) else { return Ok(None) };
        let Ok(Event::Features(vector)) = Decoder.decode(record.payload().unwrap_or_default()) else { return Ok(None) };
        let number = number_of(&vector.product).context("a product of ours")?;
        let sent = self.sent.remove(&(number, vector.envelope.observed_at.micros()));
        Ok(sent.map(|sent| (sent, sent.elapsed())))
    }

    /// The times that figures took, in order, in milliseconds.
    pub fn latencies(&mut self, time: Duration) -> Result<Vec<f64>> {
        let begin = Instant::now() + WARM_UP;
        let end = begin + time;
        let mut took = Vec::new();
        while Instant::now() < end + DRAIN {
            if let Some((sent, latency)) = self.turn()?
                && (begin..end).contains(&sent)
            {
                took.push(latency.as_secs_f64() * 1e3);
            }
            if Instant::now() > end {
                self.rate = 0;
            }
        }
        took.sort_by(f64::total_cmp);
        Ok(took)
    }

    /// Lets it work for a while.
    pub fn pass(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn()?;
        }
        Ok(())
    }

    /// How long it takes from now until figures come; none where `is_alive` says no before.
    pub fn first(&mut self, mut is_alive: impl FnMut() -> bool) -> Result<Option<Duration>> {
        let began = Instant::now();
        while self.turn()?.is_none() {
            if !is_alive() {
                return Ok(None);
            }
        }
        Ok(Some(began.elapsed()))
    }
}

/// The value that this share of `sorted` is not above.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
