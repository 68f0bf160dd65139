-- What `recomputed.sql` is written over: `log` has topic, partition, offset, key and value (JSON, null = a tombstone).
CREATE VIEW event AS SELECT topic, partition, offset, key, value AS e, value ->> '$.envelope.event_id' AS event_id,
    value ->> '$.envelope.cause_id' AS cause_id, value ->> '$.envelope.customer' AS customer,
    value ->> '$.envelope.source' AS source, value ->> '$.envelope.marketplace' AS marketplace,
    value ->> 'native_id' AS native_id, micros_of($.envelope.observed_at) AS at,
    coalesce(value ->> '$.vantage.country', '') || '/' || coalesce(value ->> '$.vantage.postal', '') || '/'
        || coalesce(value ->> '$.vantage.membership', '') AS vantage,
    (SELECT coalesce(group_concat(rule.value, ','), '') FROM json_each(log.value, '$.suspect') AS rule) AS suspect
FROM log WHERE value IS NOT NULL AND topic <> 'quality.v1';

CREATE VIEW line AS SELECT customer, source, e ->> 'order_id' AS order_id, e ->> 'line_id' AS line_id, marketplace, native_id,
    e ->> 'business_date' AS business_date, e ->> 'units' AS units, coalesce(e ->> '$.unit_price.currency', '') AS currency,
    coalesce(micros(unit_price), 0) * (e ->> 'units') AS revenue, e ->> 'status' AS status, at, event_id
FROM (SELECT *, row_number() OVER (PARTITION BY customer, source, e ->> 'order_id', e ->> 'line_id'
    ORDER BY at DESC, event_id DESC) AS place FROM event WHERE topic = 'sales.v1') WHERE place = 1;

CREATE TABLE copy AS SELECT *, e ->> '$.track.product' AS product, coalesce(e ->> '$.track.retracted', 0) AS is_retracted,
    json_array(customer, e ->> '$.track.product', source, marketplace, native_id, e ->> 'seller', e ->> 'condition', vantage)
        AS whose FROM event WHERE topic = 'product-offers.v1';
CREATE INDEX copy_by_whose ON copy (whose);

CREATE VIEW last AS SELECT * FROM event
WHERE (topic, partition, offset) IN (SELECT topic, partition, max(offset) FROM log GROUP BY topic, partition, key);
