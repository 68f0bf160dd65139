//! skuflow-sinks.
