//! Long runs.
fn main() {}
