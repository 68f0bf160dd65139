-- Products in their market. Columns as in 0001: amounts are whole millionths of their currency, instants microseconds since
-- 1970 UTC. Figures are REAL; `price` in their comments is an amount of the row's currency, not millionths.

-- The last figures of each product, by event time; of one time, those of the highest event id. From features.v1.
CREATE TABLE product_features (
    customer                        TEXT    NOT NULL, -- whose data
    product                         TEXT    NOT NULL, -- the customer's product; a listing that nobody tracks stands for itself, by its listing id
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
    PRIMARY KEY (customer, product)
) ROWS_BY_KEY;

-- The standing offers on each product's own and competing listings: the last by event time; of one time, the last in the
-- topic. An offer that is taken back, because the product no longer tracks its listing, has no row. From product-offers.v1.
CREATE TABLE competition (
    customer            TEXT    NOT NULL, -- whose data
    product             TEXT    NOT NULL, -- the customer's product; a listing that nobody tracks stands for itself, by its listing id
    source              TEXT    NOT NULL, -- the system that said it
    marketplace         TEXT    NOT NULL, -- in the source's words
    native_id           TEXT    NOT NULL, -- the listing's id in its marketplace
    seller              TEXT    NOT NULL, -- empty = the source names nobody
    condition           TEXT    NOT NULL, -- new, open_box, refurbished, used, damaged; unknown = not said
    vantage             TEXT    NOT NULL, -- country/postal/membership it was looked at from; empty parts = not said
    role                TEXT    NOT NULL, -- what the listing is to the product: own, competitor; unknown = not said
    currency            TEXT,             -- ISO 4217, of the price; null = no price
    price_micros        INTEGER,          -- of one unit, without shipping; null = not offered, or unknown
    shipping_micros     INTEGER,          -- null = unknown, 0 = free
    landed_price_micros INTEGER,          -- price + shipping, unknown shipping as 0; null = no price, or shipping in another currency
    list_price_micros   INTEGER,          -- the struck-out or recommended price; null = not stated
    availability        TEXT    NOT NULL, -- in_stock, limited, low, backorder, …, out_of_stock; unknown = not said
    buy_box             TEXT    NOT NULL, -- won, lost, none = the listing has none; unknown = not said
    observed_at         INSTANT NOT NULL, -- event time: when it was so
    cause_id            ID,               -- the offer it is a copy of, 32 hex digits, as in OFFERS_LATEST; null = a program that names none
    log_offset          INTEGER NOT NULL, -- in its partition of the topic; of one observed_at, the highest stands
    PRIMARY KEY (customer, product, source, marketplace, native_id, seller, condition, vantage)
) ROWS_BY_KEY;

-- What is in PRICE_HISTORY of the listings that have offers in COMPETITION: of each product's own and competing listings as
-- its catalog entry has them now, what was observed before included. A row per product that tracks the listing.
CREATE VIEW product_prices AS SELECT
    listing.customer,             -- whose data
    listing.product,              -- the customer's product
    listing.role,                 -- what the listing is to the product now: own, competitor; unknown = not said
    listing.source,               -- the system that said it
    listing.marketplace,          -- in the source's words
    listing.native_id,            -- the listing's id in its marketplace
    price.seller,                 -- empty = the source names nobody
    price.condition,              -- new, used, …; unknown = not said
    price.observed_at,            -- event time: when it was so
    price.currency,               -- ISO 4217
    price.price_micros,           -- of one unit, without shipping
    price.shipping_micros,        -- null = unknown, 0 = free
    price.price_micros + coalesce(price.shipping_micros, 0) AS landed_price_micros, -- price + shipping, unknown shipping as 0
    price.availability,           -- in_stock, …; unknown = not said
    price.suspect,                -- rules of validate that found it suspect, comma separated; empty = none
    price.event_id                -- of the offer, 32 hex digits; one row per product and event id
FROM (SELECT DISTINCT customer, product, role, source, marketplace, native_id FROM competition) AS listing
JOIN price_history AS price USING (customer, source, marketplace, native_id);

-- Every alert, once. From alerts.v1.
CREATE TABLE alerts (
    event_id            ID      NOT NULL PRIMARY KEY, -- 32 hex digits; the same for every delivery of an alert
    customer            TEXT    NOT NULL, -- whose data
    product             TEXT    NOT NULL, -- the customer's product
    rule                TEXT    NOT NULL, -- id of the rule that came true
    seller              TEXT,             -- whom it is about; null = the rule is not about sellers
    severity            TEXT    NOT NULL, -- info, warning, critical; unknown = of a later version
    message             TEXT    NOT NULL, -- in words, as the rule's template has it
    value               REAL,             -- how far it went, in the rule's own measure; null = the rule has none
    dedup_key           ID      NOT NULL, -- 32 hex digits, equal for all alerts of a rule on this product and seller
    evidence            JSON    NOT NULL, -- JSON array of the figures that the rule looked at: name, value, previous; null in them = none
    observed_at         INSTANT NOT NULL, -- event time: when the rule came true
    cause_id            ID                -- event that made the rule true, 32 hex digits; null = time alone did
) ROWS_BY_KEY;
CREATE INDEX alerts_by_product ON alerts (customer, product, observed_at);
