-- The serving tables again, from what `tap` shows of the topics and in nothing but SQL. A statement per table, under its name,
-- with its columns in their order. `event` has the events of all topics, `log` all records.

-- table offers_latest
SELECT customer, source, marketplace, native_id, coalesce(e ->> 'seller', ''), e ->> 'condition', vantage, e ->> '$.price.currency',
    micros(price), micros(shipping), micros(landed_price), micros(list_price), e ->> 'availability', e ->> 'stock_level',
    e ->> 'buy_box', e ->> 'rating', coalesce(e ->> 'rating_best', 5.0), e ->> 'review_count', suspect, at, event_id, offset
FROM (SELECT *, row_number() OVER (
    PARTITION BY customer, source, marketplace, native_id, coalesce(e ->> 'seller', ''), e ->> 'condition', vantage
    ORDER BY at DESC, offset DESC) AS place FROM event WHERE topic = 'offers.v1') WHERE place = 1;

-- table price_history
SELECT DISTINCT at, event_id, customer, source, marketplace, native_id, coalesce(e ->> 'seller', ''), e ->> 'condition',
    e ->> '$.price.currency', micros(price), micros(shipping), e ->> 'availability', suspect
FROM event WHERE topic = 'offers.v1' AND e ->> 'price' IS NOT NULL;

-- table rank_history
SELECT DISTINCT at, event_id, rank.value ->> 'category', customer, source, marketplace, native_id, rank.value ->> 'rank'
FROM event, json_each(e, '$.ranks') AS rank WHERE topic = 'offers.v1';

-- table review_daily
SELECT customer, source, marketplace, native_id, date(at / 1000000, 'unixepoch'), e ->> 'rating',
    coalesce(e ->> 'rating_best', 5.0), e ->> 'review_count', at, event_id, offset
FROM (SELECT *, row_number() OVER (
    PARTITION BY customer, source, marketplace, native_id, at / 86400000000 ORDER BY at DESC, offset DESC) AS place
    FROM event WHERE topic = 'offers.v1' AND (e ->> 'rating' IS NOT NULL OR e ->> 'review_count' IS NOT NULL)) WHERE place = 1;

-- table sellers
SELECT customer, source, marketplace, e ->> 'seller', count(*), min(at), max(at) FROM event
WHERE topic = 'offers.v1' AND e ->> 'seller' IS NOT NULL GROUP BY 1, 2, 3, 4;

-- table sale_lines
SELECT customer, source, order_id, line_id, marketplace, native_id, business_date, units, currency, revenue, status, at, event_id
FROM line;

-- table sales_daily
SELECT customer, source, marketplace, native_id, business_date, currency, sum(units), sum(max(units, 0)), -sum(min(units, 0)),
    sum(revenue), count(*) FROM line GROUP BY 1, 2, 3, 4, 5, 6;

-- table inventory_latest
SELECT customer, source, marketplace, native_id, e ->> 'location', e ->> 'quantity', e ->> 'relation', at, event_id, offset
FROM (SELECT *, row_number() OVER (PARTITION BY customer, source, marketplace, native_id, e ->> 'location'
    ORDER BY at DESC, offset DESC) AS place FROM event WHERE topic = 'inventory.v1') WHERE place = 1;

-- table products
SELECT key, customer, e ->> 'product', e ->> 'name', e ->> 'category', e ->> 'currency', e ->> '$.cost.currency', micros(cost),
    micros(price_floor), micros(price_ceiling), e ->> 'active', at, event_id
FROM last WHERE topic = 'catalog.v1';

-- table listings
SELECT key, customer, e ->> 'product', e ->> '$.listing.source', e ->> '$.listing.marketplace', e ->> '$.listing.native_id',
    e ->> '$.listing.seller', e ->> 'role', at, cause_id
FROM last WHERE topic = 'listings.v1';

-- table competition
SELECT customer, product, source, marketplace, native_id, coalesce(e ->> 'seller', ''), e ->> 'condition', vantage,
    e ->> '$.track.role', e ->> '$.price.currency', micros(price), micros(shipping),
    CASE WHEN e ->> 'shipping' IS NULL THEN micros(price)
        WHEN e ->> '$.price.currency' = e ->> '$.shipping.currency' THEN micros(price) + micros(shipping) END,
    micros(list_price), e ->> 'availability', e ->> 'buy_box', at, cause_id, offset
FROM (SELECT *, row_number() OVER (PARTITION BY whose ORDER BY at DESC, offset DESC) AS place FROM copy AS stands
    WHERE NOT is_retracted AND NOT EXISTS (SELECT 1 FROM copy AS taken WHERE taken.whose = stands.whose AND taken.is_retracted
        AND taken.at >= stands.at AND taken.offset > stands.offset)) WHERE place = 1;

-- table alerts
SELECT DISTINCT event_id, customer, e ->> 'product', e ->> 'rule', e ->> 'seller', e ->> 'severity', e ->> 'message',
    e ->> 'value', e ->> 'dedup_key', NULL, at, cause_id
FROM event WHERE topic = 'alerts.v1';

-- table data_quality
SELECT value ->> 'customer', value ->> 'source', value ->> 'family', micros_of(hour), value ->> 'outcome', value ->> 'rule',
    sum(value ->> 'count'), max(micros_of(latest_observed_at))
FROM log WHERE topic = 'quality.v1' GROUP BY 1, 2, 3, 4, 5, 6;
