-- Amounts are whole millionths of their currency (2.55 GBP = 2550000). Instants are microseconds since 1970 UTC.
-- Positions and rows are written in one transaction, so every row is the effect of exactly one record.

-- The last offer per listing, seller, condition and vantage, by event time.
CREATE TABLE offers_latest (
    customer            TEXT    NOT NULL,
    source              TEXT    NOT NULL,
    marketplace         TEXT    NOT NULL,
    native_id           TEXT    NOT NULL,
    seller              TEXT    NOT NULL, -- empty = the source names nobody
    condition           TEXT    NOT NULL,
    vantage             TEXT    NOT NULL, -- country/postal/membership, empty parts = not said
    currency            TEXT,             -- null = no price
    price_micros        INTEGER,          -- null = not offered, or unknown
    shipping_micros     INTEGER,          -- null = unknown, 0 = free
    landed_price_micros INTEGER,          -- as the source states it; null = not stated
    list_price_micros   INTEGER,
    availability        TEXT    NOT NULL,
    stock_level         INTEGER,          -- units; null = not said
    buy_box             TEXT    NOT NULL,
    rating              REAL,             -- stars; null = not said
    review_count        INTEGER,
    suspect             TEXT    NOT NULL, -- rules that found it suspect, comma separated
    observed_at         INTEGER NOT NULL,
    event_id            TEXT    NOT NULL,
    log_offset          INTEGER NOT NULL, -- breaks ties of observed_at
    PRIMARY KEY (customer, source, marketplace, native_id, seller, condition, vantage)
) WITHOUT ROWID;

-- One row per accepted offer that has a price.
CREATE TABLE price_history (
    event_id            TEXT    NOT NULL PRIMARY KEY,
    customer            TEXT    NOT NULL,
    source              TEXT    NOT NULL,
    marketplace         TEXT    NOT NULL,
    native_id           TEXT    NOT NULL,
    seller              TEXT    NOT NULL,
    condition           TEXT    NOT NULL,
    observed_at         INTEGER NOT NULL,
    currency            TEXT    NOT NULL,
    price_micros        INTEGER NOT NULL,
    shipping_micros     INTEGER,
    availability        TEXT    NOT NULL,
    suspect             TEXT    NOT NULL
) WITHOUT ROWID;
CREATE INDEX price_history_by_listing ON price_history (customer, source, marketplace, native_id, observed_at);

-- The last word on each order line.
CREATE TABLE sale_lines (
    customer            TEXT    NOT NULL,
    source              TEXT    NOT NULL,
    order_id            TEXT    NOT NULL,
    line_id             TEXT    NOT NULL,
    marketplace         TEXT    NOT NULL,
    native_id           TEXT    NOT NULL,
    business_date       TEXT    NOT NULL, -- YYYY-MM-DD in the marketplace's zone
    units               INTEGER NOT NULL, -- negative = returned
    currency            TEXT    NOT NULL, -- empty = no price
    revenue_micros      INTEGER NOT NULL, -- units * unit price
    status              TEXT    NOT NULL,
    observed_at         INTEGER NOT NULL,
    event_id            TEXT    NOT NULL,
    PRIMARY KEY (customer, source, order_id, line_id)
) WITHOUT ROWID;

-- Sums over sale_lines. A status is not interpreted: shops book cancellations as lines with negative units.
CREATE TABLE sales_daily (
    customer            TEXT    NOT NULL,
    source              TEXT    NOT NULL,
    marketplace         TEXT    NOT NULL,
    native_id           TEXT    NOT NULL,
    business_date       TEXT    NOT NULL,
    currency            TEXT    NOT NULL,
    units               INTEGER NOT NULL, -- sold less returned
    units_sold          INTEGER NOT NULL,
    units_returned      INTEGER NOT NULL, -- as a positive number
    revenue_micros      INTEGER NOT NULL,
    order_lines         INTEGER NOT NULL,
    PRIMARY KEY (customer, source, marketplace, native_id, business_date, currency)
) WITHOUT ROWID;

-- The last count per SKU and location.
CREATE TABLE inventory_latest (
    customer            TEXT    NOT NULL,
    source              TEXT    NOT NULL,
    marketplace         TEXT    NOT NULL,
    native_id           TEXT    NOT NULL,
    location            TEXT    NOT NULL,
    quantity            INTEGER NOT NULL,
    relation            TEXT    NOT NULL, -- exact, at_least or unknown
    observed_at         INTEGER NOT NULL,
    event_id            TEXT    NOT NULL,
    log_offset          INTEGER NOT NULL,
    PRIMARY KEY (customer, source, marketplace, native_id, location)
) WITHOUT ROWID;

-- Dead letters by topic and reason.
CREATE TABLE dead_letters (
    topic               TEXT    NOT NULL, -- where the record came from
    code                TEXT    NOT NULL,
    count               INTEGER NOT NULL,
    first_at            INTEGER NOT NULL,
    last_at             INTEGER NOT NULL,
    last_partition      INTEGER NOT NULL, -- skuflow dlq show <topic> --filter 'partition == … && offset == …'
    last_offset         INTEGER NOT NULL,
    message             TEXT    NOT NULL, -- of the last one
    PRIMARY KEY (topic, code)
) WITHOUT ROWID;

-- What became of the records, by hour of event time (of arrival where a record could not be read).
CREATE TABLE data_quality (
    customer            TEXT    NOT NULL,
    source              TEXT    NOT NULL, -- empty = the record could not be read
    family              TEXT    NOT NULL,
    hour                INTEGER NOT NULL,
    outcome             TEXT    NOT NULL, -- accepted, unchanged, duplicate, conflicting, rejected; suspect and late beside accepted
    rule                TEXT    NOT NULL, -- of rejected and suspect; else empty
    count               INTEGER NOT NULL,
    latest_observed_at  INTEGER NOT NULL,
    PRIMARY KEY (customer, source, family, hour, outcome, rule)
) WITHOUT ROWID;

-- How far each sink has come: the position is that of the rows beside it.
CREATE TABLE sink_offsets (
    sink                TEXT    NOT NULL,
    topic               TEXT    NOT NULL,
    partition           INTEGER NOT NULL,
    cluster_id          TEXT    NOT NULL,
    topic_id            TEXT    NOT NULL,
    next_offset         INTEGER NOT NULL,
    PRIMARY KEY (sink, topic, partition)
) WITHOUT ROWID;
