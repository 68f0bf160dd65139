//! Statements that read a lake, for `DuckDB` and `PyIceberg`, to be pasted or piped: pure.

use std::path::Path;

use skuflow_schemas::Timestamp;
use skuflow_sinks::lake::{Address, BucketPlace, CATALOG_NAME, Login, Look, Place, Rest, Root, Shown};

use super::lake::Seen;
use crate::printable::{printable, printable_json};

/// The region of a bucket that has none.
const REGION: &str = "us-east-1";

/// What `DuckDB` needs to read a lake by its version hints in a bucket.
const HINT_CHANGES: &str = "-- the version hint is written over, between two requests of one reading, too; no other object of a lake changes\n\
     SET unsafe_disable_etag_checks = true;\n";

/// A question to a table, about its latest day.
pub(super) struct Example {
    about: &'static str,
    /// The same in SQL, before and after its source.
    sql: (&'static str, &'static str),
    /// Columns of single rows.
    pub(super) fields: &'static [&'static str],
}

#[rustfmt::skip]
pub(super) fn example(look: &Look) -> Example {
    let (about, select, rest, fields): (_, _, _, &[&str]) = match look.table.full_name {
        "processed.offers" => (
            "the busiest listings",
            "marketplace, native_id, price_currency, min(coalesce(landed_price, price)) AS lowest, count(*) AS offers",
            "GROUP BY ALL ORDER BY offers DESC, native_id",
            &["observed_at", "native_id", "seller", "price", "price_currency"],
        ),
        "processed.sales" => (
            "what sells best",
            "native_id, unit_price_currency, sum(units) AS units, sum(units * unit_price) AS revenue",
            "GROUP BY ALL ORDER BY units DESC, native_id",
            &["observed_at", "native_id", "units", "unit_price", "unit_price_currency"],
        ),
        "processed.inventory" => (
            "the lowest stock",
            "native_id, location, arg_max(quantity, observed_at) AS quantity, max(observed_at) AS seen",
            "GROUP BY ALL ORDER BY quantity, native_id",
            &["observed_at", "native_id", "location", "quantity"],
        ),
        "curated.features" => (
            "the figures of each product",
            "product, arg_max(price_index, observed_at) AS price_index, count(*) AS changes",
            "GROUP BY ALL ORDER BY changes DESC, product",
            &["observed_at", "product", "price_index", "competitor_count_active"],
        ),
        "curated.alerts" => (
            "alerts by rule",
            "rule, severity, count(*) AS alerts, max(observed_at) AS latest",
            "GROUP BY ALL ORDER BY alerts DESC, rule",
            &["observed_at", "severity", "product", "message"],
        ),
        _ => ("rows", "*", "", &["event_id", "observed_at"]),
    };
    Example { about, sql: (select, rest), fields }
}

/// The beginning of its latest day, UTC.
pub(super) fn latest_day(look: &Look) -> String {
    let latest = look.event_time().map_or(Timestamp::from_micros(0), |(_, latest)| latest);
    latest.day().start().to_string().replace('Z', "+00:00")
}

/// The view of a table: its columns but those that say the same again or where a row was read, lists as JSON. Those that the
/// table does not have yet are left out.
fn view(look: &Look, source: &str) -> String {
    let described = look.table.described().into_iter();
    let there = described.filter(|column| look.columns.iter().any(|seen| seen.name == column.name));
    let columns = there.filter_map(|column| match column.shown {
        Shown::AsIs => Some(column.name),
        Shown::AsJson => Some(format!("{0}::JSON AS {0}", column.name)),
        Shown::Not => None,
    });
    let view = look.table.view();
    let columns = listed(columns, 120);
    format!("CREATE OR REPLACE VIEW {view} AS SELECT\n{columns}\nFROM {source};\n")
}

/// A list over lines of about `width` characters.
fn listed(items: impl Iterator<Item = String>, width: usize) -> String {
    let (mut text, mut line) = (String::new(), 0);
    for item in items {
        let separator = match line {
            0 => "    ",
            line if line + item.len() > width => ",\n    ",
            _ => ", ",
        };
        line = if separator == ", " { line + 2 } else { 4 } + item.len();
        text.push_str(separator);
        text.push_str(&item);
    }
    text
}

/// A path as a string of SQL.
pub(super) fn sql_text(path: &Path) -> String {
    sql_string(&path.display().to_string())
}

pub(super) fn sql_string(text: &str) -> String {
    format!("'{}'", printable(text).replace('\'', "''"))
}

/// A text as a string of Python; what JSON escapes, Python reads.
fn python_text(text: &str) -> String {
    printable_json(&text.into())
}

/// Tables with a commit, and names of the others.
pub(super) fn split(seen: &[Seen]) -> (Vec<&Seen>, Vec<&'static str>) {
    let (full, empty): (Vec<&Seen>, Vec<&Seen>) = seen.iter().partition(|seen| !seen.look.snapshots.is_empty());
    (full, empty.into_iter().map(|seen| seen.look.table.full_name).collect())
}

pub(super) fn remark(mark: &str, empty: &[&str]) -> String {
    if empty.is_empty() { String::new() } else { format!("\n{mark} nothing was committed yet: {}\n", empty.join(", ")) }
}

/// For `DuckDB`: a view of the folder, whose version hint follows the table, or of what a REST catalog says of it; and the metadata
/// file, which stays.
pub(super) fn duckdb(seen: &[Seen]) -> String {
    let (full, empty) = split(seen);
    let mut text = String::from("-- DuckDB 1.5.5\nINSTALL iceberg;\nLOAD iceberg;\nSET TimeZone = 'UTC';\n");
    let (mut opened, mut lakes) = (None, 0);
    for Seen { place, look, .. } in full {
        if opened.replace(place) != Some(place) {
            lakes += 1;
            text.push_str(&duckdb_secret(place, look));
            if let Address::Rest(rest) = &place.catalog {
                text.push_str(&attached(rest, lakes));
            }
        }
        let (name, day) = (look.table.full_name, latest_day(look));
        let [folder, metadata] = [&look.folder, &look.metadata_file].map(|path| sql_text(path));
        let source = match &place.catalog {
            Address::Rest(_) => format!("{}.{name}", alias(lakes)),
            Address::Sqlite(..) | Address::Postgres(..) => format!("iceberg_scan({folder})"),
        };
        let Example { about, sql: (select, rest), .. } = example(look);
        let view = look.table.view();
        let committed = look.snapshots.first().map(|newest| newest.at.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "\n-- {name}: as it is when this runs; as it was committed at {committed}; {about} of its latest day\n\
             {}\
             SELECT '{name}' AS \"table\", count(*) AS rows FROM {view};\n\
             SELECT '{name}' AS \"table\", count(*) AS rows FROM iceberg_scan({metadata});\n\
             SELECT {select}\nFROM {view}\nWHERE observed_at >= TIMESTAMPTZ '{day}'\n{rest} LIMIT 5;\n",
            self::view(look, &source)
        ));
    }
    text + &remark("--", &empty)
}

/// What the n-th lake is called where its catalog is attached.
fn alias(number: u32) -> String {
    if number == 1 { CATALOG_NAME.into() } else { format!("{CATALOG_NAME}{number}") }
}

/// How `DuckDB` asks a REST catalog; what lets it in is the reader's to give.
fn attached(rest: &Rest, number: u32) -> String {
    let alias = alias(number);
    let (warehouse, url) = (rest.warehouse.as_deref().unwrap_or_default(), rest.url.as_str().trim_end_matches('/'));
    let about = match &rest.entry {
        None => String::new(),
        Some(Login::Token(_)) => {
            format!("-- it wants a secret: CREATE SECRET {alias}_login (TYPE iceberg, TOKEN '…');\n")
        }
        Some(Login::Client { server, .. }) => {
            let server = server.as_ref().map_or_else(|| format!("{url}/v1/oauth/tokens"), ToString::to_string);
            format!(
                "-- it wants a secret: CREATE SECRET {alias}_login (TYPE iceberg, CLIENT_ID '…', CLIENT_SECRET '…', \
                 OAUTH2_SERVER_URI {});\n",
                sql_string(&server)
            )
        }
    };
    let login = if about.is_empty() { "AUTHORIZATION_TYPE 'none'".to_owned() } else { format!("SECRET {alias}_login") };
    format!(
        "{about}ATTACH IF NOT EXISTS {} AS {alias} (TYPE iceberg, ENDPOINT {}, {login}, ACCESS_DELEGATION_MODE 'none');\n",
        sql_string(warehouse),
        sql_string(url)
    )
}

/// How `DuckDB` reaches the bucket of a table; whose credentials it takes is up to its environment.
fn duckdb_secret(place: &Place, look: &Look) -> String {
    let Root::Bucket(bucket, access) = &place.root else { return String::new() };
    let region = access.region.as_deref().unwrap_or(REGION);
    let of_table = || look.folder.to_str().and_then(|folder| BucketPlace::parse(folder).ok().flatten());
    let (scope, hint) = match &place.catalog {
        Address::Rest(_) => (of_table().map_or(bucket.to_string(), |of| format!("s3://{}", of.bucket)), ""),
        Address::Sqlite(..) | Address::Postgres(..) => (bucket.to_string(), HINT_CHANGES),
    };
    let mut options = format!("SCOPE {}, REGION {}", sql_string(&scope), sql_string(region));
    if let Some((scheme, host)) = access.endpoint.as_deref().and_then(|endpoint| endpoint.split_once("://")) {
        let host = sql_string(host.trim_end_matches('/'));
        options.push_str(&format!(", ENDPOINT {host}, USE_SSL {}", scheme == "https"));
    }
    let style = if access.is_path_style(&bucket.bucket) { "path" } else { "vhost" };
    let name = scope.replace('"', "");
    format!(
        "INSTALL httpfs;\nLOAD httpfs;\nINSTALL aws;\nLOAD aws;\nCREATE OR REPLACE SECRET \"{name}\" (TYPE s3, PROVIDER credential_chain, URL_STYLE '{style}', {options});\n{hint}"
    )
}

/// How `PyIceberg` reaches a bucket, likewise.
fn pyiceberg_access(root: &Root) -> String {
    let Root::Bucket(_, access) = root else { return String::new() };
    let region = python_text(access.region.as_deref().unwrap_or(REGION));
    let endpoint = access.endpoint.iter().map(|endpoint| format!(", \"s3.endpoint\": {}", python_text(endpoint)));
    let style =
        access.path_style.is_some_and(|path_style| !path_style).then_some(", \"s3.force-virtual-addressing\": True");
    let more: String = endpoint.chain(style.map(str::to_owned)).collect();
    format!(", **{{\"s3.region\": {region}{more}}}")
}

/// The statement that opens a lake's catalog; passwords are the reader's to give.
fn opened(place: &Place) -> String {
    let warehouse = python_text(&match &place.root {
        Root::Folder(folder) => format!("file://{}", folder.display()),
        Root::Bucket(bucket, _) => bucket.to_string(),
    });
    let access = pyiceberg_access(&place.root);
    let sql = |name: &str, uri: &str| {
        let (name, uri) = (python_text(name), python_text(uri));
        format!("catalog = SqlCatalog({name}, uri={uri}, warehouse={warehouse}{access})")
    };
    match &place.catalog {
        Address::Sqlite(path, name) => {
            let path = path.canonicalize().unwrap_or_else(|_| path.clone());
            sql(name, &format!("sqlite:///{}", path.display()))
        }
        Address::Postgres(_, name) => {
            let uri = place.catalog.to_string().replacen("postgres:", "postgresql+psycopg2:", 1);
            format!("# the password is that of PGPASSWORD or ~/.pgpass\n{}", sql(name, &uri))
        }
        Address::Rest(rest) => {
            let fields = [("uri", Some(rest.url.as_str())), ("warehouse", rest.warehouse.as_deref())];
            let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
            let fields = fields.map(|(name, value)| format!(", {name}={}", python_text(value)));
            let fields = fields.collect::<Vec<_>>().concat();
            let about = if rest.entry.is_some() { "# it wants a credential= or token=\n" } else { "" };
            format!("{about}catalog = RestCatalog({}{fields}{access})", python_text(CATALOG_NAME))
        }
    }
}

/// For `PyIceberg`: by the catalog.
pub(super) fn pyiceberg(seen: &[Seen]) -> String {
    let (full, empty) = split(seen);
    let mut text = String::from("# PyIceberg 0.12\n");
    let is_rest = |seen: &&Seen| matches!(seen.place.catalog, Address::Rest(_));
    for (module, class, is_used) in
        [("rest", "RestCatalog", full.iter().any(is_rest)), ("sql", "SqlCatalog", !full.iter().all(is_rest))]
    {
        if is_used {
            text.push_str(&format!("from pyiceberg.catalog.{module} import {class}\n"));
        }
    }
    let mut open = None;
    for Seen { place, look, .. } in full {
        if open.replace(place) != Some(place) {
            text.push_str(&format!("\n{}\n", opened(place)));
        }
        let (name, day) = (look.table.full_name, latest_day(look));
        let fields = example(look).fields.iter().map(|field| python_text(field)).collect::<Vec<_>>().join(", ");
        text.push_str(&format!(
            "\ntable = catalog.load_table(\"{name}\")\n\
             print(\"{name}\", table.scan().count())\n\
             latest = table.scan(\n    row_filter=\"observed_at >= '{day}'\",\n    selected_fields=({fields}),\n    limit=5,\n)\n\
             for row in latest.to_arrow().to_pylist():\n    print(row)\n"
        ));
    }
    text + &remark("#", &empty)
}
