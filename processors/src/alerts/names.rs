//! What rules can name: figures, the catalog entry, and the offer that changed.

use skuflow_schemas::{Availability, BuyBox, Catalog, Change, Currency, FEATURES, Money, Role, Text, Values};

use crate::codec::{Damage, Reader, Writer};

/// The figures of a vector, in the order of [`FEATURES`].
pub(super) type Figures = [Option<f64>; FEATURES.len()];

const _: () = assert!(FEATURES.len() <= 64, "a set of figures is a word");

/// Where the names stand: `features.product_margin`.
pub(super) const SPACES: &[&str] = &["features", "previous", "catalog", "change"];

const ROLES: &[&str] = &["own", "competitor", "unknown"];
const AVAILABILITIES: &[&str] = &[
    "in_stock",
    "limited",
    "low",
    "backorder",
    "preorder",
    "made_to_order",
    "in_store_only",
    "out_of_stock",
    "discontinued",
    "unknown",
];
const BUY_BOXES: &[&str] = &["won", "lost", "none", "unknown"];

/// The catalog entry of a product, as rules see it; prices in its own currency, those in another are null.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Entry {
    pub(super) name: Option<Text>,
    pub(super) category: Option<Text>,
    pub(super) currency: Option<Text>,
    pub(super) cost: Option<f64>,
    pub(super) price_floor: Option<f64>,
    pub(super) price_ceiling: Option<f64>,
}

impl Entry {
    pub(super) fn of(catalog: &Catalog) -> Self {
        let price = |amount: &Option<Money>| price_in(catalog.currency.as_deref(), amount.as_ref());
        Self {
            name: catalog.name.clone(),
            category: catalog.category.clone(),
            currency: catalog.currency.clone(),
            cost: price(&catalog.cost),
            price_floor: price(&catalog.price_floor),
            price_ceiling: price(&catalog.price_ceiling),
        }
    }

    pub(super) fn write(&self, into: &mut Writer<'_>) {
        for text in [&self.name, &self.category, &self.currency] {
            into.text(text.as_ref());
        }
        for price in [self.cost, self.price_floor, self.price_ceiling] {
            into.figure(price);
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Damage> {
        let (name, category, currency) = (from.text()?, from.text()?, from.text()?);
        let (cost, price_floor, price_ceiling) = (from.figure()?, from.figure()?, from.figure()?);
        Ok(Self { name, category, currency, cost, price_floor, price_ceiling })
    }
}

/// An amount as a number; null in another currency than `currency`, where that is known.
fn price_in(currency: Option<&str>, amount: Option<&Money>) -> Option<f64> {
    let amount = amount.filter(|amount| currency.is_none_or(|currency| currency == amount.currency.as_str()))?;
    let scale = 10_f64.powi(i32::from(amount.exponent)); // exact, so the quotient is what the amount's text reads as
    Some(amount.minor as f64 / scale)
}

/// All that a rule may look at, at one moment.
pub(super) struct Inputs<'a> {
    pub(super) now: &'a Figures,
    pub(super) previous: &'a Figures,
    pub(super) entry: &'a Entry,
    pub(super) change: Option<&'a Change>,
    /// Currency of the figures.
    pub(super) currency: Option<&'a str>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Null,
    Number(f64),
    Text(&'a str),
    Truth(bool),
}

impl Value<'_> {
    fn number(number: Option<f64>) -> Self {
        number.map_or(Self::Null, Self::Number)
    }

    /// The number, if it is one.
    pub(super) fn as_number(self) -> Option<f64> {
        if let Self::Number(number) = self { Some(number) } else { None }
    }
}

/// What kind of value a name has, where it is not null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Number,
    /// An amount of money.
    Price,
    Text,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    Truth,
}

/// Something that a rule names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    /// A figure, by its place in [`FEATURES`].
    Figure(u8),
    /// The same in the vector before.
    Previous(u8),
    /// Of the catalog entry.
    Entry(&'static Field),
    /// Of the offer that changed.
    Change(&'static Field),
}

/// A field of a catalog entry or a change.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    kind: Kind,
    get: for<'a> fn(&Inputs<'a>) -> Value<'a>,
}

const ENTRY: &[Field] = &[
    Field { name: "name", kind: Kind::Text, get: |inputs| text(inputs.entry.name.as_ref()) },
    Field { name: "category", kind: Kind::Text, get: |inputs| text(inputs.entry.category.as_ref()) },
    Field { name: "currency", kind: Kind::Text, get: |inputs| text(inputs.entry.currency.as_ref()) },
    Field { name: "cost", kind: Kind::Price, get: |inputs| entry_price(inputs, inputs.entry.cost) },
    Field { name: "price_floor", kind: Kind::Price, get: |inputs| entry_price(inputs, inputs.entry.price_floor) },
    Field { name: "price_ceiling", kind: Kind::Price, get: |inputs| entry_price(inputs, inputs.entry.price_ceiling) },
];

const CHANGE: &[Field] = &[
    Field { name: "listing", kind: Kind::Text, get: |inputs| of_change(inputs, |change| text(Some(&change.listing))) },
    Field { name: "seller", kind: Kind::Text, get: |inputs| of_change(inputs, |change| text(change.seller.as_ref())) },
    Field {
        name: "role",
        kind: Kind::OneOf(ROLES),
        get: |inputs| of_change(inputs, |change| Value::Text(ROLES[change.role as usize])),
    },
    Field { name: "price", kind: Kind::Price, get: |inputs| change_price(inputs, |change| change.price.as_ref()) },
    Field {
        name: "previous_price",
        kind: Kind::Price,
        get: |inputs| change_price(inputs, |change| change.previous_price.as_ref()),
    },
    Field {
        name: "availability",
        kind: Kind::OneOf(AVAILABILITIES),
        get: |inputs| of_change(inputs, |change| Value::Text(AVAILABILITIES[change.availability as usize])),
    },
    Field {
        name: "previous_availability",
        kind: Kind::OneOf(AVAILABILITIES),
        get: |inputs| of_change(inputs, |change| Value::Text(AVAILABILITIES[change.previous_availability as usize])),
    },
    Field {
        name: "buy_box",
        kind: Kind::OneOf(BUY_BOXES),
        get: |inputs| of_change(inputs, |change| Value::Text(BUY_BOXES[change.buy_box as usize])),
    },
    Field {
        name: "previous_buy_box",
        kind: Kind::OneOf(BUY_BOXES),
        get: |inputs| of_change(inputs, |change| Value::Text(BUY_BOXES[change.previous_buy_box as usize])),
    },
    Field {
        name: "entered",
        kind: Kind::Truth,
        get: |inputs| of_change(inputs, |change| Value::Truth(change.entered)),
    },
];

fn text(text: Option<&Text>) -> Value<'_> {
    text.map_or(Value::Null, |text| Value::Text(text))
}

/// A price of the entry, where the figures are in its currency.
fn entry_price<'a>(inputs: &Inputs<'a>, price: Option<f64>) -> Value<'a> {
    let other = inputs.currency.zip(inputs.entry.currency.as_deref()).is_some_and(|(one, other)| one != other);
    Value::number(price.filter(|_| !other))
}

fn of_change<'a>(inputs: &Inputs<'a>, get: fn(&'a Change) -> Value<'a>) -> Value<'a> {
    inputs.change.map_or(Value::Null, get)
}

/// A price of the change in the currency of the figures or, where that is not known, of the present price.
fn change_price<'a>(inputs: &Inputs<'a>, get: fn(&Change) -> Option<&Money>) -> Value<'a> {
    let Some(change) = inputs.change else { return Value::Null };
    let present = change.price.as_ref().map(|price| price.currency.as_str());
    Value::number(price_in(inputs.currency.or(present), get(change)))
}

impl Name {
    /// What is called `name` in `space`.
    pub(super) fn find(space: &str, name: &str) -> Option<Self> {
        let figure = || FEATURES.iter().position(|feature| feature.name == name).map(|at| at as u8);
        let field = |fields: &'static [Field]| fields.iter().find(|field| field.name == name);
        match space {
            "features" => figure().map(Self::Figure),
            "previous" => figure().map(Self::Previous),
            "catalog" => field(ENTRY).map(Self::Entry),
            "change" => field(CHANGE).map(Self::Change),
            _ => None,
        }
    }

    /// The names in `space`.
    pub(super) fn known(space: &str) -> Vec<&'static str> {
        match space {
            "catalog" => ENTRY.iter().map(|field| field.name).collect(),
            "change" => CHANGE.iter().map(|field| field.name).collect(),
            _ => FEATURES.iter().map(|feature| feature.name).collect(),
        }
    }

    /// What it is called, with its space.
    pub(super) fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::Figure(at) => ("features", FEATURES[usize::from(at)].name),
            Self::Previous(at) => ("previous", FEATURES[usize::from(at)].name),
            Self::Entry(field) => ("catalog", field.name),
            Self::Change(field) => ("change", field.name),
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Figure(at) | Self::Previous(at) => {
                if FEATURES[usize::from(at)].unit.starts_with("price") {
                    Kind::Price
                } else {
                    Kind::Number
                }
            }
            Self::Entry(field) | Self::Change(field) => field.kind,
        }
    }

    /// Its value at one moment.
    pub(super) fn value<'a>(self, inputs: &Inputs<'a>) -> Value<'a> {
        match self {
            Self::Figure(at) => Value::number(inputs.now[usize::from(at)]),
            Self::Previous(at) => Value::number(inputs.previous[usize::from(at)]),
            Self::Entry(field) | Self::Change(field) => (field.get)(inputs),
        }
    }

    /// What it was before, where that is kept.
    pub(super) fn before(self, inputs: &Inputs<'_>) -> Option<f64> {
        match self {
            Self::Figure(at) | Self::Previous(at) => inputs.previous[usize::from(at)],
            Self::Change(field) if field.name == "price" => {
                Self::find("change", "previous_price")?.value(inputs).as_number()
            }
            Self::Entry(_) | Self::Change(_) => None,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.path() == other.path()
    }
}

/// The figures of `values` that are in the set `of`; what is no number at all is null.
pub(super) fn figures(values: &Values, of: u64) -> Figures {
    let mut figures = values.in_order();
    for (at, figure) in figures.iter_mut().enumerate() {
        *figure = figure.filter(|figure| of >> at & 1 == 1 && figure.is_finite());
    }
    figures
}

/// What a case gives for a field of the catalog entry or the change.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// True or false.
    Truth(bool),
}

impl Given {
    /// Whether it can be a value of this kind, and the texts that could be, where there are few.
    pub(super) fn fits(&self, kind: Kind) -> Result<(), &'static [&'static str]> {
        match (self, kind) {
            (Self::Text(text), Kind::OneOf(texts)) if !texts.contains(&text.as_str()) => Err(texts),
            (Self::Number(_), Kind::Number | Kind::Price)
            | (Self::Text(_), Kind::Text | Kind::OneOf(_))
            | (Self::Truth(_), Kind::Truth) => Ok(()),
            _ => Err(&[]),
        }
    }

    fn number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    fn text(&self) -> Option<Text> {
        if let Self::Text(text) = self { Some(text.as_str().into()) } else { None }
    }

    /// Where in `texts`, which are in the order of an enum, it stands.
    fn variant<T: Copy + Default>(&self, texts: &[&str], variants: &[T]) -> T {
        let at = self.text().and_then(|text| texts.iter().position(|known| *known == text));
        at.and_then(|at| variants.get(at)).copied().unwrap_or_default()
    }
}

impl Entry {
    /// Sets the field called `name`, of a case.
    pub(super) fn set(&mut self, name: &str, given: &Given) {
        match name {
            "name" => self.name = given.text(),
            "category" => self.category = given.text(),
            "currency" => self.currency = given.text(),
            "cost" => self.cost = given.number(),
            "price_floor" => self.price_floor = given.number(),
            _ => self.price_ceiling = given.number(),
        }
    }
}

/// Sets the field of `change` called `name`, of a case.
pub(super) fn set_change(change: &mut Change, name: &str, given: &Given) {
    const AVAILABLE: &[Availability] = &[
        Availability::InStock,
        Availability::Limited,
        Availability::Low,
        Availability::Backorder,
        Availability::Preorder,
        Availability::MadeToOrder,
        Availability::InStoreOnly,
        Availability::OutOfStock,
        Availability::Discontinued,
    ];
    const BOXES: &[BuyBox] = &[BuyBox::Won, BuyBox::Lost, BuyBox::None];
    let price = || {
        let micros = given.number()? * 1e6;
        Some(Money { minor: micros.round() as i64, currency: Currency::parse("EUR").ok()?, exponent: 6 })
    };
    match name {
        "listing" => change.listing = given.text().unwrap_or_default(),
        "seller" => change.seller = given.text(),
        "role" => change.role = given.variant(ROLES, &[Role::Own, Role::Competitor]),
        "price" => change.price = price(),
        "previous_price" => change.previous_price = price(),
        "availability" => change.availability = given.variant(AVAILABILITIES, AVAILABLE),
        "previous_availability" => change.previous_availability = given.variant(AVAILABILITIES, AVAILABLE),
        "buy_box" => change.buy_box = given.variant(BUY_BOXES, BOXES),
        "previous_buy_box" => change.previous_buy_box = given.variant(BUY_BOXES, BOXES),
        _ => change.entered = *given == Given::Truth(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_those_of_the_wire() {
        fn names<T: serde::de::DeserializeOwned + std::fmt::Debug>(texts: &[&str], place: fn(T) -> usize) {
            for (at, text) in texts.iter().enumerate() {
                let parsed: T = serde_json::from_str(&format!("\"{text}\"")).expect("known");
                assert_eq!(place(parsed), at, "{text}");
            }
        }
        names::<Role>(ROLES, |role| role as usize);
        names::<Availability>(AVAILABILITIES, |availability| availability as usize);
        names::<BuyBox>(BUY_BOXES, |buy_box| buy_box as usize);
    }

    #[test]
    fn a_case_can_set_every_field() {
        let truth = |kind| match kind {
            Kind::Number | Kind::Price => Given::Number(9.99),
            Kind::Text => Given::Text("x".into()),
            Kind::OneOf(texts) => Given::Text(texts[0].into()),
            Kind::Truth => Given::Truth(true),
        };
        let (mut entry, mut change) = (Entry::default(), Change::default());
        for field in ENTRY {
            entry.set(field.name, &truth(field.kind));
        }
        for field in CHANGE {
            set_change(&mut change, field.name, &truth(field.kind));
        }
        let none = [None; FEATURES.len()];
        let inputs = Inputs { now: &none, previous: &none, entry: &entry, change: Some(&change), currency: None };
        for field in ENTRY.iter().chain(CHANGE) {
            let expected = match truth(field.kind) {
                Given::Number(number) => format!("{:?}", Value::Number(number)),
                Given::Text(text) => format!("{:?}", Value::Text(&text)),
                Given::Truth(truth) => format!("{:?}", Value::Truth(truth)),
            };
            assert_eq!(format!("{:?}", (field.get)(&inputs)), expected, "{}", field.name);
        }
    }
}
