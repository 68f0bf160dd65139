//! `skuflow schema`: topics, the fields of a family, the figures of `features`.

use std::collections::HashSet;

use serde_json::{Value, json};
use skuflow_schemas::{FEATURES, Family, REASONS, TOPICS, schema_json};

use super::{Failure, Format, output, usage};

/// Fields of `features` that are documented as figures.
const OF_FIGURES: &[&str] = &["values", "reasons"];

/// Prints topics and families, or what is known of one family.
pub(super) fn schema(family: Option<&str>, avro: bool, format: Format) -> Result<(), Failure> {
    let Some(name) = family else {
        let rows = TOPICS
            .iter()
            .map(|topic| json!({ "topic": topic.name, "family": topic.family.name(), "about": topic.about }));
        output::rows(&rows.collect::<Vec<_>>(), format);
        return Ok(());
    };
    let names = Family::ALL.iter().map(|family| family.name()).collect::<Vec<_>>().join(", ");
    let unknown = || usage(&format!("there is no family `{name}`; there are: {names}"));
    let family = Family::parse(name).ok_or_else(unknown)?;
    let described = describe(family);
    match format {
        _ if avro => output::text(schema_json(family)),
        Format::Json => output::json(&described),
        Format::Text => {
            output::rows(described["fields"].as_array().map(Vec::as_slice).unwrap_or_default(), format);
            if family == Family::Features {
                output::text(&figures());
            }
        }
    }
    Ok(())
}

/// Fields, and of `features` the figures and the reasons why they are null.
fn describe(family: Family) -> Value {
    let schema: Value = serde_json::from_str(schema_json(family)).expect("schemas are tested");
    let mut fields = Vec::new();
    flatten(&schema, "", family == Family::Features, &mut HashSet::new(), &mut fields);
    if family != Family::Features {
        return json!({ "family": family.name(), "fields": fields });
    }
    let figures = FEATURES.iter().map(|figure| {
        json!({
            "figure": figure.name, "unit": figure.unit, "window": figure.window, "formula": figure.formula,
            "null": figure.null,
        })
    });
    let reasons: serde_json::Map<String, Value> =
        REASONS.iter().map(|(name, about)| ((*name).to_owned(), Value::from(*about))).collect();
    json!({ "family": family.name(), "fields": fields, "figures": figures.collect::<Vec<_>>(), "reasons": reasons })
}

/// A row for each field of a record, those of records within behind their names; each record in full where it comes first.
fn flatten<'a>(
    record: &'a Value,
    within: &str,
    has_figures: bool,
    named: &mut HashSet<&'a str>,
    rows: &mut Vec<Value>,
) {
    for field in record["fields"].as_array().into_iter().flatten() {
        let name = format!("{within}{}", field["name"].as_str().unwrap_or_default());
        let variants = field["type"].as_array().map_or(std::slice::from_ref(&field["type"]), Vec::as_slice);
        let is_nullable = variants.iter().any(|variant| variant == "null");
        let stated = variants.iter().find(|variant| *variant != "null").unwrap_or(&Value::Null);
        let (kind, inner) = kind(stated, named);
        let about = field["doc"].as_str().unwrap_or_default();
        let about = match (has_figures && OF_FIGURES.contains(&name.as_str()), symbols(inner)) {
            (true, _) => format!("{about} See below."),
            (_, Some(symbols)) => format!("{about} One of: {symbols}."),
            _ => about.to_owned(),
        };
        let optional = if is_nullable { "?" } else { "" };
        rows.push(json!({ "field": name, "type": format!("{kind}{optional}"), "about": about }));
        if let (Some(inner), false) = (inner, has_figures && OF_FIGURES.contains(&name.as_str())) {
            flatten(inner, &format!("{name}."), has_figures, named, rows);
        }
    }
}

/// How a type is called, and its definition where this is its first use.
fn kind<'a>(stated: &'a Value, named: &mut HashSet<&'a str>) -> (String, Option<&'a Value>) {
    if let Some(name) = stated.as_str() {
        return (name.trim_start_matches("skuflow.").to_owned(), None);
    }
    if let Some(logical) = stated["logicalType"].as_str() {
        return (logical.to_owned(), None);
    }
    match (stated["type"].as_str(), stated["name"].as_str()) {
        (Some("array"), _) => {
            let (items, inner) = kind(&stated["items"], named);
            (format!("array of {items}"), inner)
        }
        (_, Some(name)) => (name.to_owned(), named.insert(name).then_some(stated)),
        (other, None) => (other.unwrap_or("unknown").to_owned(), None),
    }
}

/// The symbols of an enum.
fn symbols(definition: Option<&Value>) -> Option<String> {
    let symbols = definition?["symbols"].as_array()?.iter().filter_map(Value::as_str);
    Some(symbols.collect::<Vec<_>>().join(", "))
}

/// The figures, a paragraph each, and the reasons.
fn figures() -> String {
    let mut text = String::from(
        "\nA figure is `values.<name>`, and where it is null, `reasons.<name>` says why. `price` is the currency of the \
         catalog\nentry, landed: with shipping. Days are in UTC.\n",
    );
    for figure in FEATURES {
        text.push_str(&format!(
            "\n{}\n  unit     {}\n  window   {}\n  formula  {}\n  null     {}\n",
            figure.name, figure.unit, figure.window, figure.formula, figure.null
        ));
    }
    text.push_str("\nreasons\n");
    for (name, about) in REASONS {
        text.push_str(&format!("  {name:<15}  {about}\n"));
    }
    text
}
