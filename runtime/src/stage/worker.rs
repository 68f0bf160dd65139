//! A worker: a thread with one consumer, one transactional producer and the tasks of its partitions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use skuflow_schemas::Timestamp;

use super::inputs::InputQueue;
use super::task::{Next, Task, TaskError, is_full};
use super::{Committed, Control, Held, Seat, StageSpec, Tally};
use crate::broker::{
    Broker, BrokerError, Commit, Consumer, Member, Offset, Polled, Producer, TopicPartition, TxnError,
};
use crate::limits::{BACKOFF_MAX, BACKOFF_MIN, POLL_MAX, RECORDS_PER_TURN_MAX, TASKS_APART_MAX};

/// Why a stage cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("stage {stage}: {reason}")]
pub struct StageError {
    stage: String,
    reason: String,
}

/// One worker of a stage.
pub struct Worker {
    /// The stage.
    pub spec: Arc<StageSpec>,
    /// Where its topics are.
    pub broker: Arc<dyn Broker>,
    /// Which of the stage's workers it is.
    pub member: Member,
    /// Shared with the rest of the run.
    pub control: Arc<Control>,
    /// Where it counts.
    pub tally: Arc<Tally>,
}

/// How a session, the time between joining the group and leaving it, ended.
enum Ended {
    /// Everything is done, or the run is stopping.
    Done,
    /// Join again and begin from what is committed.
    Rejoin(String),
}

impl Worker {
    /// Works until the run stops or, with `--once`, everything is processed.
    ///
    /// # Errors
    /// What will not get better by itself; everything else is tried again from what is committed.
    pub fn run(&self) -> Result<(), StageError> {
        let mut failures = 0;
        let seat = self.tally.seat(self.member.index);
        let _silent_from_here_on = seat.speaks();
        loop {
            seat.is_heard();
            seat.is_finished(false);
            let before = self.tally.commits();
            let reason = match self.session(&seat) {
                Ok(Ended::Done) => {
                    seat.condition.is_well();
                    return Ok(());
                }
                Ok(Ended::Rejoin(reason)) => reason,
                Err(TaskError::Broker(BrokerError::Retry(reason) | BrokerError::Reopen(reason))) => reason,
                Err(TaskError::Txn(
                    TxnError::Retry(reason)
                    | TxnError::Abort(reason)
                    | TxnError::Fenced(reason)
                    | TxnError::Unknown(reason),
                )) => reason,
                Err(error) => return Err(StageError { stage: self.spec.name.clone(), reason: error.to_string() }),
            };
            failures = if self.tally.commits() == before { failures + 1 } else { 1 };
            tracing::warn!(stage = %self.spec.name, member = %self.member.id, reason, "joining again");
            seat.condition.failed(reason);
            if back_off(failures, &self.control) {
                return Ok(());
            }
        }
    }

    fn session(&self, seat: &Seat) -> Result<Ended, TaskError> {
        let topics: Vec<Arc<str>> = self.spec.inputs.iter().map(|input| input.topic.clone()).collect();
        let mut session = Session {
            worker: self,
            seat,
            producer: self.broker.producer(&self.member.id)?,
            consumer: self.broker.join(&self.spec.group, &topics, &self.member)?,
            tasks: Vec::new(),
            is_assigned: false,
            pending_records: 0,
            last_commit: Instant::now(),
            idle_since: Some(Instant::now()),
            aborts: 0,
        };
        let ended = session.run()?;
        if matches!(ended, Ended::Done) {
            match session.consumer.leave() {
                Err(BrokerError::Fatal(reason)) => return Err(BrokerError::Fatal(reason).into()),
                Err(error) => {
                    tracing::warn!(stage = %self.spec.name, %error, "leaving the group; it is over all the same");
                }
                Ok(()) => {}
            }
        }
        Ok(ended)
    }
}

/// Waits longer with each failure in a row; `true` when the run is stopping.
pub fn back_off(failures: u32, control: &Control) -> bool {
    let until = Instant::now() + (BACKOFF_MIN * 2_u32.saturating_pow(failures.min(16))).min(BACKOFF_MAX);
    while Instant::now() < until {
        if control.is_stopping() {
            return true;
        }
        std::thread::park_timeout(BACKOFF_MIN);
    }
    control.is_stopping()
}

struct Session<'a> {
    worker: &'a Worker,
    seat: &'a Seat,
    producer: Box<dyn Producer>,
    consumer: Box<dyn Consumer>,
    tasks: Vec<Task>,
    /// It has what the group gave it, which may be nothing where there are more workers than partitions.
    is_assigned: bool,
    /// Records processed since the last commit.
    pending_records: usize,
    last_commit: Instant,
    /// Since when it has had no partitions, while it waits for some.
    idle_since: Option<Instant>,
    /// Transactions aborted since one was committed.
    aborts: u32,
}

impl Session<'_> {
    fn run(&mut self) -> Result<Ended, TaskError> {
        let mut busy = false;
        loop {
            self.seat.is_heard();
            if self.worker.control.is_stopping() {
                return self.commit().map(|ended| ended.unwrap_or(Ended::Done));
            }
            for polled in self.consumer.poll(self.patience(busy))? {
                if let Some(ended) = self.take(polled)? {
                    return Ok(ended);
                }
            }
            busy = self.take_turns()?;
            if self.is_commit_due()
                && let Some(ended) = self.commit()?
            {
                return Ok(ended);
            }
            if !busy && self.is_caught_up() {
                self.seat.condition.is_well();
            }
            if busy || !self.is_finished() {
                self.seat.is_finished(false);
            } else {
                if let Some(ended) = self.commit()? {
                    return Ok(ended);
                }
                let is_finished = self.is_finished(); // else the commit was void, and the work is to be done again
                if is_finished {
                    self.producer.settle()?;
                }
                self.seat.is_finished(is_finished);
                // They end together: a member that goes away alone makes the others wait for its partitions.
                if is_finished && self.worker.tally.are_finished(self.worker.member.count) {
                    return Ok(Ended::Done);
                }
            }
        }
    }

    /// How long to wait for records: not at all while there is work, and never past the next commit.
    fn patience(&self, busy: bool) -> Duration {
        if busy {
            return Duration::ZERO;
        }
        let interval = self.worker.spec.settings.commit_interval;
        let until_commit = interval.saturating_sub(self.last_commit.elapsed());
        if self.is_anything_pending() {
            until_commit.min(POLL_MAX)
        } else {
            POLL_MAX.min(self.worker.spec.settings.idle_max)
        }
    }

    fn take(&mut self, polled: Polled) -> Result<Option<Ended>, TaskError> {
        match polled {
            Polled::Assigned { partitions, committed } => {
                self.is_assigned = true;
                let broker = self.worker.broker.as_ref();
                let (consumer, seat) = (&mut self.consumer, self.seat);
                for partition in partitions {
                    let mut attended = Ok(true);
                    let goes_on = &mut || {
                        seat.is_heard();
                        attended = consumer.attend();
                        matches!(attended, Ok(true))
                    };
                    let restored = Task::restore(&self.worker.spec, partition, broker, &committed, goes_on);
                    if !attended? {
                        self.is_assigned = false; // the group has decided anew: the next poll says what is given up
                        return Ok(None);
                    }
                    self.tasks.push(restored?);
                }
                if let Some(since) = self.idle_since.take() {
                    self.worker.tally.waited_for_partitions(since.elapsed());
                }
                self.seat.condition.begun();
                self.say_what_is_held();
            }
            Polled::Revoked(partitions) => {
                if let Some(ended) = self.commit()? {
                    return Ok(Some(ended));
                }
                self.tasks.retain(|task| !partitions.contains(&task.partition));
                (self.is_assigned, self.idle_since) = (false, Some(Instant::now()));
            }
            Polled::Lost(_) => {
                self.producer.abort();
                return Ok(Some(Ended::Rejoin("partitions were lost".into())));
            }
            Polled::Records { of, from, batch } => {
                if let Some(input) = self.input_mut(&of) {
                    input.push(from, batch);
                    if input.is_full() {
                        self.consumer.pause(&of, true);
                    }
                }
            }
            Polled::End(of) => {
                let now = Instant::now();
                if let Some(task) = self.tasks.iter_mut().find(|task| task.partition == of.partition) {
                    task.at_end(&of, now);
                }
            }
        }
        Ok(None)
    }

    fn input_mut(&mut self, of: &TopicPartition) -> Option<&mut InputQueue> {
        let task = self.tasks.iter_mut().find(|task| task.partition == of.partition)?;
        task.input_mut(of)
    }

    /// Lets the tasks work for a while; whether any did. The one whose next record is first in event time goes first, and
    /// none goes far ahead of the others: what the worker sends stays in the order of event time, whatever the keys are.
    fn take_turns(&mut self) -> Result<bool, TaskError> {
        let worker = self.worker;
        let now = Instant::now();
        let room = worker.spec.settings.transaction_records.saturating_sub(self.pending_records);
        let mut left = room.min(RECORDS_PER_TURN_MAX);
        self.tasks.iter_mut().for_each(|task| task.begin_turn(&|input| is_absent(worker, input, now)));
        while left > 0 && !self.tasks.iter().any(Task::is_short) {
            let Some((at, until)) = self.first_task() else { break };
            let done = self.tasks[at].work(left, until, self.producer.as_mut())?;
            left -= done;
            // Nothing is done while a task that waits for an input holds a record that comes long before, or timers fired.
            if done == 0 || is_full(self.producer.as_ref()) {
                break;
            }
        }
        for input in self.tasks.iter().flat_map(|task| &task.inputs).filter(|input| !input.is_full()) {
            self.consumer.pause(&input.of, false);
        }
        let done = room.min(RECORDS_PER_TURN_MAX) - left;
        self.pending_records += done;
        Ok(done > 0 || self.tasks.iter().any(Task::has_due))
    }

    /// The task whose next record is first in event time, and the time until which it may go on.
    fn first_task(&mut self) -> Option<(usize, Timestamp)> {
        let mut first: Option<(Timestamp, usize)> = None;
        let mut others = Timestamp::MAX;
        for (at, task) in self.tasks.iter_mut().enumerate() {
            match (task.next(), first) {
                (Next::Record(time, _) | Next::Timers(time), None) => first = Some((time, at)),
                (Next::Record(time, _) | Next::Timers(time), Some((earliest, _))) if time < earliest => {
                    others = others.min(earliest);
                    first = Some((time, at));
                }
                (Next::Record(time, _) | Next::Timers(time) | Next::Waits(time), _) => others = others.min(time),
                (Next::Nothing, _) => {}
            }
        }
        first.map(|(_, at)| (at, others.plus_micros(TASKS_APART_MAX.micros())))
    }

    /// Whether records were processed or timers fired since the last commit.
    fn is_anything_pending(&self) -> bool {
        self.pending_records > 0 || self.tasks.iter().any(|task| task.has_fired)
    }

    fn is_commit_due(&self) -> bool {
        let full =
            self.pending_records >= self.worker.spec.settings.transaction_records || is_full(self.producer.as_ref());
        let due = self.last_commit.elapsed() >= self.worker.spec.settings.commit_interval;
        (full && self.is_anything_pending()) || (due && self.tasks.iter().any(Task::has_moved))
    }

    /// Whether all that is there at present is processed and committed.
    fn is_caught_up(&self) -> bool {
        self.is_assigned && !self.is_anything_pending() && self.tasks.iter().all(Task::is_caught_up)
    }

    fn say_what_is_held(&self) {
        self.seat.holds(self.tasks.iter().map(Task::held).fold(Held::default(), Held::plus));
    }

    fn is_finished(&self) -> bool {
        let now = Instant::now();
        let absent = |input: &InputQueue| is_absent(self.worker, input, now);
        self.worker.control.is_once() && self.is_assigned && self.tasks.iter().all(|task| task.is_finished(&absent))
    }

    /// Commits what is done; `Some` where the session has to end for it.
    fn commit(&mut self) -> Result<Option<Ended>, TaskError> {
        self.last_commit = Instant::now();
        let (mut consumed, mut state, mut counted) = (Vec::new(), Vec::new(), Vec::new());
        for task in &mut self.tasks {
            task.prepare(self.producer.as_mut(), &mut consumed, &mut state, &mut counted)?;
        }
        if consumed.is_empty() {
            return Ok(None);
        }
        let mut done = Committed {
            records: self.pending_records as u64,
            bytes: self.tasks.iter().map(Task::taken_bytes).sum(),
            sent_records: self.producer.pending_records(),
            sent_bytes: self.producer.pending_bytes() as u64,
            took: Duration::ZERO,
        };
        let generation = self.consumer.generation();
        match self.producer.commit(Commit { consumed: Some((&generation, &consumed)), state }) {
            Ok(()) => {}
            Err(TxnError::Abort(reason)) => return self.abort(&reason).map(|()| None),
            Err(error) => return Err(error.into()),
        }
        self.tasks.iter_mut().for_each(Task::committed);
        done.took = self.last_commit.elapsed();
        self.worker.tally.committed(done, &counted);
        (self.pending_records, self.aborts) = (0, 0);
        self.say_what_is_held();
        Ok(None)
    }

    /// Goes back to what is committed, after a while: what is not taken at once may be so much that it fills a topic.
    fn abort(&mut self, reason: &str) -> Result<(), TaskError> {
        tracing::warn!(stage = %self.worker.spec.name, reason, "transaction aborted");
        self.seat.condition.failed(reason.to_owned());
        self.producer.abort();
        let mut seeks: Vec<(TopicPartition, Offset)> = Vec::new();
        for task in &mut self.tasks {
            seeks.extend(task.aborted(self.worker.broker.as_ref())?);
        }
        for (of, offset) in seeks {
            self.consumer.seek(&of, offset);
            self.consumer.pause(&of, false);
        }
        self.pending_records = 0;
        back_off(self.aborts, &self.worker.control);
        self.aborts += 1;
        Ok(())
    }
}

/// Whether an empty input is not to be waited for: nobody writes to it any more and it is read to its end, or it was
/// quiet for as long as anyone should wait.
fn is_absent(worker: &Worker, input: &InputQueue, now: Instant) -> bool {
    if worker.control.is_once() {
        let is_complete = worker.control.is_complete(&input.of.topic); // first this, then where it ends
        return is_complete && input.final_end(&*worker.broker).is_some_and(|end| end <= input.next_offset());
    }
    input.is_idle(now, worker.spec.settings.idle_max)
}
