use super::*;
use crate::{Envelope, EventId, Money, Offer, Sale, Timestamp};
