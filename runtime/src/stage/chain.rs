//! A chain of steps, with the state of one task: what one gives goes to the next, depth first.

use std::sync::Arc;

use skuflow_processors::{Context, Counted, Input, Outbox, Output, Processor, Reject, SeenIds, Timer};
use skuflow_schemas::{Event, Text, Timestamp};

use super::counts::Counts;
use super::store::Store;
use super::timers::Timers;
use crate::broker::{BrokerError, StateChange, StateReader};

/// Makes a step for a task.
pub type StepFactory = Arc<dyn Fn(&Arc<str>, usize) -> Box<dyn Step> + Send + Sync>;

/// The factory of `processor`'s step: its arguments are the task and the bytes its cache may take.
pub fn step<P: Processor + 'static>(processor: P) -> StepFactory {
    let processor = Arc::new(processor);
    Arc::new(move |owner, cache_bytes| {
        let store = Store::new(owner.clone(), processor.name(), cache_bytes);
        Box::new(StepOf { processor: processor.clone(), store })
    })
}

/// A processor and its store, whatever its state is.
pub trait Step: Send {
    /// See [`Processor::check`].
    fn check(
        &mut self,
        key: &str,
        input: &Input,
        committed: &dyn StateReader,
    ) -> Result<Result<(), Reject>, BrokerError>;
    /// See [`Processor::apply`].
    fn apply(
        &mut self,
        key: &str,
        input: Input,
        context: &mut Context<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError>;
    /// See [`Processor::wake`].
    fn wake(
        &mut self,
        timer: &Timer,
        context: &mut Context<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError>;
    /// Changes of state since the last commit.
    fn changes(&self, into: &mut Vec<StateChange>);
    /// The changes are committed.
    fn committed(&mut self);
    /// The changes are void.
    fn aborted(&mut self);
}

struct StepOf<P: Processor> {
    processor: Arc<P>,
    store: Store<P::State>,
}

impl<P: Processor> Step for StepOf<P> {
    fn check(
        &mut self,
        key: &str,
        input: &Input,
        committed: &dyn StateReader,
    ) -> Result<Result<(), Reject>, BrokerError> {
        self.store.with(key, committed, |state| self.processor.check(input, state))
    }

    fn apply(
        &mut self,
        key: &str,
        input: Input,
        context: &mut Context<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        self.store.with(key, committed, |state| self.processor.apply(input, state, context))
    }

    fn wake(
        &mut self,
        timer: &Timer,
        context: &mut Context<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        self.store.with(&timer.key, committed, |state| self.processor.wake(timer, state, context))
    }

    fn changes(&self, into: &mut Vec<StateChange>) {
        self.store.changes(into);
    }

    fn committed(&mut self) {
        self.store.committed();
    }

    fn aborted(&mut self) {
        self.store.aborted();
    }
}

/// What the steps of a task do besides changing their state.
pub(super) struct Effects<'a> {
    pub(super) stream_time: Timestamp,
    pub(super) seen: &'a mut dyn SeenIds,
    pub(super) timers: &'a mut Timers,
    pub(super) counts: &'a mut Counts,
    /// What left the last step.
    pub(super) published: &'a mut Vec<Output>,
    /// Copies for `late.<topic>`.
    pub(super) late: &'a mut Vec<Event>,
}

/// The steps of one task.
pub(super) struct Chain {
    steps: Vec<Box<dyn Step>>,
    /// What each step gives, kept for its memory.
    given: Vec<Vec<Output>>,
}

impl Chain {
    pub(super) fn new(factories: &[StepFactory], owner: &Arc<str>, cache_bytes: usize) -> Self {
        let share = cache_bytes / factories.len().max(1);
        let steps: Vec<_> = factories.iter().map(|factory| factory(owner, share)).collect();
        let given = steps.iter().map(|_| Vec::new()).collect();
        Self { steps, given }
    }

    /// Asks the first step whether the record may pass.
    pub(super) fn check(
        &mut self,
        key: &str,
        input: &Input,
        committed: &dyn StateReader,
    ) -> Result<Result<(), Reject>, BrokerError> {
        self.steps.first_mut().map_or(Ok(Ok(())), |first| first.check(key, input, committed))
    }

    /// Gives `input` to step number `at` and what it gives to the next.
    pub(super) fn feed(
        &mut self,
        at: usize,
        key: &str,
        input: Input,
        effects: &mut Effects<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        if at == self.steps.len() {
            effects.published.push(input);
            return Ok(());
        }
        let step = &mut self.steps[at];
        let mut given = std::mem::take(&mut self.given[at]);
        with_context(at, key, effects, &mut given, |context| step.apply(key, input, context, committed))?;
        self.pass_on(at, key, given, effects, committed)
    }

    /// Fires a timer.
    pub(super) fn wake(
        &mut self,
        timer: &Timer,
        effects: &mut Effects<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        let at = usize::from(timer.step);
        let Some(step) = self.steps.get_mut(at) else { return Ok(()) };
        let mut given = std::mem::take(&mut self.given[at]);
        with_context(at, &timer.key, effects, &mut given, |context| step.wake(timer, context, committed))?;
        self.pass_on(at, &timer.key, given, effects, committed)
    }

    fn pass_on(
        &mut self,
        at: usize,
        key: &str,
        mut given: Vec<Output>,
        effects: &mut Effects<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        for output in given.drain(..) {
            self.feed(at + 1, key, output, effects, committed)?;
        }
        self.given[at] = given;
        Ok(())
    }

    pub(super) fn changes(&self, into: &mut Vec<StateChange>) {
        self.steps.iter().for_each(|step| step.changes(into));
    }

    pub(super) fn committed(&mut self) {
        self.steps.iter_mut().for_each(|step| step.committed());
    }

    pub(super) fn aborted(&mut self) {
        self.steps.iter_mut().for_each(|step| step.aborted());
    }
}

fn with_context<R>(
    at: usize,
    key: &str,
    effects: &mut Effects<'_>,
    given: &mut Vec<Output>,
    work: impl FnOnce(&mut Context<'_>) -> R,
) -> R {
    let mut outbox =
        TaskOutbox { at: at as u8, key, given, timers: effects.timers, counts: effects.counts, late: effects.late };
    work(&mut Context { stream_time: effects.stream_time, seen: effects.seen, outbox: &mut outbox })
}

struct TaskOutbox<'a> {
    at: u8,
    key: &'a str,
    given: &'a mut Vec<Output>,
    timers: &'a mut Timers,
    counts: &'a mut Counts,
    late: &'a mut Vec<Event>,
}

impl Outbox for TaskOutbox<'_> {
    fn forward(&mut self, output: Output) {
        self.given.push(output);
    }

    fn count(&mut self, counted: Counted<'_>) {
        self.counts.add(&counted);
    }

    fn late(&mut self, event: &Event) {
        self.late.push(event.clone());
    }

    fn wake_at(&mut self, due: Timestamp) {
        self.timers.add(Timer { due, step: self.at, key: Text::from(self.key) });
    }
}
