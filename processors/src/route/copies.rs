//! Copies of a listing's events for the products that track it.

use skuflow_schemas::{Event, EventId, Family, Role, Text, Track, listing_id};

/// The copy of `event` for `product`.
pub(super) fn copy_for(event: &Event, product: &Text, role: Role) -> Event {
    marked(event.clone(), Track { product: product.clone(), role, retracted: false }, &[])
}

/// The copy of an event of a listing that nobody tracks: the listing stands for itself. `change` numbers the change of the
/// catalog that it is sent again for.
pub(super) fn standing_alone(event: &Event, retracted: bool, change: Option<u64>) -> Event {
    let native_id = match event {
        Event::Offer(e) => &e.native_id,
        Event::Sale(e) => &e.native_id,
        Event::Inventory(e) => &e.native_id,
        _ => return event.clone(),
    };
    let product = event
        .envelope()
        .map_or_else(Text::default, |envelope| listing_id(&envelope.source, &envelope.marketplace, native_id));
    let change = change.map_or([].to_vec(), |change| change.to_le_bytes().to_vec());
    marked(event.clone(), Track { product, role: Role::Own, retracted }, &change)
}

/// The last offer once more, because of the catalog's change number `change`.
pub(super) fn resend(offer: &Event, product: &Text, role: Role, retracted: bool, change: u64) -> Event {
    let track = Track { product: product.clone(), role, retracted };
    marked(offer.clone(), track, &change.to_le_bytes())
}

/// Makes a copy of `event`: it names its cause, and has an id of its own.
fn marked(mut event: Event, track: Track, reason: &[u8]) -> Event {
    let family = event.family();
    if let Some(envelope) = event.envelope_mut() {
        let cause = envelope.event_id;
        envelope.cause_id = Some(cause);
        envelope.event_id = copy_id(family, &envelope.customer, cause, &track, reason);
    }
    match &mut event {
        Event::Offer(e) => e.track = Some(track),
        Event::Sale(e) => e.track = Some(track),
        Event::Inventory(e) => e.track = Some(track),
        _ => {}
    }
    event
}

fn copy_id(family: Family, customer: &str, cause: EventId, track: &Track, reason: &[u8]) -> EventId {
    let role = [track.role as u8, u8::from(track.retracted)];
    EventId::of(family, customer, &[&cause.0, track.product.as_bytes(), &role, reason])
}
