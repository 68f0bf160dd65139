-- Where what is written costs less.

-- All questions name the whole listing: first what tells listings apart, so that the first column decides.
DROP INDEX price_history_by_listing;
CREATE INDEX price_history_by_listing ON price_history (native_id, customer, source, marketplace, observed_at);
DROP INDEX rank_history_by_listing;
CREATE INDEX rank_history_by_listing ON rank_history (native_id, customer, source, marketplace, observed_at);

-- Rows that are written again and again find room beside what they were: then no index of theirs is written (heap-only tuples: of
-- 150 000 updates of offers_latest 122 000 at 70, all at 50). Pages that are there already stay full until they are rewritten.
--- postgres
ALTER TABLE offers_latest SET (fillfactor = 50);
ALTER TABLE inventory_latest SET (fillfactor = 50);
ALTER TABLE competition SET (fillfactor = 50);
ALTER TABLE product_features SET (fillfactor = 50);
ALTER TABLE sellers SET (fillfactor = 50);
ALTER TABLE data_quality SET (fillfactor = 50);
---
