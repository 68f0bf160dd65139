//! The lake sink: what lands is what the topics have, once, whatever befalls the writer.

#[path = "lake/server.rs"]
mod server;
#[path = "lake/world.rs"]
mod world;

#[path = "lake/buckets.rs"]
mod buckets;
#[path = "lake/catalogs.rs"]
mod catalogs;
#[path = "lake/crashes.rs"]
mod crashes;
#[path = "lake/damage.rs"]
mod damage;
#[path = "lake/expected.rs"]
mod expected;
#[path = "lake/growth.rs"]
mod growth;
#[path = "lake/power.rs"]
mod power;
#[path = "lake/proxy.rs"]
mod proxy;
#[path = "lake/raw.rs"]
mod raw;
#[path = "lake/reached.rs"]
mod reached;
#[path = "lake/readers.rs"]
mod readers;
#[path = "lake/rest.rs"]
mod rest;
#[path = "lake/schema.rs"]
mod schema;
#[path = "lake/upkeep.rs"]
mod upkeep;
#[path = "lake/watch.rs"]
mod watch;
#[path = "lake/writers.rs"]
mod writers;
