//! Three years of real shelf prices of two chains, and an independent recomputation of what they come to.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use common::{Project, grocery_files};

const FIGURES: &str = "SELECT product, product_price_current, competitor_price_min, price_gap, product_unit_price
    FROM product_features WHERE product LIKE 'P%' ORDER BY product";
const COMPETITION: &str =
    "SELECT product, role, price_micros / 10000 FROM competition WHERE product LIKE 'P%' ORDER BY product, role";

/// What the files come to, read by hand: no code of the product.
struct Naive {
    /// Per product: own price, lowest price of others, the gap between them, own price per kg, l or piece.
    figures: Vec<String>,
    /// Per product: what each side asks, in cents.
    competition: Vec<String>,
    /// How often the competitor lowered a price by more than 5 %.
    drops: usize,
}

fn naive(files: &Path) -> Naive {
    let lines = |name: &str| -> Vec<Value> {
        let text = std::fs::read_to_string(files.join(name)).expect("there");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let cents = |line: &Value| (line["price"].as_f64().expect("a price") * 100.0).round();
    let mut prices = lines("prices.ndjson");
    prices.sort_by_key(|line| text(&line["date"]));
    let mut last: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut drops = 0;
    for line in prices {
        let now = cents(&line);
        let before = last.insert((text(&line["store"]), text(&line["id"])), line.clone());
        let is_drop = before.is_some_and(|before| now < 0.95 * cents(&before));
        drops += usize::from(is_drop && line["store"] == "billa");
    }
    let (mut figures, mut competition) = (Vec::new(), Vec::new());
    for product in lines("matches.ndjson") {
        let name = text(&product["product"]);
        let listings = product["listings"].as_array().expect("a list").iter();
        let offers = listings.map(|listing| &last[&(text(&listing["store"]), text(&listing["id"]))]);
        let (own, others): (Vec<&Value>, Vec<&Value>) = offers.partition(|line| line["store"] == "spar");
        let cheapest = |lines: &[&Value]| lines.iter().map(|line| cents(line)).fold(f64::INFINITY, f64::min);
        let (price, lowest) = (cheapest(&own), cheapest(&others));
        let size = own[0]["quantity"].as_f64().expect("a quantity");
        let per_unit = match own[0]["unit"].as_str().expect("a unit") {
            "g" | "ml" => (price / 100.0 / (size / 1000.0)).to_string(),
            "stk" => (price / 100.0 / size).to_string(),
            _ => String::new(),
        };
        let [price_now, lowest_now, gap] = [price, lowest, price - lowest].map(|cents| cents / 100.0);
        figures.push(format!("{name}|{price_now}|{lowest_now}|{gap}|{per_unit}"));
        competition.extend([format!("{name}|competitor|{lowest}"), format!("{name}|own|{price}")]);
    }
    Naive { figures, competition, drops }
}

#[test]
fn shelf_prices_come_to_what_a_recomputation_says() {
    let Some(files) = grocery_files() else { return };
    let project = Project::grocery(&files);
    let summary = project.run_once();
    assert_eq!((&summary["read"], &summary["accepted"]), (&(1_349 + 235).into(), &(1_349 + 235).into()), "{summary}");
    let fates = project.query("SELECT family, outcome, SUM(count) FROM data_quality GROUP BY 1, 2 ORDER BY 1, 2");
    assert_eq!(fates, ["catalog|accepted|235", "offer|accepted|1349"]);
    let expected = naive(&files);
    assert_eq!(expected.figures.len(), 235);
    assert_eq!(project.query(FIGURES), expected.figures);
    assert_eq!(project.query(COMPETITION), expected.competition);
    let drops = project.query("SELECT COUNT(*) FROM alerts WHERE rule = 'competitor-price-drop'");
    assert_eq!(drops, [expected.drops.to_string()]);
}

#[test]
fn so_they_do_where_the_catalog_comes_last_and_one_price_more_is_noticed() {
    let Some(files) = grocery_files() else { return };
    let folder = tempfile::tempdir().expect("a temporary directory");
    for name in ["matches.ndjson", "prices.ndjson"] {
        std::fs::copy(files.join(name), folder.path().join(name)).expect("there");
    }
    let project = Project::grocery(folder.path());
    assert_eq!(project.run_once_only(&["prices", "clean", "compete", "tables"])["accepted"], 1_349);
    let alone = "SELECT COUNT(*), COUNT(product_price_current) FROM product_features WHERE product NOT LIKE 'P%'";
    assert_eq!((project.query(FIGURES).len(), project.query(alone)), (0, vec!["470|470".to_owned()]));
    assert_eq!(project.run_once()["accepted"], 235);
    let expected = naive(&files);
    assert_eq!(project.query(FIGURES), expected.figures);
    assert_eq!(project.query(COMPETITION), expected.competition);
    assert_eq!(project.query(alone), ["470|0"], "no listing stands for itself any more");

    let prices = std::fs::read_to_string(folder.path().join("prices.ndjson")).expect("there");
    let mut line: Value = serde_json::from_str(prices.lines().last().expect("a line")).expect("JSON");
    (line["date"], line["price"]) = ("2023-06-07".into(), 9.99.into());
    std::fs::write(folder.path().join("prices.ndjson"), format!("{prices}{line}\n")).expect("writable");
    assert_eq!(project.run_once()["accepted"], 1);
    let found = project.query(FIGURES);
    assert_eq!(found.iter().zip(&expected.figures).filter(|(found, expected)| found != expected).count(), 1);
    assert_eq!(found, naive(folder.path()).figures);
}
