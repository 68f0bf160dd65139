//! Step `catalog`, by product: the last word on each product, and a row per listing that it tracks.

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Catalog as Entry, Envelope, Event, Family, Key, Listing, ListingRef, Outcome, Role, Timestamp};

use crate::codec::{Bits, Choice, Damage, Reader, Writer};
use crate::{Context, Input, Output, Processor, State, Stated};

/// What the step takes.
pub const TAKES: &[Family] = &[Family::Catalog];
/// What it gives.
pub const GIVES: &[Family] = &[Family::Catalog, Family::Listing];

/// Settings of the step: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {}

/// The step.
#[derive(Default)]
pub struct Catalog {}

impl Catalog {
    /// A step with these settings.
    pub fn new(_config: Config) -> Self {
        Self {}
    }
}

/// The last word on a product.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastWord {
    /// When it was said; none before the first.
    observed_at: Option<Timestamp>,
    /// Hash of what it said, whatever its times and ids.
    what: u64,
    /// The listings that have a row, in order.
    rows: Vec<(ListingRef, Role)>,
}

impl State for LastWord {
    const VERSION: u8 = 3;

    fn write(&self, into: &mut Writer<'_>) {
        into.number(self.observed_at.is_some().into());
        if let Some(at) = self.observed_at {
            into.time(at);
        }
        into.word(self.what);
        into.number(self.rows.len() as u64);
        let mut before: Option<&ListingRef> = None;
        for (listing, role) in &self.rows {
            let is_there_too = before.is_some_and(|before| is_of_one_place(before, listing));
            into.number(Bits::default().and(role.number(), 2).flag(is_there_too).number());
            if !is_there_too {
                into.text(Some(&listing.source));
                into.text(Some(&listing.marketplace));
            }
            into.text(Some(&listing.native_id));
            into.text(listing.seller.as_ref());
            before = Some(listing);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let observed_at = if from.number()? == 0 { None } else { Some(from.time()?) };
        let what = from.word()?;
        let rows = from.list(|from, before: &[(ListingRef, Role)]| {
            let mut bits = Bits::of(from.number()?);
            let role = Role::of(bits.take(2))?;
            let (source, marketplace) = if bits.is() {
                let (before, _) = before.last().ok_or("a listing is where none was before")?;
                (before.source.clone(), before.marketplace.clone())
            } else {
                (from.text()?.unwrap_or_default(), from.text()?.unwrap_or_default())
            };
            let (native_id, seller) = (from.text()?.unwrap_or_default(), from.text()?);
            Ok((ListingRef { source, marketplace, native_id, seller }, role))
        })?;
        Ok(Self { observed_at, what, rows })
    }

    fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<(ListingRef, Role)>()
    }
}

fn is_of_one_place(one: &ListingRef, other: &ListingRef) -> bool {
    one.source == other.source && one.marketplace == other.marketplace
}

impl Processor for Catalog {
    type State = LastWord;

    fn name(&self) -> &'static str {
        "catalog"
    }

    fn apply(&self, input: Input, state: &mut Stated<LastWord>, context: &mut Context<'_>) {
        let (entry, body, as_read, again) = match input {
            Input::Event { event: Event::Catalog(entry), body, as_read, again } => (entry, body, as_read, again),
            Input::Tombstone { family: Family::Catalog, key } => return end(key, state, context),
            other => return context.forward(other),
        };
        let event = Event::Catalog(entry.clone());
        let rows = rows_of(&entry);
        let older = state.observed_at.is_some_and(|last| entry.envelope.observed_at < last);
        if older {
            return context.count(&event, Outcome::Unchanged, "");
        }
        let what = fingerprint(&entry);
        let is_known = state.observed_at.is_some() && state.what == what && state.rows == rows;
        state.observed_at = Some(entry.envelope.observed_at); // though nothing changes: what was said before is older
        if is_known {
            return context.count(&event, Outcome::Unchanged, "");
        }
        context.count(&event, Outcome::Accepted, "");
        emit_changes(&entry, &state.rows, &rows, context);
        state.what = what;
        state.rows = rows;
        context.forward(Output::Event { event, body, as_read, again });
    }
}

/// Ends a product: its rows, and all that is known of it. A no-op for a product that is not known.
fn end(key: Key, state: &mut Stated<LastWord>, context: &mut Context<'_>) {
    let (Some(_), Some((customer, product))) = (state.observed_at, key.as_str().split_once('/')) else { return };
    for (listing, _) in &state.rows {
        // A key has the product as the rows of a listing have it: encoded.
        let row = format!("{}|{product}", listing.key(customer));
        context.forward(Output::Tombstone { family: Family::Listing, key: Key::from(row) });
    }
    **state = LastWord::default();
    context.forward(Output::Tombstone { family: Family::Catalog, key });
}

/// The rows that an entry asks for, in a fixed order; none for a product that is taken out.
fn rows_of(entry: &Entry) -> Vec<(ListingRef, Role)> {
    if !entry.active {
        return Vec::new();
    }
    let own = entry.own.iter().map(|listing| (listing.clone(), Role::Own));
    let competitors = entry.competitors.iter().map(|listing| (listing.clone(), Role::Competitor));
    let mut rows: Vec<_> = own.chain(competitors).collect();
    rows.sort();
    rows.dedup_by(|later, first| later.0.is_listing(&first.0)); // a listing has one row
    rows
}

fn emit_changes(entry: &Entry, before: &[(ListingRef, Role)], after: &[(ListingRef, Role)], context: &mut Context<'_>) {
    // Both are sorted by listing, and a listing is in each at most once.
    let is_kept = |listing: &ListingRef| after.binary_search_by(|(kept, _)| kept.cmp(listing)).is_ok();
    for (listing, _) in before.iter().filter(|(listing, _)| !is_kept(listing)) {
        let key = listing.key(&entry.envelope.customer).row(&entry.product);
        context.forward(Output::Tombstone { family: Family::Listing, key });
    }
    for (listing, role) in after.iter().filter(|row| before.binary_search(row).is_err()) {
        let envelope = Envelope { cause_id: Some(entry.envelope.event_id), ..entry.envelope.clone() };
        let row = Listing { envelope, listing: listing.clone(), product: entry.product.clone(), role: *role };
        let mut event = Event::Listing(Box::new(row));
        let id = event.compute_id();
        if let Some(envelope) = event.envelope_mut() {
            envelope.event_id = id;
        }
        context.forward(Output::made(event));
    }
}

/// A hash of what the entry says besides its listings.
fn fingerprint(entry: &Entry) -> u64 {
    let said = Entry { envelope: Envelope::default(), own: Vec::new(), competitors: Vec::new(), ..entry.clone() };
    skuflow_schemas::content_hash(&Event::Catalog(Box::new(said)))
}
