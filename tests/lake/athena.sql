-- Athena, engine version 3; before, and for what is committed later: skuflow lake sql --reader glue | sh

-- processed.offers: as Glue was told last
SELECT 'processed.offers' AS "table", count(*) AS "rows" FROM my_shop_lake_v1.processed_offers;
SELECT observed_at, native_id, seller, price, price_currency
FROM my_shop_lake_v1.processed_offers
WHERE observed_at >= TIMESTAMP '2026-03-01 00:00:00 UTC'
LIMIT 5;

-- processed.offers by its files: COUNTS ROWS TWICE. It reads whatever is in the folders, also what compaction has replaced, what
-- no commit names and what retention has let go, until that is removed. It needs no Glue command after a commit, so it is
-- for looking at what has just landed; the second statement takes each record once. Customers and sources that come
-- later, and days before the first, are not in it until it is made again.
CREATE EXTERNAL TABLE `my_shop_lake_v1`.`processed_offers_files` (
    `event_id` string,
    `observed_at` timestamp,
    `price` decimal(18,6),
    `price_minor` bigint,
    `_offset` bigint
)
PARTITIONED BY (`folder_customer` string, `folder_date` string)
STORED AS PARQUET
LOCATION 's3://my-shop/lake/v1/processed/data_type=offers/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.folder_customer.type' = 'enum',
    'projection.folder_customer.values' = 'a,b%2E1',
    'projection.folder_date.type' = 'date',
    'projection.folder_date.format' = 'yyyy-MM-dd',
    'projection.folder_date.range' = '2026-02-27,NOW',
    'projection.folder_date.interval' = '1',
    'projection.folder_date.interval.unit' = 'DAYS',
    'storage.location.template' = 's3://my-shop/lake/v1/processed/data_type=offers/customer=${folder_customer}/date=${folder_date}/'
);
SELECT count(*) AS records
FROM (SELECT DISTINCT "_topic", "_partition", "_offset" FROM my_shop_lake_v1.processed_offers_files);

-- raw.offers: as Glue was told last
SELECT 'raw.offers' AS "table", count(*) AS "rows" FROM my_shop_lake_v1.raw_offers;
SELECT event_id, observed_at
FROM my_shop_lake_v1.raw_offers
WHERE observed_at >= TIMESTAMP '2026-03-01 00:00:00 UTC'
LIMIT 5;

-- raw.offers by its files: COUNTS ROWS TWICE. It reads whatever is in the folders, also what compaction has replaced, what
-- no commit names and what retention has let go, until that is removed. It needs no Glue command after a commit, so it is
-- for looking at what has just landed; the second statement takes each record once. Customers and sources that come
-- later, and days before the first, are not in it until it is made again.
CREATE EXTERNAL TABLE `my_shop_lake_v1`.`raw_offers_files` (
    `value` binary,
    `_ingested_at` timestamp
)
PARTITIONED BY (`folder_source` string, `folder_year` string, `folder_month` string, `folder_day` string, `folder_hour` string)
STORED AS PARQUET
LOCATION 's3://my-shop/lake/v1/raw/data_type=offers/'
TBLPROPERTIES (
    'projection.enabled' = 'true',
    'projection.folder_source.type' = 'enum',
    'projection.folder_source.values' = '__HIVE_DEFAULT_PARTITION__,api',
    'projection.folder_year.type' = 'integer',
    'projection.folder_year.range' = '2025,2031',
    'projection.folder_year.digits' = '4',
    'projection.folder_month.type' = 'integer',
    'projection.folder_month.range' = '1,12',
    'projection.folder_month.digits' = '2',
    'projection.folder_day.type' = 'integer',
    'projection.folder_day.range' = '1,31',
    'projection.folder_day.digits' = '2',
    'projection.folder_hour.type' = 'integer',
    'projection.folder_hour.range' = '0,23',
    'projection.folder_hour.digits' = '2',
    'storage.location.template' = 's3://my-shop/lake/v1/raw/data_type=offers/source=${folder_source}/year=${folder_year}/month=${folder_month}/day=${folder_day}/hour=${folder_hour}/'
);
SELECT count(*) AS records
FROM (SELECT DISTINCT "_topic", "_partition", "_offset" FROM my_shop_lake_v1.raw_offers_files);
