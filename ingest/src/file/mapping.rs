//! From a record to an event: pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use cel::Context;
use jiff::tz::TimeZone;
use serde_json::Value;
use skuflow_schemas::{
    Availability, BusinessDate, BuyBox, CHANGE, Catalog, Condition, Currency, DEAD_LETTER_EXCERPT_BYTES_MAX, Envelope,
    Event, Family, Fulfilment, Inventory, ListingRef, Money, Offer, Pack, QuantityRelation, Rank, Sale, SaleStatus,
    Text, Timestamp, Vantage,
};

use super::config::{Config, FieldMapping, Format, Semantics};
use super::expression::Expression;
use super::values::{Row, csv_fields, decode, json_at};
use crate::connector::hex;

/// Why a record is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MappingError {
    /// Stable code.
    pub code: &'static str,
    /// In words, with the offending value.
    pub message: String,
}

impl MappingError {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A compiled mapping.
pub struct Mapping {
    config: Config,
    family: Family,
    customer: String,
    time_zone: TimeZone,
    expressions: BTreeMap<String, Expression>,
    functions: Context<'static, 'static>,
}

impl Mapping {
    /// Compiles the mapping of a config that was found valid.
    ///
    /// # Errors
    /// What [`Config::validate`] would have found.
    pub fn new(config: &Config, customer: &str) -> Result<Self, String> {
        let mut expressions = BTreeMap::new();
        let parts = config.map.values().flat_map(|mapping| mapping.parts()).filter_map(|(_, part)| part);
        for mapping in config.map.values().chain(parts) {
            for source in [&mapping.expression, &mapping.when].into_iter().flatten() {
                expressions.insert(source.clone(), Expression::compile(source)?);
            }
        }
        Ok(Self {
            family: config.family().ok_or_else(|| format!("`{}` is no event that a file can hold", config.event))?,
            time_zone: TimeZone::get(&config.time_zone).map_err(|error| error.to_string())?,
            config: config.clone(),
            customer: customer.to_owned(),
            expressions,
            functions: Context::default(),
        })
    }

    /// What the records are.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The source of all records, where the mapping says it without reading them.
    pub fn constant_source(&self) -> Text {
        self.config
            .map
            .get("source")
            .and_then(|mapping| mapping.constant.as_deref())
            .map_or_else(Text::default, Text::from)
    }

    /// The customer, where no column says it.
    pub fn customer(&self) -> &str {
        &self.customer
    }

    /// The names in a CSV header, checked against the columns that the mapping uses.
    ///
    /// # Errors
    /// The columns that are missing: the file is another one, or its delimiter is.
    pub fn header(&self, bytes: &[u8]) -> Result<Vec<String>, MappingError> {
        let (delimiter, quote) = (self.config.delimiter as u8, self.config.quote as u8);
        let names = csv_fields(bytes, delimiter, quote, self.config.encoding)?;
        let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
        let plain = self.config.map.values().flat_map(|mapping| [&mapping.column, &mapping.currency_column]).flatten();
        let used = plain.map(String::as_str).chain(self.expressions.values().flat_map(Expression::columns));
        let missing: BTreeSet<&str> = used.filter(|used| !names.iter().any(|name| name == used)).collect();
        if missing.is_empty() {
            return Ok(names);
        }
        let mut message = format!(
            "no column {}; the header has: {}",
            missing.into_iter().collect::<Vec<_>>().join(", "),
            shortened(&names.join(", "))
        );
        if names.len() == 1 {
            message.push_str("; with one column only, `delimiter` may be another");
        }
        Err(MappingError::new("file-header", message))
    }

    /// The event that a record is. `columns` are the names of a CSV header; `row_hash` identifies the record's bytes.
    ///
    /// # Errors
    /// Why it is none.
    pub fn map(&self, bytes: &[u8], columns: &[String], row_hash: &[u8]) -> Result<Event, MappingError> {
        if self.config.format == Format::Csv {
            let (delimiter, quote) = (self.config.delimiter as u8, self.config.quote as u8);
            let fields = csv_fields(bytes, delimiter, quote, self.config.encoding)?;
            if fields.len() != columns.len() {
                let message = format!("the record has {} fields, the header {}", fields.len(), columns.len());
                return Err(MappingError::new("row-malformed", message));
            }
            return self.event(&Reading { mapping: self, row: Row::Csv { names: columns, fields }, row_hash });
        }
        let text = decode(bytes, self.config.encoding)?;
        let value: Value = serde_json::from_str(&text).map_err(|error| {
            let deep = error.to_string().contains("recursion limit");
            MappingError::new(if deep { "json-too-deep" } else { "json-invalid" }, error.to_string())
        })?;
        if !value.is_object() {
            return Err(MappingError::new("json-invalid", "the record is not a JSON object"));
        }
        self.event(&Reading { mapping: self, row: Row::Json(&value), row_hash })
    }

    fn event(&self, reading: &Reading<'_>) -> Result<Event, MappingError> {
        let envelope = reading.envelope()?;
        Ok(match self.family {
            Family::Offer => Event::Offer(Box::new(reading.offer(envelope)?)),
            Family::Sale => Event::Sale(Box::new(reading.sale(envelope)?)),
            Family::Inventory => Event::Inventory(Box::new(reading.inventory(envelope)?)),
            _ => Event::Catalog(Box::new(reading.catalog(envelope)?)),
        })
    }
}

/// One record under a mapping.
struct Reading<'a> {
    mapping: &'a Mapping,
    row: Row<'a>,
    row_hash: &'a [u8],
}

impl Reading<'_> {
    fn envelope(&self) -> Result<Envelope, MappingError> {
        let source_version = match self.mapping.config.semantics {
            Semantics::Change => Some(CHANGE.into()),
            Semantics::Observation => self.text("source_version")?,
        };
        Ok(Envelope {
            customer: self.text("customer")?.unwrap_or_else(|| self.mapping.customer.as_str().into()),
            source: self.required("source")?,
            marketplace: self.text("marketplace")?.unwrap_or_default(),
            observed_at: self.instant("observed_at")?,
            source_event_id: self.text("source_event_id")?,
            source_version,
            ..Envelope::default()
        })
    }

    fn offer(&self, envelope: Envelope) -> Result<Offer, MappingError> {
        let rank = self.number("rank")?;
        let category = self.text("rank_category")?.unwrap_or_default();
        let pack = self.fraction("pack_quantity")?.zip(self.text("pack_unit")?);
        Ok(Offer {
            envelope,
            native_id: self.required("native_id")?,
            seller: self.text("seller")?,
            price: self.money("price")?,
            shipping: self.money("shipping")?,
            landed_price: self.money("landed_price")?,
            list_price: self.money("list_price")?,
            availability: self.name::<Availability>("availability")?,
            stock_level: self.number("stock_level")?,
            condition: self.name::<Condition>("condition")?,
            fulfilment: self.name::<Fulfilment>("fulfilment")?,
            buy_box: self.name::<BuyBox>("buy_box")?,
            offer_count: self.number("offer_count")?,
            ranks: rank.map(|rank| Rank { category, rank }).into_iter().collect(),
            rating: self.fraction("rating")?,
            rating_best: self.fraction("rating_best")?,
            review_count: self.number("review_count")?,
            vantage: Vantage {
                country: self.text("country")?,
                postal: self.text("postal")?,
                membership: self.text("membership")?,
            },
            pack: pack.map(|(quantity, unit)| Pack { quantity, unit }),
            ..Offer::default()
        })
    }

    fn sale(&self, envelope: Envelope) -> Result<Sale, MappingError> {
        let business_date = match self.text("business_date")? {
            Some(text) => self.date("business_date", &text)?,
            None => BusinessDate::from(self.local_date(envelope.observed_at)?),
        };
        Ok(Sale {
            native_id: self.required("native_id")?,
            order_id: self.required("order_id")?,
            line_id: self.required("line_id")?,
            units: self.required_number("units")?,
            unit_price: self.money("unit_price")?,
            status: self.name::<SaleStatus>("status")?,
            business_date,
            envelope,
            ..Sale::default()
        })
    }

    fn inventory(&self, envelope: Envelope) -> Result<Inventory, MappingError> {
        Ok(Inventory {
            envelope,
            native_id: self.required("native_id")?,
            location: self.required("location")?,
            quantity: self.required_number("quantity")?,
            relation: self.name::<QuantityRelation>("relation")?,
            ..Inventory::default()
        })
    }

    fn catalog(&self, envelope: Envelope) -> Result<Catalog, MappingError> {
        let active = match self.text("active")?.as_deref() {
            None | Some("true" | "1" | "yes") => true,
            Some("false" | "0" | "no") => false,
            Some(other) => return Err(bad("value-invalid", "active", other, "true or false")),
        };
        Ok(Catalog {
            envelope,
            product: self.required("product")?,
            name: self.text("name")?,
            category: self.text("category")?,
            currency: self.text("currency")?,
            cost: self.money("cost")?,
            price_floor: self.money("price_floor")?,
            price_ceiling: self.money("price_ceiling")?,
            own: self.listings("own")?,
            competitors: self.listings("competitors")?,
            active,
        })
    }

    /// The text of a field; `None` where it is null.
    fn text(&self, field: &str) -> Result<Option<Text>, MappingError> {
        let Some(mapping) = self.mapping.config.map.get(field) else { return Ok(None) };
        Ok(self.resolve(mapping, None)?.map(Text::from))
    }

    fn resolve(&self, mapping: &FieldMapping, item: Option<&Value>) -> Result<Option<String>, MappingError> {
        let found: Option<Cow<'_, str>> = if let Some(constant) = &mapping.constant {
            Some(constant.as_str().into())
        } else if let Some(column) = &mapping.column {
            match item {
                Some(item) => Row::Json(item).text(column).map(|text| Cow::Owned(text.into_owned())),
                None => self.row.text(column),
            }
        } else if let Some(expression) = &mapping.expression {
            self.evaluate(expression, item)?.map(Cow::Owned)
        } else {
            Some(hex(self.row_hash).into())
        };
        let text = found.as_deref().map(str::trim).filter(|text| !text.is_empty());
        let text = text.filter(|text| !mapping.null.iter().any(|null| null == text));
        let replaced = text.map(|text| mapping.values.get(text).map_or(text, String::as_str));
        Ok(replaced.map(str::to_owned).or_else(|| mapping.default.clone()))
    }

    /// The text an expression gives; `None` for null.
    fn evaluate(&self, expression: &str, item: Option<&Value>) -> Result<Option<String>, MappingError> {
        let failed = |reason: String| MappingError::new("expression-failed", format!("`{expression}`: {reason}"));
        match self.execute(expression, item).map_err(failed)? {
            cel::Value::Null => Ok(None),
            cel::Value::String(text) => Ok(Some(text.to_string())),
            cel::Value::Int(number) => Ok(Some(number.to_string())),
            cel::Value::UInt(number) => Ok(Some(number.to_string())),
            cel::Value::Float(number) => Ok(Some(number.to_string())),
            cel::Value::Bool(truth) => Ok(Some(truth.to_string())),
            other => Err(failed(format!("it gives {other:?}, not a text, number or truth value"))),
        }
    }

    fn execute(&self, expression: &str, item: Option<&Value>) -> Result<cel::Value, String> {
        let expression = self.mapping.expressions.get(expression).ok_or("not compiled")?;
        expression.execute(&self.mapping.functions, &self.row, item)
    }

    fn required(&self, field: &'static str) -> Result<Text, MappingError> {
        let missing = || MappingError::new("value-missing", format!("`{field}` is empty"));
        self.text(field)?.ok_or_else(missing)
    }

    /// The decimal separator of a field: numbers of JSON have a point, whatever texts have.
    fn decimal(&self, field: &str) -> char {
        let column = self.mapping.config.map.get(field).and_then(|mapping| mapping.column.as_deref());
        match (&self.row, column) {
            (Row::Json(record), Some(column)) if json_at(record, column).is_some_and(Value::is_number) => '.',
            _ => self.mapping.config.decimal,
        }
    }

    fn number(&self, field: &'static str) -> Result<Option<i64>, MappingError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        // Stock "10+" and counts "1,234" are for `values` and `expression`; "3.0" is a whole number all the same.
        let whole = match text.split_once(self.decimal(field)) {
            Some((whole, zeros)) if zeros.bytes().all(|byte| byte == b'0') => whole,
            _ => text.as_str(),
        };
        whole.parse().map(Some).map_err(|_| bad("number-invalid", field, &text, "a whole number"))
    }

    fn required_number(&self, field: &'static str) -> Result<i64, MappingError> {
        let missing = || MappingError::new("value-missing", format!("`{field}` is empty"));
        self.number(field)?.ok_or_else(missing)
    }

    fn fraction(&self, field: &'static str) -> Result<Option<f64>, MappingError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let number = text.replace(self.decimal(field), ".").parse::<f64>().ok().filter(|number| number.is_finite());
        number.map(Some).ok_or_else(|| bad("number-invalid", field, &text, "a number"))
    }

    fn money(&self, field: &'static str) -> Result<Option<Money>, MappingError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        let mapping = &self.mapping.config.map[field];
        let code = match &mapping.currency_column {
            Some(column) => self.row.text(column).map(Cow::into_owned),
            None => None,
        };
        let code = code.filter(|code| !code.trim().is_empty()).or_else(|| mapping.currency.clone());
        // A symbol is ambiguous: the price is unknown, not guessed.
        let Some(Ok(currency)) = code.as_deref().map(Currency::parse) else {
            let code = code.unwrap_or_default();
            return Err(bad("currency-invalid", field, &code, "a three-letter ISO 4217 code beside the amount"));
        };
        let money = Money::parse(&text, self.decimal(field), currency);
        money.map(Some).map_err(|error| MappingError::new("number-invalid", format!("`{field}`: {error}")))
    }

    /// A value of a closed set; unknown names are `unknown`, as in the schema.
    fn name<T: serde::de::DeserializeOwned + Default>(&self, field: &'static str) -> Result<T, MappingError> {
        let Some(text) = self.text(field)? else { return Ok(T::default()) };
        Ok(T::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(&text)).unwrap_or_default())
    }

    fn instant(&self, field: &'static str) -> Result<Timestamp, MappingError> {
        let text = self.required(field)?;
        let format = self.mapping.config.map.get(field).and_then(|mapping| mapping.format.as_deref());
        parse_instant(&text, format, &self.mapping.time_zone)
            .map_err(|error| MappingError::new(error.code, format!("`{field}`: {}", error.message)))
    }

    fn date(&self, field: &'static str, text: &str) -> Result<BusinessDate, MappingError> {
        let format = self.mapping.config.map.get(field).and_then(|mapping| mapping.format.as_deref());
        let parsed = jiff::civil::Date::strptime(format.unwrap_or("%Y-%m-%d"), text);
        parsed.map(BusinessDate::from).map_err(|error| bad("time-invalid", field, text, &error.to_string()))
    }

    fn local_date(&self, at: Timestamp) -> Result<jiff::civil::Date, MappingError> {
        let instant = jiff::Timestamp::from_microsecond(at.micros());
        let instant = instant.map_err(|error| MappingError::new("time-invalid", error.to_string()))?;
        Ok(instant.to_zoned(self.mapping.time_zone.clone()).date())
    }

    fn listings(&self, field: &'static str) -> Result<Vec<ListingRef>, MappingError> {
        let (Some(mapping), Row::Json(record)) = (self.mapping.config.map.get(field), &self.row) else {
            return Ok(Vec::new());
        };
        let path = mapping.each.as_deref().unwrap_or_default();
        let items = match json_at(record, path) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(bad("value-invalid", field, &other.to_string(), "a list")),
        };
        let mut listings = Vec::new();
        for item in items {
            if self.is_wanted(mapping, item)? {
                let said = |part: &Option<Box<FieldMapping>>| match part {
                    Some(part) => self.resolve(part, Some(item)).map(|text| text.map(Text::from)),
                    None => Ok(None),
                };
                listings.push(ListingRef {
                    source: said(&mapping.source)?.unwrap_or_default(),
                    marketplace: said(&mapping.marketplace)?.unwrap_or_default(),
                    native_id: said(&mapping.native_id)?.unwrap_or_default(),
                    seller: said(&mapping.seller)?,
                });
            }
        }
        Ok(listings)
    }

    fn is_wanted(&self, mapping: &FieldMapping, item: &Value) -> Result<bool, MappingError> {
        let Some(when) = &mapping.when else { return Ok(true) };
        match self.execute(when, Some(item)) {
            Ok(cel::Value::Bool(wanted)) => Ok(wanted),
            Ok(other) => {
                Err(MappingError::new("expression-failed", format!("`{when}` gives {other:?}, not a truth value")))
            }
            Err(reason) => Err(MappingError::new("expression-failed", format!("`{when}`: {reason}"))),
        }
    }
}

/// An instant from text: an offset in the text counts, else the zone. Of a time that a clock change repeats the earlier
/// one is taken; one that it skips is an error.
fn parse_instant(text: &str, format: Option<&str>, zone: &TimeZone) -> Result<Timestamp, MappingError> {
    let invalid = |error: &jiff::Error| MappingError::new("time-invalid", format!("`{text}` is no time: {error}"));
    let local = match format {
        Some(format) => {
            let parsed = jiff::fmt::strtime::parse(format, text).map_err(|error| invalid(&error))?;
            if let Ok(instant) = parsed.to_timestamp() {
                return Ok(Timestamp::from_micros(instant.as_microsecond()));
            }
            match parsed.to_datetime() {
                Ok(local) => local,
                Err(_) => parsed.to_date().map_err(|error| invalid(&error))?.at(0, 0, 0, 0),
            }
        }
        None => match text.parse::<jiff::Timestamp>() {
            Ok(instant) => return Ok(Timestamp::from_micros(instant.as_microsecond())),
            Err(_) => text.parse::<jiff::civil::DateTime>().map_err(|error| invalid(&error))?,
        },
    };
    let ambiguous = zone.to_ambiguous_timestamp(local);
    if matches!(ambiguous.offset(), jiff::tz::AmbiguousOffset::Gap { .. }) {
        let name = zone.iana_name().unwrap_or("its zone");
        let message = format!("`{text}` does not exist in {name}: the clocks were put forward over it");
        return Err(MappingError::new("time-in-dst-gap", message));
    }
    let instant = ambiguous.compatible().map_err(|error| invalid(&error))?;
    Ok(Timestamp::from_micros(instant.as_microsecond()))
}

/// Whether a time that is written in `format` can be read back.
pub(super) fn check_instant_format(format: &str) -> Result<(), String> {
    let (written, text) = sample(format)?;
    let read = parse_instant(&text, Some(format), &TimeZone::UTC).map_err(|error| error.message)?;
    let read = jiff::Timestamp::from_microsecond(read.micros()).map_err(|error| error.to_string())?;
    let read = read.to_zoned(TimeZone::UTC).datetime();
    // Without an hour it is midnight; another hour comes from a clock of 12 hours without its half.
    if read.date() != written.date() || ![0, written.hour()].contains(&read.hour()) {
        return Err(format!("`{text}` is read as {read}"));
    }
    Ok(())
}

/// Whether a date that is written in `format` can be read back.
pub(super) fn check_date_format(format: &str) -> Result<(), String> {
    let (written, text) = sample(format)?;
    let read = jiff::civil::Date::strptime(format, &text).map_err(|error| error.to_string())?;
    if read == written.date() { Ok(()) } else { Err(format!("`{text}` is read as {read}")) }
}

/// A time with parts that cannot be taken for one another, and how `format` writes it.
fn sample(format: &str) -> Result<(jiff::civil::DateTime, String), String> {
    let local = jiff::civil::datetime(2026, 11, 23, 14, 35, 46, 0);
    let zoned = local.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
    let text = jiff::fmt::strtime::format(format, &zoned).map_err(|error| error.to_string())?;
    Ok((local, text))
}

/// The texts that a field takes, where it does not take any.
pub(super) fn names(field: &str) -> Option<&'static [&'static str]> {
    Some(match field {
        "availability" => variants::<Availability>(),
        "condition" => variants::<Condition>(),
        "fulfilment" => variants::<Fulfilment>(),
        "buy_box" => variants::<BuyBox>(),
        "status" => variants::<SaleStatus>(),
        "relation" => variants::<QuantityRelation>(),
        "pack_unit" => &["g", "kg", "ml", "l", "piece"],
        "active" => &["true", "false", "1", "0", "yes", "no"],
        _ => return None,
    })
}

/// The names of an enum: serde is asked for them.
fn variants<T: serde::de::DeserializeOwned>() -> &'static [&'static str] {
    struct Asked<'a>(&'a mut &'static [&'static str]);
    impl<'de> serde::Deserializer<'de> for Asked<'_> {
        type Error = serde::de::value::Error;
        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("only asked for its names"))
        }
        fn deserialize_enum<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            names: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = names;
            self.deserialize_any(visitor)
        }
        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map struct identifier ignored_any
        }
    }
    let mut names: &'static [&'static str] = &[];
    let _nothing_is_read = T::deserialize(Asked(&mut names));
    names
}

fn bad(code: &'static str, field: &str, value: &str, expected: &str) -> MappingError {
    let shown: String = value.chars().take(80).collect();
    MappingError::new(code, format!("`{field}`: expected {expected}, got `{shown}`"))
}

/// A text of the file for a message, which must fit a header of a dead letter.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 1_000;
    let mut shown: String = text.chars().take(CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The beginning of a record that a dead letter keeps.
pub(super) fn excerpt(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(DEAD_LETTER_EXCERPT_BYTES_MAX)].to_vec()
}
