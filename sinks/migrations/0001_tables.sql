-- For SQLite and for Postgres: src/serving/schema.rs has what INSTANT, ID … are in each. Amounts are whole millionths of their
-- currency (2.55 GBP = 2550000). Instants are microseconds since 1970 UTC in SQLite. Positions and rows are written in one
-- transaction, so every row is the effect of exactly one record. Names in capitals in the comments are tables of this file;
-- all other values are those of the event, see schemas/avro.

-- The last offer per listing, seller, condition and vantage, by event time. From offers.v1.
CREATE TABLE offers_latest (
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the system that said it
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- the listing's id in its marketplace
    seller              TEXT    NOT NULL, -- empty = the source names nobody
    condition           TEXT    NOT NULL, -- new, open_box, refurbished, used, damaged; unknown = not said
    vantage             TEXT    NOT NULL, -- country/postal/membership it was looked at from; empty parts = not said
    currency            TEXT,             -- ISO 4217, of the price; null = no price
    price_micros        INTEGER,          -- of one unit, without shipping; null = not offered, or unknown
    shipping_micros     INTEGER,          -- null = unknown, 0 = free
    landed_price_micros INTEGER,          -- price and shipping as the source states it, never computed; null = not stated
    list_price_micros   INTEGER,          -- the struck-out or recommended price; null = not stated
    availability        TEXT    NOT NULL, -- in_stock, limited, low, backorder, …, out_of_stock; unknown = not said
    stock_level         INTEGER,          -- units left; null = not said
    buy_box             TEXT    NOT NULL, -- won, lost, none = the listing has none; unknown = not said
    rating              REAL,             -- mean, out of rating_best; null = not said
    rating_best         REAL    NOT NULL, -- 5 where the source says nothing else
    review_count        INTEGER,          -- reviews so far; null = not said
    suspect             TEXT    NOT NULL, -- rules of validate that found it suspect, comma separated; empty = none
    observed_at         INSTANT NOT NULL, -- event time: when it was so
    event_id            ID      NOT NULL, -- of the offer, 32 hex digits; the key of PRICE_HISTORY
    log_offset          INTEGER NOT NULL, -- in its partition of the topic; of one observed_at, the highest stands
    PRIMARY KEY (customer, source, marketplace, native_id, seller, condition, vantage)
) ROWS_BY_KEY;

-- One row per accepted offer that has a price. From offers.v1; columns as in OFFERS_LATEST.
CREATE TABLE price_history (
    observed_at         INSTANT NOT NULL, -- event time: when it was so
    event_id            ID      NOT NULL, -- 32 hex digits; the same for every delivery of an observation
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the system that said it
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- the listing's id in its marketplace
    seller              TEXT    NOT NULL, -- empty = the source names nobody
    condition           TEXT    NOT NULL, -- new, used, …; unknown = not said
    currency            TEXT    NOT NULL, -- ISO 4217
    price_micros        INTEGER NOT NULL, -- of one unit, without shipping
    shipping_micros     INTEGER,          -- null = unknown, 0 = free
    availability        TEXT    NOT NULL, -- in_stock, …; unknown = not said
    suspect             TEXT    NOT NULL, -- rules of validate that found it suspect, comma separated; empty = none
    PRIMARY KEY (observed_at, event_id)
) ROWS_BY_MONTH;
CREATE INDEX price_history_by_listing ON price_history (customer, source, marketplace, native_id, observed_at);

-- The last word on each order line, by event time; of one time, that of the highest event id. From sales.v1.
CREATE TABLE sale_lines (
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the shop system that said it
    order_id            TEXT    NOT NULL, -- in the source's words
    line_id             TEXT    NOT NULL, -- within the order
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- what was sold: our own listing (SKU)
    business_date       DAY     NOT NULL, -- YYYY-MM-DD in the marketplace's zone
    units               INTEGER NOT NULL, -- negative = returned
    currency            TEXT    NOT NULL, -- ISO 4217, of the unit price; empty = no price
    revenue_micros      INTEGER NOT NULL, -- units * unit price as charged; 0 where there is no price
    status              TEXT    NOT NULL, -- pending, completed, cancelled, returned; unknown = not said
    observed_at         INSTANT NOT NULL, -- event time: when the line was last changed
    event_id            ID      NOT NULL, -- of the last word, 32 hex digits
    PRIMARY KEY (customer, source, order_id, line_id)
) ROWS_BY_KEY;

-- Sums over SALE_LINES. A status is not interpreted: shops book cancellations as lines with negative units.
CREATE TABLE sales_daily (
    customer            TEXT    NOT NULL, -- as in SALE_LINES, up to currency
    source              TEXT    NOT NULL, -- the shop system
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- what was sold (SKU)
    business_date       DAY     NOT NULL, -- YYYY-MM-DD in the marketplace's zone
    currency            TEXT    NOT NULL, -- ISO 4217; empty = lines without a price
    units               INTEGER NOT NULL, -- sold less returned
    units_sold          INTEGER NOT NULL, -- of lines with positive units
    units_returned      INTEGER NOT NULL, -- of lines with negative units, as a positive number
    revenue_micros      INTEGER NOT NULL, -- sold less returned
    order_lines         INTEGER NOT NULL, -- never 0: a day without lines has no row
    PRIMARY KEY (customer, source, marketplace, native_id, business_date, currency)
) ROWS_BY_KEY;

-- The last count per SKU and location, by event time. From inventory.v1.
CREATE TABLE inventory_latest (
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the system that counted
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- our own listing (SKU)
    location            TEXT    NOT NULL, -- warehouse, shop or fulfilment centre
    quantity            INTEGER NOT NULL, -- units that can be sold
    relation            TEXT    NOT NULL, -- exact, at_least ("10+"); unknown = not said
    observed_at         INSTANT NOT NULL, -- event time: when it was counted
    event_id            ID      NOT NULL, -- of the count, 32 hex digits
    log_offset          INTEGER NOT NULL, -- in its partition of the topic; of one observed_at, the highest stands
    PRIMARY KEY (customer, source, marketplace, native_id, location)
) ROWS_BY_KEY;

-- Dead letters by topic and reason. From the dlq.* topics a sink reads; a replayed letter stays counted.
CREATE TABLE dead_letters (
    topic               TEXT    NOT NULL, -- the topic, or the connector, that the record came from
    code                TEXT    NOT NULL, -- the rule or decoding code, stable
    count               INTEGER NOT NULL, -- letters
    first_at            INSTANT NOT NULL, -- when the first was written: arrival, not event time
    last_at             INSTANT NOT NULL, -- when the last was written
    last_partition      INTEGER NOT NULL, -- skuflow dlq show <topic> --filter 'partition == … && offset == …'
    last_offset         INTEGER NOT NULL, -- of that record in its topic; from a connector, its number in its file
    message             TEXT    NOT NULL, -- of the last one, in words
    PRIMARY KEY (topic, code)
) ROWS_BY_KEY;

-- What became of the records, by hour of event time (of arrival where a record could not be read). From quality.v1.
CREATE TABLE data_quality (
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- empty = the record could not be read
    family              TEXT    NOT NULL, -- offer, sale, inventory, catalog, …
    hour                INSTANT NOT NULL, -- its first instant
    outcome             TEXT    NOT NULL, -- accepted, unchanged, duplicate, conflicting, rejected; suspect and late beside accepted
    rule                TEXT    NOT NULL, -- of rejected and suspect; else empty
    count               INTEGER NOT NULL, -- records
    latest_observed_at  INSTANT NOT NULL, -- latest event time among them
    PRIMARY KEY (customer, source, family, hour, outcome, rule)
) ROWS_BY_KEY;

-- How far each sink has come: the position is that of the rows beside it.
CREATE TABLE sink_offsets (
    sink                TEXT    NOT NULL, -- its name in the config
    topic               TEXT    NOT NULL, -- on the broker, with the configured prefix
    partition           INTEGER NOT NULL, -- from 0
    cluster_id          TEXT    NOT NULL, -- of the cluster or data directory; another one's records are refused
    topic_id            TEXT    NOT NULL, -- a topic made anew has another one, and is refused
    next_offset         INTEGER NOT NULL, -- all before it is in the rows, nothing from it on
    PRIMARY KEY (sink, topic, partition)
) ROWS_BY_KEY;

-- Partitions by month are made as rows need them. Rows of years without four digits, and those beyond the 240th month, are in
-- the one for others.
--- postgres
CREATE TABLE price_history_other PARTITION OF price_history DEFAULT;

CREATE FUNCTION make_months(history TEXT, months DATE[]) RETURNS BIGINT
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    month DATE;
    part TEXT;
    made BIGINT := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = to_regclass(history)) THEN
        RAISE 'there is no history %', history;
    END IF;
    PERFORM pg_advisory_xact_lock(to_regclass(history)::oid::bigint);
    FOREACH month IN ARRAY months LOOP
        month := date_trunc('month', month);
        part := format('%s_%s', history, to_char(month, 'YYYY_MM'));
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        EXIT WHEN (SELECT count(*) FROM pg_inherits WHERE inhparent = to_regclass(history)) > 240;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, history);
        EXECUTE format(
            'WITH moved AS (DELETE FROM %I WHERE observed_at >= %L AND observed_at < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            history || '_other', month, month + interval '1 month', part);
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            history, part, month, month + interval '1 month');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
REVOKE EXECUTE ON FUNCTION make_months(TEXT, DATE[]) FROM PUBLIC;
---
