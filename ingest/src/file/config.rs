//! Settings of the file connector.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skuflow_schemas::{Currency, Family};

use super::expression::Expression;
use super::mapping::{check_date_format, check_instant_format, names};
use crate::ConfigProblem;

/// Settings of connector `file`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A file, a glob (`data/*.csv`) or a folder; relative to the config file.
    pub path: String,
    /// How records stand in a file.
    pub format: Format,
    /// How files are compressed; by their first bytes unless said.
    #[serde(default)]
    pub compression: Compression,
    /// How text is encoded.
    #[serde(default)]
    pub encoding: Encoding,
    /// What separates fields of CSV.
    #[serde(default = "comma")]
    pub delimiter: char,
    /// What encloses fields of CSV.
    #[serde(default = "double_quote")]
    pub quote: char,
    /// The decimal separator of numbers, `.` or `,`.
    #[serde(default = "point")]
    pub decimal: char,
    /// IANA time zone of times that do not say theirs.
    #[serde(default = "utc")]
    pub time_zone: String,
    /// What a record is: `offer`, `sale`, `inventory` or `catalog`.
    pub event: String,
    /// Whether a record says what was seen, or that something changed.
    #[serde(default)]
    pub semantics: Semantics,
    /// Keep watching for new files and lines; a last line is read once it has its end, and so is a quoted field.
    #[serde(default)]
    pub watch: bool,
    /// How fields of the event come from columns.
    pub map: BTreeMap<String, FieldMapping>,
}

fn comma() -> char {
    ','
}
fn double_quote() -> char {
    '"'
}
fn point() -> char {
    '.'
}
fn utc() -> String {
    "UTC".into()
}

/// How records stand in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated values with a header.
    #[default]
    Csv,
    /// A JSON object per line.
    Ndjson,
    /// One JSON object, or an array of them.
    Json,
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Compression {
    #[default]
    Auto,
    None,
    Gzip,
    Zstd,
}

/// How text is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the meaning")]
pub enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
    #[serde(rename = "windows-1252")]
    Windows1252,
}

/// What a record means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Semantics {
    /// What was seen at a moment.
    #[default]
    Observation,
    /// What holds from a moment on until the next record; events carry `source_version = "change"`.
    Change,
}

/// Where a field of the event comes from: exactly one of `constant`, `column`, `expression`, `row_hash` or `each`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldMapping {
    /// Always this text.
    pub constant: Option<String>,
    /// The column; a dotted path in JSON.
    pub column: Option<String>,
    /// A CEL expression over the columns: by name, or `row["any name"]`; in lists also `item`.
    pub expression: Option<String>,
    /// The hash of the record's bytes: 32 hex digits.
    pub row_hash: Option<Empty>,
    /// Only for lists of listings: a list in the record (dotted path in JSON).
    pub each: Option<String>,
    /// Only with `each`: which items, as a CEL expression over `item`.
    pub when: Option<String>,
    /// Only with `each`: the listing's source.
    pub source: Option<Box<FieldMapping>>,
    /// Only with `each`: the listing's marketplace.
    pub marketplace: Option<Box<FieldMapping>>,
    /// Only with `each`: the listing's native id.
    pub native_id: Option<Box<FieldMapping>>,
    /// Only with `each`: whose offers on the listing are meant; everybody's where it is null or left out.
    pub seller: Option<Box<FieldMapping>>,
    /// For money: its currency.
    pub currency: Option<String>,
    /// For money: the column with its currency.
    pub currency_column: Option<String>,
    /// For times and dates: their strptime format; without one RFC 3339 and `YYYY-MM-DD[ HH:MM:SS]` are read.
    pub format: Option<String>,
    /// Texts that mean null, besides the empty one.
    pub null: Vec<String>,
    /// Texts to replace.
    pub values: BTreeMap<String, String>,
    /// What null becomes.
    pub default: Option<String>,
}

/// A table without fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Collects what cannot be.
#[derive(Default)]
struct Problems(Vec<ConfigProblem>);

impl Problems {
    fn add(&mut self, path: &[&str], message: impl Into<String>, help: &str) {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.0.push(ConfigProblem { path, message: message.into(), help, written: String::new(), known: Vec::new() });
    }

    /// A name that is none of the `known` ones.
    fn add_name(&mut self, path: &[&str], message: String, written: &str, known: &[&'static str]) {
        self.add(path, message, &format!("expected one of: {}", known.join(", ")));
        let last = self.0.last_mut().expect("just added");
        (last.written, last.known) = (written.to_owned(), known.to_vec());
    }
}

/// The field by which a change is told from an observation.
const VERSION: &str = "source_version";
const ENVELOPE: &[&str] = &["customer", "source", "marketplace", "observed_at", "source_event_id", VERSION];

/// The fields of an event that can be mapped, and which of them must be.
pub fn fields(family: Family) -> (Vec<&'static str>, &'static [&'static str]) {
    let (own, required): (&[&str], &[&str]) = match family {
        Family::Offer => (
            &[
                "native_id",
                "seller",
                "price",
                "shipping",
                "landed_price",
                "list_price",
                "availability",
                "stock_level",
                "condition",
                "fulfilment",
                "buy_box",
                "offer_count",
                "rank",
                "rank_category",
                "rating",
                "rating_best",
                "review_count",
                "pack_quantity",
                "pack_unit",
                "country",
                "postal",
                "membership",
            ],
            &["source", "marketplace", "observed_at", "native_id"],
        ),
        Family::Sale => (
            &["native_id", "order_id", "line_id", "units", "unit_price", "status", "business_date"],
            &["source", "marketplace", "observed_at", "native_id", "order_id", "line_id", "units"],
        ),
        Family::Inventory => (
            &["native_id", "location", "quantity", "relation"],
            &["source", "marketplace", "observed_at", "native_id", "location", "quantity"],
        ),
        Family::Catalog => (
            &[
                "product",
                "name",
                "category",
                "currency",
                "cost",
                "price_floor",
                "price_ceiling",
                "own",
                "competitors",
                "active",
            ],
            &["source", "observed_at", "product"],
        ),
        Family::Listing | Family::Quality | Family::Features | Family::Alert => (&[], &[]),
    };
    (ENVELOPE.iter().chain(own).copied().collect(), required)
}

/// Fields that are amounts of money.
pub(super) const MONEY_FIELDS: &[&str] =
    &["price", "shipping", "landed_price", "list_price", "unit_price", "cost", "price_floor", "price_ceiling"];
/// Fields that are lists of listings.
pub(super) const LIST_FIELDS: &[&str] = &["own", "competitors"];
/// Fields that say something together only.
const TOGETHER: &[[&str; 2]] = &[["pack_quantity", "pack_unit"], ["pack_unit", "pack_quantity"]];

impl Config {
    /// What a record is, where the name is known.
    pub fn family(&self) -> Option<Family> {
        Family::parse(&self.event).filter(|family| family.raw_topic().is_some())
    }

    /// Everything that cannot be, with its place.
    pub fn validate(&self) -> Vec<ConfigProblem> {
        let mut problems = Problems::default();
        self.validate_format(&mut problems);
        let Some(family) = self.family() else {
            let message = format!("`{}` is no event that a file can hold", self.event);
            problems.add_name(&["event"], message, &self.event, &["offer", "sale", "inventory", "catalog"]);
            return problems.0;
        };
        let (known, required) = fields(family);
        for missing in required.iter().filter(|field| !self.map.contains_key(**field)) {
            let help = format!("add `{missing} = {{ column = \"…\" }}` to the map");
            problems.add(&["map"], format!("an event of family {} needs `{missing}`", self.event), &help);
        }
        let is_mapped = |field: &str| self.map.contains_key(field);
        for [field, other] in TOGETHER.iter().filter(|[field, other]| is_mapped(field) && !is_mapped(other)) {
            let help = format!("add `{other} = {{ column = \"…\" }}`, or leave `{field}` out");
            problems.add(&["map", field], format!("`{field}` says nothing without `{other}`"), &help);
        }
        if self.semantics == Semantics::Change && is_mapped(VERSION) {
            let message = format!("`semantics = \"change\"` says `{VERSION}` itself");
            let help = format!("leave `{VERSION}` out, or `semantics` where the records are observations");
            problems.add(&["map", VERSION], message, &help);
        }
        for (field, mapping) in &self.map {
            if known.contains(&field.as_str()) {
                mapping.validate(field, self.format, &mut problems);
            } else {
                let message = format!("events of family {} have no field `{field}`", self.event);
                problems.add_name(&["map", field], message, field, &known);
            }
        }
        problems.0
    }

    fn validate_format(&self, problems: &mut Problems) {
        if !matches!(self.decimal, '.' | ',') {
            let message = format!("`{}` is no decimal separator", self.decimal);
            problems.add(&["decimal"], message, "write \".\" or \",\"");
        }
        let is_mark = |mark: char| mark.is_ascii() && !matches!(mark, '\n' | '\r');
        if !is_mark(self.delimiter) || !is_mark(self.quote) || self.delimiter == self.quote {
            let help = "use two different ASCII characters";
            problems.add(&["delimiter"], "the delimiter and the quote cannot be told apart", help);
        }
        if jiff::tz::TimeZone::get(&self.time_zone).is_err() {
            let help = "write an IANA name like \"Europe/London\" or \"UTC\"";
            problems.add(&["time_zone"], format!("`{}` is not a known time zone", self.time_zone), help);
        }
        if self.format == Format::Json && self.encoding != Encoding::Utf8 {
            let help = "leave `encoding` out, and convert the file if it is in another one";
            problems.add(&["encoding"], "a JSON document is always UTF-8", help);
        }
    }
}

impl FieldMapping {
    /// How the listings of a list are told apart, by name.
    pub(super) fn parts(&self) -> [(&'static str, Option<&Self>); 4] {
        [
            ("source", self.source.as_deref()),
            ("marketplace", self.marketplace.as_deref()),
            ("native_id", self.native_id.as_deref()),
            ("seller", self.seller.as_deref()),
        ]
    }

    fn validate(&self, field: &str, file: Format, problems: &mut Problems) {
        let path = ["map", field];
        let is_list = LIST_FIELDS.contains(&field);
        self.validate_way(&path, is_list, problems);
        if is_list && file == Format::Csv {
            problems.add(
                &path,
                format!("a CSV record has no list for `{field}`"),
                "use NDJSON or JSON, or leave it out",
            );
        }
        if is_list && self.parts().iter().any(|(name, part)| part.is_none() && *name != "seller") {
            let help = "give `source`, `marketplace` and `native_id`, each as a mapping";
            problems.add(&path, format!("the listings of `{field}` are not identified"), help);
        }
        if !is_list && (self.when.is_some() || self.parts().iter().any(|(_, part)| part.is_some())) {
            let message = format!("`{field}` is no list");
            problems.add(&path, message, "`when`, `source`, `marketplace`, `native_id` and `seller` go with `each`");
        }
        for (name, part) in self.parts() {
            if let Some(part) = part {
                part.validate_way(&["map", field, name], false, problems);
            }
        }
        let is_money = MONEY_FIELDS.contains(&field);
        if is_money && self.currency.is_none() && self.currency_column.is_none() {
            let help = "add `currency = \"EUR\"` or `currency_column = \"…\"`";
            problems.add(&path, format!("the currency of `{field}` is not said"), help);
        }
        if let Some(code) = &self.currency
            && Currency::parse(code).ok().and_then(|currency| currency.exponent()).is_none()
        {
            problems.add(&["map", field, "currency"], format!("`{code}` is not an ISO 4217 currency code"), "");
        }
        self.validate_time(field, problems);
        self.validate_names(field, problems);
    }

    /// Where the value comes from: out of a list, or in one of the other ways.
    fn validate_way(&self, path: &[&str], is_list: bool, problems: &mut Problems) {
        let field = path.last().expect("a path has parts");
        let ways = [
            self.constant.is_some(),
            self.column.is_some(),
            self.expression.is_some(),
            self.row_hash.is_some(),
            self.each.is_some(),
        ];
        if ways.iter().filter(|way| **way).count() != 1 || self.each.is_some() != is_list {
            let expected = if is_list { "`each`" } else { "one of `constant`, `column`, `expression`, `row_hash`" };
            let message = format!("it is not clear where `{field}` comes from");
            problems.add(path, message, &format!("give exactly {expected}"));
        }
        for (part, expression) in [("expression", &self.expression), ("when", &self.when)] {
            if let Some(Err(error)) = expression.as_deref().map(Expression::compile) {
                let message = format!("the expression does not parse: {error}");
                problems.add(&[path, &[part]].concat(), message, "");
            }
        }
    }

    fn validate_time(&self, field: &str, problems: &mut Problems) {
        let Some(format) = &self.format else { return };
        let checked = match field {
            "observed_at" => check_instant_format(format),
            "business_date" => check_date_format(format),
            _ => Err("only `observed_at` and `business_date` are times".into()),
        };
        if let Err(reason) = checked {
            let message = format!("times cannot be read with `{format}`: {reason}");
            problems.add(&["map", field, "format"], message, "write a strptime format like \"%Y-%m-%d %H:%M:%S\"");
        }
    }

    /// The texts that the settings themselves give to a field that takes certain names only.
    fn validate_names(&self, field: &str, problems: &mut Problems) {
        let Some(known) = names(field) else { return };
        let single = [("constant", &self.constant), ("default", &self.default)];
        let single = single.into_iter().filter_map(|(part, name)| Some((vec!["map", field, part], name.as_ref()?)));
        let replaced = self.values.iter().map(|(text, name)| (vec!["map", field, "values", text], name));
        for (path, name) in single.chain(replaced).filter(|(_, name)| !known.contains(&name.as_str())) {
            problems.add_name(&path, format!("`{field}` cannot be `{name}`"), name, known);
        }
    }
}
