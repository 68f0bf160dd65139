//! skuflow.
fn main() {}
