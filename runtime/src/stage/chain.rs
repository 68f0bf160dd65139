//! A chain of steps, with the state of one task: what one gives goes to the next, depth first.

use std::sync::Arc;

use skuflow_processors::{
    Context, Counted, Input, Outbox, Output, Processor, Reject, Rows, SeenIds, State, Stated, Timer,
};
use skuflow_schemas::{Event, Text, Timestamp};

use super::counts::Counts;
use super::store::{KeyState, RowsOf, Store, decode};
use super::timers::Timers;
use crate::broker::{BrokerError, StateChange, StateReader};

/// A processor, whatever its state is.
pub trait Step: Send + Sync {
    /// See [`Processor::name`].
    fn name(&self) -> &'static str;
    /// The state of a key from its stored bytes; none give a new one.
    fn decode(&self, bytes: &[u8]) -> Result<Box<dyn KeyState>, String>;
    /// See [`Processor::check`].
    fn check(&self, input: &Input, state: &mut dyn KeyState) -> Result<(), Reject>;
    /// See [`Processor::apply`].
    fn apply(&self, input: Input, state: &mut dyn KeyState, context: &mut Context<'_>);
    /// See [`Processor::wake`].
    fn wake(&self, timer: &Timer, state: &mut dyn KeyState, context: &mut Context<'_>);
}

/// The step that `processor` is.
pub fn step<P: Processor + 'static>(processor: P) -> Arc<dyn Step> {
    Arc::new(StepOf(processor))
}

struct StepOf<P>(P);

fn typed<S: State>(state: &mut dyn KeyState) -> &mut Stated<S> {
    state.any().downcast_mut().expect("each step has the state that it made")
}

impl<P: Processor> Step for StepOf<P> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn decode(&self, bytes: &[u8]) -> Result<Box<dyn KeyState>, String> {
        Ok(Box::new(decode::<P::State>(bytes)?))
    }

    fn check(&self, input: &Input, state: &mut dyn KeyState) -> Result<(), Reject> {
        self.0.check(input, typed(state))
    }

    fn apply(&self, input: Input, state: &mut dyn KeyState, context: &mut Context<'_>) {
        self.0.apply(input, typed(state), context);
    }

    fn wake(&self, timer: &Timer, state: &mut dyn KeyState, context: &mut Context<'_>) {
        self.0.wake(timer, typed(state), context);
    }
}

/// What the steps of a task do besides changing their state.
pub(super) struct Effects<'a> {
    pub(super) stream_time: Timestamp,
    /// The value of the record at hand.
    pub(super) value: &'a [u8],
    pub(super) seen: &'a mut dyn SeenIds,
    pub(super) timers: &'a mut Timers,
    pub(super) counts: &'a mut Counts,
    /// What left the last step.
    pub(super) published: &'a mut Vec<Output>,
    /// Copies for `late.<topic>`.
    pub(super) late: &'a mut Vec<Event>,
}

/// The steps of one task, and their state.
pub(super) struct Chain {
    steps: Vec<Arc<dyn Step>>,
    store: Store,
    /// What each step gives, kept for its memory.
    given: Vec<Vec<Output>>,
}

impl Chain {
    pub(super) fn new(steps: &[Arc<dyn Step>], owner: &Arc<str>, cache_bytes: usize) -> Self {
        let store = Store::new(owner.clone(), steps, cache_bytes);
        Self { steps: steps.to_vec(), store, given: steps.iter().map(|_| Vec::new()).collect() }
    }

    /// Asks the first step whether the record may pass.
    pub(super) fn check(
        &mut self,
        key: &str,
        input: &Input,
        committed: &dyn StateReader,
    ) -> Result<Result<(), Reject>, BrokerError> {
        let Some(first) = self.steps.first() else { return Ok(Ok(())) };
        self.store.with(key, committed, |states, _| first.check(input, states[0].as_mut()))
    }

    /// Gives `input` to the first step, what it gives to the next, and so on.
    pub(super) fn feed(
        &mut self,
        key: &str,
        input: Input,
        effects: &mut Effects<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        let (steps, given) = (&self.steps, &mut self.given);
        self.store.with(key, committed, |states, rows| {
            feed(&mut Links { first: 0, steps, states, given }, key, input, rows, effects);
        })
    }

    /// Fires a timer.
    pub(super) fn wake(
        &mut self,
        timer: &Timer,
        effects: &mut Effects<'_>,
        committed: &dyn StateReader,
    ) -> Result<(), BrokerError> {
        let at = usize::from(timer.step);
        let (Some(steps), Some(given)) = (self.steps.get(at..), self.given.get_mut(at..)) else { return Ok(()) };
        let key = timer.key.as_str();
        self.store.with(key, committed, |states, rows| {
            let links = &mut Links { first: at, steps, states: &mut states[at..], given };
            call(links, key, rows, effects, |step, state, context| step.wake(timer, state, context));
        })
    }

    pub(super) fn changes(&mut self, into: &mut Vec<StateChange>) {
        self.store.changes(into);
    }

    pub(super) fn committed(&mut self) {
        self.store.committed();
    }

    pub(super) fn aborted(&mut self) {
        self.store.aborted();
    }

    pub(super) fn cached(&self) -> (usize, usize) {
        self.store.cached()
    }
}

/// The steps from number `first` to the last, with the states of the key at hand.
struct Links<'a> {
    first: usize,
    steps: &'a [Arc<dyn Step>],
    states: &'a mut [Box<dyn KeyState>],
    given: &'a mut [Vec<Output>],
}

fn feed(links: &mut Links<'_>, key: &str, input: Input, rows: &mut RowsOf<'_>, effects: &mut Effects<'_>) {
    if links.steps.is_empty() {
        return effects.published.push(input);
    }
    call(links, key, rows, effects, |step, state, context| step.apply(input, state, context));
}

/// Lets the first of the links work, and feeds what it gives to the next, depth first.
fn call(
    links: &mut Links<'_>,
    key: &str,
    rows: &mut RowsOf<'_>,
    effects: &mut Effects<'_>,
    work: impl FnOnce(&dyn Step, &mut dyn KeyState, &mut Context<'_>),
) {
    let (Some((step, steps)), Some((state, states)), Some((kept, given))) =
        (links.steps.split_first(), links.states.split_first_mut(), links.given.split_first_mut())
    else {
        return;
    };
    let mut outputs = std::mem::take(kept);
    let mut outbox = TaskOutbox {
        at: links.first as u8,
        key,
        given: &mut outputs,
        timers: effects.timers,
        counts: effects.counts,
        late: effects.late,
    };
    let mut rows_of_step = StepRows { step: links.first as u8, rows };
    let mut context = Context {
        stream_time: effects.stream_time,
        value: effects.value,
        seen: effects.seen,
        rows: &mut rows_of_step,
        outbox: &mut outbox,
    };
    work(step.as_ref(), state.as_mut(), &mut context);
    let mut next = Links { first: links.first + 1, steps, states, given };
    for output in outputs.drain(..) {
        feed(&mut next, key, output, rows, effects);
    }
    *kept = outputs;
}

struct StepRows<'a, 'b> {
    step: u8,
    rows: &'a mut RowsOf<'b>,
}

impl Rows for StepRows<'_, '_> {
    fn put(&mut self, row: u64) -> &mut Vec<u8> {
        self.rows.put(self.step, row)
    }

    fn edit(&mut self, row: u64) -> &mut Vec<u8> {
        self.rows.edit(self.step, row)
    }

    fn remove(&mut self, row: u64) {
        self.rows.remove(self.step, row);
    }

    fn get(&mut self, row: u64) -> Option<Vec<u8>> {
        self.rows.get(self.step, row)
    }

    fn refuse(&mut self, row: u64, reason: &str) {
        self.rows.refuse(self.step, row, reason);
    }
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
