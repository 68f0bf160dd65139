//! skuflow-ingest.
