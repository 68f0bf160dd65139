-- What products, listings and sellers are, and what was said of them day by day. Columns as in 0001 and 0002: amounts are whole
-- millionths of their currency, instants microseconds since 1970 UTC, `day` the UTC day of `observed_at`.

-- The last word on each product. From catalog.v1; a product that is ended has no row.
CREATE TABLE products (
    record_key          TEXT    NOT NULL PRIMARY KEY, -- of the record in its topic
    customer            TEXT    NOT NULL, -- whose data
    product             TEXT    NOT NULL, -- the customer's own id of the product
    name                TEXT,             -- null = not stated
    category            TEXT,             -- in the customer's words; null = not stated
    currency            TEXT,             -- ISO 4217, in which its prices are compared; null = not stated
    cost_currency       TEXT,             -- ISO 4217, of cost_micros; null = no cost
    cost_micros         INTEGER,          -- what one unit costs the customer; null = not stated
    price_floor_micros  INTEGER,          -- lowest price the customer wants to ask; null = not stated
    price_ceiling_micros INTEGER,         -- highest price the customer wants to ask; null = not stated
    active              INTEGER NOT NULL, -- 1, or 0 = taken out: it has no listings
    observed_at         INSTANT NOT NULL, -- event time: when it was so
    event_id            ID      NOT NULL  -- of the word, 32 hex digits
) ROWS_BY_KEY;
CREATE UNIQUE INDEX products_by_id ON products (customer, product);
CREATE INDEX products_by_category ON products (customer, category);

-- Which products track which listings, as their catalog entries have it now. From listings.v1.
CREATE TABLE listings (
    record_key          TEXT    NOT NULL PRIMARY KEY, -- of the record in its topic
    customer            TEXT    NOT NULL, -- whose data
    product             TEXT    NOT NULL, -- the customer's own id of the product
    source              TEXT    NOT NULL, -- the system that reports the listing
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- the listing's id in its marketplace
    seller              TEXT,             -- whose offers on it are meant; null = everybody's
    role                TEXT    NOT NULL, -- what the listing is to the product: own, competitor; unknown = not said
    observed_at         INSTANT NOT NULL, -- event time of the catalog entry that says so
    cause_id            ID                -- that entry, 32 hex digits; null = a program that names none
) ROWS_BY_KEY;
CREATE INDEX listings_by_product ON listings (customer, product);
CREATE INDEX listings_by_listing ON listings (customer, source, marketplace, native_id);

-- Everybody who was named as the seller of an accepted offer. From offers.v1.
CREATE TABLE sellers (
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the system that said it
    marketplace         TEXT    NOT NULL, -- in the source's words
    seller              TEXT    NOT NULL, -- in the source's words
    offers              INTEGER NOT NULL, -- accepted offers so far
    first_observed_at   INSTANT NOT NULL, -- event time of the earliest
    latest_observed_at  INSTANT NOT NULL, -- event time of the latest
    PRIMARY KEY (customer, source, marketplace, seller)
) ROWS_BY_KEY;

-- One row per accepted offer and sales rank that it states. From offers.v1.
CREATE TABLE rank_history (
    observed_at         INSTANT NOT NULL, -- event time: when it was so
    event_id            ID      NOT NULL, -- of the offer, 32 hex digits
    rank_category       TEXT    NOT NULL, -- in the source's words
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the system that said it
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- the listing's id in its marketplace
    sales_rank          INTEGER NOT NULL, -- in the category; 1 is best
    PRIMARY KEY (observed_at, event_id, rank_category)
) ROWS_BY_MONTH;
CREATE INDEX rank_history_by_listing ON rank_history (customer, source, marketplace, native_id, observed_at);

-- The last rating and count of reviews said of a listing on each day, by event time. From offers.v1.
CREATE TABLE review_daily (
    customer            TEXT    NOT NULL, -- whose data
    source              TEXT    NOT NULL, -- the system that said it
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- the listing's id in its marketplace
    day                 DAY     NOT NULL, -- YYYY-MM-DD in UTC
    rating              REAL,             -- mean, out of rating_best; null = not said
    rating_best         REAL    NOT NULL, -- 5 where the source says nothing else
    review_count        INTEGER,          -- reviews so far; null = not said
    observed_at         INSTANT NOT NULL, -- event time: when it was so
    event_id            ID      NOT NULL, -- of the offer, 32 hex digits
    log_offset          INTEGER NOT NULL, -- in its partition of the topic; of one observed_at, the highest stands
    PRIMARY KEY (customer, source, marketplace, native_id, day)
) DAYS_BY_MONTH;

-- The last figures of each product on each day, by event time; columns as in PRODUCT_FEATURES. From features.v1.
CREATE TABLE product_features_daily (
    customer                        TEXT    NOT NULL, -- whose data
    product                         TEXT    NOT NULL, -- the customer's product; a listing that nobody tracks stands for itself, by its listing id
    day                             DAY     NOT NULL, -- YYYY-MM-DD in UTC
    product_price_current           REAL,             -- price (now): lowest landed price of the own offers that stand and can be had; null = no such offer, or in another currency
    product_unit_price              REAL,             -- price per kg, l or piece (now): price without shipping of that offer / its size; null = no such offer, or no size stated
    product_price_avg_7d            REAL,             -- price (last 7 completed days): mean of product_price_current, weighted by time; null = never known in the window
    product_price_avg_30d           REAL,             -- price (last 30 completed days): mean of product_price_current, weighted by time; null = never known in the window
    product_price_volatility_7d     REAL,             -- 1 (last 7 completed days): standard deviation (of a sample) of the logarithms of its changes from daily last value to daily last value; null = fewer than 3 days with a value
    product_price_volatility        REAL,             -- 1 (last 30 completed days): standard deviation (of a sample) of the logarithms of its changes from daily last value to daily last value; null = fewer than 3 days with a value
    product_rating_avg              REAL,             -- stars of 5 (now): mean over own listings of the last rating said, scaled to 5; null = nobody has said one that stands
    product_rating_change_7d        REAL,             -- stars of 5 (last 7 completed days): product_rating_avg - its highest daily last value in the window; null = no such day with a value
    product_review_count            REAL,             -- reviews (now): highest over own listings of the last count said; null = nobody has said one that stands
    product_sales_rank              REAL,             -- rank, 1 is best (now): best over own listings of the ranks last said, whatever their category; null = nobody has said one that stands
    product_rank_change_7d          REAL,             -- 1 (last 7 completed days): product_sales_rank / its daily last value of 7 days ago or, where there is none, the earliest later one - 1; null = no such day with a value
    product_inventory_level         REAL,             -- units (now): sum over own listings and their locations of the last stock counted, however long ago; null = nobody has said one
    product_days_of_stock           REAL,             -- days (7 days): product_inventory_level / demand_sales_velocity_7d; null = no stock said, or nothing sold
    product_margin                  REAL,             -- 1 (now): (product_price_current - cost) / product_price_current; null = no price, or no cost in the catalog entry
    product_buybox_won              REAL,             -- 1 = won, 0 = not (now): whether an own offer that stands says to have won it; null = none says whether
    competitor_price_min            REAL,             -- price (now): lowest landed price of competitors' offers that stand and can be had; null = no catalog entry, no such offer, or all in other currencies
    competitor_price_median         REAL,             -- price (now): median landed price of competitors' offers that stand and can be had; null = no catalog entry, no such offer, or all in other currencies
    competitor_count_active         REAL,             -- sellers (now): competitors with an offer that stands and can be had; null = no catalog entry
    competitor_price_drops_24h      REAL,             -- sellers (24 hours): competitors who lowered the landed price of an offer that stood by more than 1 %; null = no catalog entry
    competitor_buybox_share         REAL,             -- 1, an estimate (last 30 completed days): share of the time in which a competitor held the Buy Box, of the time in which somebody was known to: who was last said to, and of own offers still is; null = no catalog entry, or nobody was known to
    competitor_rating_avg           REAL,             -- stars of 5 (now): mean over competing listings of the last rating said, scaled to 5; null = no catalog entry, or nobody has said one that stands
    demand_units_1d                 REAL,             -- units (last completed day): units sold, without returns; null = nothing was sold before today
    demand_sales_velocity_7d        REAL,             -- units per day (last 7 completed days): units sold, without returns / days since the first sale in which the product could be had (not: own offers stood, and none could), at least 1; null = no sale in the window
    demand_returns_7d               REAL,             -- units (last 7 completed days): units returned; null = no sale or return in the window
    demand_mean_28d                 REAL,             -- units per day (the 28 days before the last completed day): mean of the units sold per day since the first sale, without returns; null = nothing was sold yet, or fewer than 14 such days
    demand_search_volume            REAL,             -- searches (-): not computed; null = no connector gives searches
    demand_conversion_rate          REAL,             -- 1 (-): not computed; null = no connector gives visits
    demand_seasonality_index        REAL,             -- 1 (last 28 completed days): mean units of the weekday of the last completed day / mean units of all days; null = fewer than 28 days since the first sale, or nothing sold
    demand_trend_30d                REAL,             -- 1 (last 30 completed days): (units of the last 15 completed days - units of the 15 before) / (their sum); null = fewer than 30 days since the first sale, or nothing sold
    market_sentiment_score          REAL,             -- 1 (-): not computed; null = no connector gives reviews' texts
    market_promotion_intensity      REAL,             -- 1 (now): share of the competitors' offers that stand whose price is below 95 % of their list price; null = no catalog entry, no such offer, or none states a list price
    market_new_entrants_30d         REAL,             -- sellers (30 days): sellers who came in the window, had no offer in the 30 days before and are still tracked, not counting the first day on which product and market were known; null = no catalog entry
    market_stockout_rate            REAL,             -- 1 (now): share of the competitors' offers that stand and say whether that are out of stock; null = no catalog entry, or none says
    external_weather_temp           REAL,             -- °C (-): not computed; null = no connector gives weather
    external_holiday_proximity      REAL,             -- days (-): not computed; null = no connector gives holidays
    external_cpi                    REAL,             -- index (-): not computed; null = no connector gives price indices
    external_social_mentions        REAL,             -- mentions (-): not computed; null = no connector gives mentions
    price_gap                       REAL,             -- price (now): product_price_current - competitor_price_min; null = one of them is null
    price_index                     REAL,             -- 1 (now): product_price_current / competitor_price_median; null = one of them is null
    score_price_competitiveness     REAL,             -- 0 to 100 (now): clamp((2 - price_index) * 50, 0, 100); null = price_index is null
    score_quality                   REAL,             -- 0 to 100 (now): product_rating_avg / 5 * 100; null = product_rating_avg is null
    score_popularity                REAL,             -- 0 to 100 (now): clamp(100 - 20 * log10(product_sales_rank), 0, 100); null = product_sales_rank is null
    score_overall                   REAL,             -- 0 to 100 (now): mean of the other scores that are not null; null = all of them are null
    currency                        TEXT,             -- ISO 4217, of all prices: the catalog entry's; null = there is no entry
    nulls                           JSON    NOT NULL, -- JSON object: of each figure that is null, its name and why: no_source, no_catalog, too_short, …
    observed_at                     INSTANT NOT NULL, -- event time: when the figures were so
    cause_id                        ID,               -- event that changed a figure, 32 hex digits; null = time alone did
    event_id                        ID      NOT NULL, -- of the figures, 32 hex digits
    log_offset                      INTEGER NOT NULL, -- in its partition of the topic; of one observed_at, the highest stands
    PRIMARY KEY (customer, product, day)
) DAYS_BY_MONTH;

-- When rows of each month of a history last came in: what retention goes by. Histories are price_history, rank_history,
-- review_daily and product_features_daily.
CREATE TABLE history_months (
    history             TEXT    NOT NULL, -- the table
    month               DAY     NOT NULL, -- its first day, in UTC
    latest_ingested_at  INSTANT NOT NULL, -- when a connector took in the last of its rows
    dropped_before      INSTANT,          -- its rows that came in before this were dropped; null = none were
    PRIMARY KEY (history, month)
) ROWS_BY_KEY;

-- What became of alerts, by those who look after them: no sink writes here. An alert without a row is open.
CREATE TABLE alert_states (
    event_id            ID      NOT NULL PRIMARY KEY, -- of the alert, 32 hex digits
    state               TEXT    NOT NULL, -- open, acknowledged, resolved
    changed_at          INSTANT NOT NULL, -- when it was set
    changed_by          TEXT    NOT NULL, -- who set it
    note                TEXT              -- why; null = nothing said
) ROWS_BY_KEY;

-- Alerts that nobody has resolved.
CREATE INDEX alerts_by_time ON alerts (customer, observed_at, event_id);
CREATE VIEW open_alerts AS SELECT
    alert.event_id,               -- 32 hex digits
    alert.customer,               -- whose data
    alert.product,                -- the customer's product
    alert.rule,                   -- id of the rule that came true
    alert.seller,                 -- whom it is about; null = the rule is not about sellers
    alert.severity,               -- info, warning, critical; unknown = of a later version
    alert.message,                -- in words
    alert.value,                  -- how far it went, in the rule's own measure; null = the rule has none
    alert.dedup_key,              -- 32 hex digits, equal for all alerts of a rule on this product and seller
    alert.observed_at,            -- event time: when the rule came true
    coalesce(known.state, 'open') AS state -- open, acknowledged
FROM alerts AS alert LEFT JOIN alert_states AS known USING (event_id)
WHERE known.state IS NULL OR known.state <> 'resolved';

-- What is asked of latest tables and counts by others than their keys.
CREATE INDEX offers_latest_by_seller ON offers_latest (customer, source, marketplace, seller);
CREATE INDEX data_quality_by_hour ON data_quality (customer, hour);

-- What products of a category cost, by the figures of PRODUCT_FEATURES; products without a price are left out. In Postgres as it
-- was at the last refresh, as are the views below.
CREATE KEPT_VIEW category_price_ranges AS
WITH priced AS (
  SELECT customer, coalesce(entry.category, '') AS category, coalesce(figures.currency, '') AS currency,
  product_price_current AS price, competitor_price_min AS rival,
  count(*) OVER same AS products, row_number() OVER (same ORDER BY product_price_current) AS place
  FROM product_features AS figures JOIN products AS entry USING (customer, product)
  WHERE product_price_current IS NOT NULL
  WINDOW same AS (PARTITION BY customer, coalesce(entry.category, ''), coalesce(figures.currency, ''))
), middle AS (
  SELECT *, CASE WHEN place * 2 BETWEEN products AND products + 2 THEN price END AS median FROM priced
)
SELECT
    middle.customer,              -- whose data
    middle.category,              -- in the customer's words; empty = not stated
    middle.currency,              -- ISO 4217; empty = not stated
    count(middle.price) AS products, -- those with a price
    min(middle.price) AS price_min, -- price: the lowest product_price_current
    avg(middle.median) AS price_median, -- price: half of them ask less
    max(middle.price) AS price_max, -- price: the highest
    min(middle.rival) AS competitor_price_min -- price: the lowest of a competitor; null = none is known
FROM middle GROUP BY middle.customer, middle.category, middle.currency;

-- Where each product stands in its category, among products that have the figure.
CREATE KEPT_VIEW market_position AS
WITH placed AS (
  SELECT customer, product, coalesce(entry.category, '') AS category, figures.currency, figures.product_price_current,
  figures.competitor_price_min, figures.price_index, figures.score_overall, figures.observed_at,
  rank() OVER (same ORDER BY coalesce(figures.price_index, 1e308)) AS by_price,
  rank() OVER (same ORDER BY coalesce(figures.score_overall, -1) DESC) AS by_score
  FROM product_features AS figures JOIN products AS entry USING (customer, product)
  WINDOW same AS (PARTITION BY customer, coalesce(entry.category, ''))
)
SELECT
    placed.customer,              -- whose data
    placed.product,               -- the customer's product
    placed.category,              -- in the customer's words; empty = not stated
    placed.currency,              -- ISO 4217, of all prices; null = not stated
    placed.product_price_current, -- price: as in PRODUCT_FEATURES
    placed.competitor_price_min,  -- price: as in PRODUCT_FEATURES
    placed.price_index,           -- 1: as in PRODUCT_FEATURES
    placed.score_overall,         -- 0 to 100: as in PRODUCT_FEATURES
    CASE WHEN placed.price_index IS NOT NULL THEN placed.by_price END AS price_place, -- 1 = cheapest beside its competitors; null = no price_index
    CASE WHEN placed.score_overall IS NOT NULL THEN placed.by_score END AS score_place, -- 1 = best; null = no score
    placed.observed_at            -- event time: when the figures were so
FROM placed;

-- Products whose price at the end of a day is another than at the end of the last day before it that has figures.
CREATE KEPT_VIEW daily_movers AS
WITH days AS (
  SELECT customer, product, day, currency, product_price_current AS price,
  lag(product_price_current) OVER earlier AS price_before, lag(day) OVER earlier AS day_before,
  lag(currency) OVER earlier AS currency_before
  FROM product_features_daily WHERE product_price_current IS NOT NULL
  WINDOW earlier AS (PARTITION BY customer, product ORDER BY day)
)
SELECT
    days.customer,                -- whose data
    days.day,                     -- YYYY-MM-DD in UTC
    days.product,                 -- the customer's product
    days.currency,                -- ISO 4217; null = not stated
    days.price,                   -- price: product_price_current at the end of the day
    days.price_before,            -- price: at the end of day_before
    days.day_before,              -- YYYY-MM-DD in UTC
    (days.price - days.price_before) / days.price_before AS change, -- 1: 0.1 = 10 % dearer
    abs(days.price - days.price_before) / days.price_before AS size -- 1: the change without its sign
FROM days WHERE days.price <> days.price_before AND days.price_before > 0
  AND coalesce(days.currency, '') = coalesce(days.currency_before, '');

--- postgres
CREATE UNIQUE INDEX category_price_ranges_by_category ON category_price_ranges (customer, category, currency);
CREATE UNIQUE INDEX market_position_by_product ON market_position (customer, product);
CREATE UNIQUE INDEX daily_movers_by_product ON daily_movers (customer, day, product);
CREATE INDEX daily_movers_by_size ON daily_movers (customer, day, size DESC, product);

CREATE FUNCTION refresh_views() RETURNS VOID
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    REFRESH MATERIALIZED VIEW CONCURRENTLY category_price_ranges;
    REFRESH MATERIALIZED VIEW CONCURRENTLY market_position;
    REFRESH MATERIALIZED VIEW CONCURRENTLY daily_movers;
END $$;
REVOKE EXECUTE ON FUNCTION refresh_views() FROM PUBLIC;

CREATE TABLE rank_history_other PARTITION OF rank_history DEFAULT;
CREATE TABLE review_daily_other PARTITION OF review_daily DEFAULT;
CREATE TABLE product_features_daily_other PARTITION OF product_features_daily DEFAULT;

CREATE OR REPLACE FUNCTION make_months(history TEXT, months DATE[]) RETURNS BIGINT
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    month DATE;
    part TEXT;
    by_column NAME;
    made BIGINT := 0;
BEGIN
    SELECT attname INTO by_column FROM pg_partitioned_table JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0]
        WHERE partrelid = to_regclass(history);
    IF by_column IS NULL THEN
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
            'WITH moved AS (DELETE FROM %I WHERE %I >= %L AND %I < %L RETURNING *) INSERT INTO %I SELECT * FROM moved',
            history || '_other', by_column, month, by_column, month + interval '1 month', part);
        EXECUTE format(
            'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            history, part, month, month + interval '1 month');
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

-- Removes a month of a history whose last row came in before an instant. Locks are taken in the order in which a sink takes them.
CREATE FUNCTION drop_month(dropped_from TEXT, first DATE, before TIMESTAMPTZ) RETURNS VOID
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    part TEXT := format('%s_%s', dropped_from, to_char(first, 'YYYY_MM'));
    by_column TEXT := CASE WHEN dropped_from IN ('price_history', 'rank_history') THEN 'observed_at' ELSE 'day' END;
BEGIN
    PERFORM pg_advisory_xact_lock(to_regclass(dropped_from)::oid::bigint);
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', dropped_from);
    UPDATE history_months SET dropped_before = before
        WHERE history = dropped_from AND month = first AND latest_ingested_at < before;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF to_regclass(part) IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', dropped_from, part);
        EXECUTE format('DROP TABLE %I', part);
    ELSE
        EXECUTE format(
            'DELETE FROM %I WHERE %I >= %L AND %I < %L',
            dropped_from || '_other', by_column, first, by_column, first + interval '1 month');
    END IF;
END $$;
REVOKE EXECUTE ON FUNCTION drop_month(TEXT, DATE, TIMESTAMPTZ) FROM PUBLIC;

-- Rows that are there already count as if they came in now.
INSERT INTO history_months SELECT 'price_history', date_trunc('month', observed_at AT TIME ZONE 'UTC')::date, now(), NULL
    FROM price_history WHERE observed_at BETWEEN '0001-01-01' AND '9999-12-31T23:59:59.999999Z' GROUP BY 2;
---
--- sqlite
INSERT INTO history_months SELECT 'price_history', date(observed_at / 1000000, 'unixepoch', 'start of month'),
    unixepoch() * 1000000, NULL FROM price_history
    WHERE observed_at BETWEEN -62135596800000000 AND 253402300799999999 GROUP BY 2;
---
