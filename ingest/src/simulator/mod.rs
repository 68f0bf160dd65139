//! Connector `simulator`: a marketplace that there is not, and the truth about it.
//!
//! ```text
//!   cast (who plays) ─▶ product (what happens: prices, demand; incidents planted) ─┬─▶ noise ─▶ feed (order) ─▶ records
//!                                                                                  └─▶ truth (what should be noticed)
//! ```
//!
//! Everything is a function of the settings: the same ones give the same events, whatever the size of pages, crashes and
//! restarts. There is no clock but the one that paces it.

mod cast;
mod config;
mod connector;
mod demand;
mod feed;
mod incidents;
mod noise;
mod observation;
mod prices;
mod product;
mod random;
mod records;
mod truth;

use skuflow_schemas::Family;

pub use config::{Noise, Settings};
pub use connector::Simulator;
pub use incidents::Rule;
pub use truth::{Crossing, truth};

/// What it makes, all of it always.
pub const FAMILIES: &[Family] = &[Family::Catalog, Family::Offer, Family::Sale, Family::Inventory];

#[cfg(test)]
mod tests;
