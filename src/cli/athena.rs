//! Statements with which Amazon Athena reads a lake in a bucket of Amazon S3: pure.
//!
//! Athena knows Iceberg tables by Glue alone, whose pointer to a metadata file somebody has to move: [`glue`]. Without it, it can
//! read the files that are in a table's folders, whatever the table says of them: [`athena`] has both.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skuflow_sinks::lake::{BucketPlace, Look, Place, Root};
use skuflow_sinks::limits::METADATA_FILES_KEPT;

use super::lake::Seen;
use super::statements::{example, latest_day, remark, split, sql_string, sql_text};
use crate::printable::{printable, printable_json};

/// How many values Athena should be told of at most; it is to be asked for one then.
const VALUES_MAX: usize = 36;
/// Years of which folders are looked for behind the latest there is.
const YEARS_AHEAD: i32 = 5;

/// The bucket that Athena can read, or why it cannot read the lake.
fn bucket(place: &Place) -> Result<&BucketPlace, String> {
    match &place.root {
        Root::Folder(_) => Err(format!("Athena reads buckets of Amazon S3; the lake in {place} is in a folder")),
        Root::Bucket(bucket, access) => match access.endpoint.as_deref() {
            Some(endpoint) if !is_amazons(endpoint) => {
                Err(format!("Athena reads buckets of Amazon S3; the lake in {place} is at {endpoint}"))
            }
            _ => Ok(bucket),
        },
    }
}

fn is_amazons(endpoint: &str) -> bool {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let host = host.split(['/', ':']).next().unwrap_or_default();
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// The database of Glue that has the tables of a lake: Athena takes `[a-z0-9_]` for names.
fn database(bucket: &BucketPlace) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    bucket.to_string().trim_start_matches("s3://").chars().map(plain).collect()
}

fn table_name(look: &Look) -> String {
    look.table.full_name.replace('.', "_")
}

/// What Glue and Athena call a type of Iceberg; nested ones are columns of others, which are left out.
fn kind(iceberg: &str) -> Option<String> {
    Some(match iceberg {
        "long" => "bigint".into(),
        "timestamptz" => "timestamp".into(),
        plain @ ("string" | "int" | "float" | "double" | "boolean" | "date" | "timestamp" | "binary") => plain.into(),
        decimal if decimal.starts_with("decimal(") => decimal.replace(' ', ""),
        _ => return None,
    })
}

fn columns(look: &Look) -> impl Iterator<Item = (&str, String)> {
    look.columns.iter().filter_map(|column| Some((column.name.as_str(), kind(&column.kind)?)))
}

/// A text as one word of a shell.
fn shell_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn shell_json(value: &Value) -> String {
    shell_text(&printable_json(value))
}

/// What is printed of the tables in each lake that Athena can read, below what `head` says of the lake, and why it cannot read
/// the others.
fn printed(
    seen: &[Seen],
    mark: &str,
    head: impl Fn(&Place, &BucketPlace) -> String,
    table: impl Fn(&BucketPlace, &Look) -> String,
) -> String {
    let (full, empty) = split(seen);
    let (mut text, mut opened) = (String::new(), None);
    for Seen { place, look, .. } in full {
        let bucket = bucket(place);
        if opened.replace(place) != Some(place) {
            text.push_str(&match &bucket {
                Ok(bucket) => head(place, bucket),
                Err(reason) => format!("{mark} {}\n", printable(reason)),
            });
        }
        if let Ok(bucket) = bucket {
            text.push_str(&table(bucket, look));
        }
    }
    text + &remark(mark, &empty)
}

/// For a shell: commands of the AWS CLI that make the tables known to Athena, or move them on.
pub(super) fn glue(seen: &[Seen]) -> String {
    let head = |place: &Place, bucket: &BucketPlace| {
        let region = match &place.root {
            Root::Bucket(_, access) => access.region.as_deref(),
            Root::Folder(_) => None,
        };
        let region = region.map(|region| format!(" --region {}", shell_text(region))).unwrap_or_default();
        format!(
            "# AWS CLI: Athena sees the tables as they are when this runs. Run it again for what is committed later, at the latest\n\
             # after {METADATA_FILES_KEPT} commits, when the metadata file goes that was named.\n\
             # Athena must only read: its DROP TABLE and VACUUM delete files of the lake. `aws glue delete-table` deletes none.\n\
             glue() {{ aws glue \"$@\"{region}; }}\n\
             known() {{ glue create-table \"$@\" 2>/dev/null || glue update-table \"$@\"; }}\n\
             glue create-database --database-input {} 2>/dev/null || true\n",
            shell_json(&json!({ "Name": database(bucket) }))
        )
    };
    let table = |bucket: &BucketPlace, look: &Look| {
        let [folder, metadata_file] = [&look.folder, &look.metadata_file].map(|path| path.display().to_string());
        let columns: Vec<Value> = columns(look).map(|(name, kind)| json!({ "Name": name, "Type": kind })).collect();
        let input = json!({
            "Name": table_name(look), "TableType": "EXTERNAL_TABLE",
            "Parameters": { "table_type": "ICEBERG", "metadata_location": metadata_file },
            "StorageDescriptor": { "Location": folder, "Columns": columns },
        });
        let (database, input) = (shell_text(&database(bucket)), shell_json(&input));
        format!("known --database-name {database} --table-input {input}\n")
    };
    printed(seen, "#", head, table)
}

/// For Athena: the tables that Glue knows, and their files.
pub(super) fn athena(seen: &[Seen]) -> String {
    let head = |_: &Place, _: &BucketPlace| {
        "-- Athena, engine version 3; before, and for what is committed later: skuflow lake sql --reader glue | sh\n"
            .into()
    };
    let table = |bucket: &BucketPlace, look: &Look| {
        let (name, database, table) = (look.table.full_name, database(bucket), table_name(look));
        let (fields, day) =
            (example(look).fields.join(", "), latest_day(look).replace('T', " ").replace("+00:00", " UTC"));
        let known = format!(
            "\n-- {name}: as Glue was told last\n\
             SELECT '{name}' AS \"table\", count(*) AS \"rows\" FROM {database}.{table};\n\
             SELECT {fields}\nFROM {database}.{table}\nWHERE observed_at >= TIMESTAMP '{day}'\nLIMIT 5;\n"
        );
        known + &files(look, &database, &table).unwrap_or_default()
    };
    printed(seen, "--", head, table)
}

/// The files of a table as a table of Hive's with partition projection; `None` where they are in no folders of Hive's.
fn files(look: &Look, database: &str, table: &str) -> Option<String> {
    let folders = folders(look)?;
    let columns: Vec<String> = columns(look).map(|(name, kind)| format!("    `{name}` {kind}")).collect();
    let parts: Vec<String> = folders.iter().map(|(key, _)| format!("`folder_{key}` string")).collect();
    let mut properties = vec![("projection.enabled".to_owned(), "true".to_owned())];
    let mut template = format!("{}/", look.folder.display());
    let mut asked = Vec::new();
    for (key, values) in &folders {
        let projected = projection(key, values);
        let property = |(name, value): (&str, String)| (format!("projection.folder_{key}.{name}"), value);
        properties.extend(projected.into_iter().map(property));
        template.push_str(&format!("{key}=${{folder_{key}}}/"));
        if is_asked_for(key, values) {
            asked.extend(values.first().map(|value| format!("folder_{key} = {}", sql_string(value))));
        }
    }
    properties.push(("storage.location.template".into(), template));
    let property = |(name, value): (String, String)| format!("    {} = {}", sql_string(&name), sql_string(&value));
    let properties: Vec<String> = properties.into_iter().map(property).collect();
    let asked = if asked.is_empty() { String::new() } else { format!(" WHERE {}", asked.join(" AND ")) };
    Some(format!(
        "\n-- {name} by its files: COUNTS ROWS TWICE. It reads whatever is in the folders, also what compaction has replaced, what\n\
         -- no commit names and what retention has let go, until that is removed. It needs no Glue command after a commit, so it is\n\
         -- for looking at what has just landed; the second statement takes each record once. Customers and sources that come\n\
         -- later, and days before the first, are not in it until it is made again.\n\
         CREATE EXTERNAL TABLE `{database}`.`{table}_files` (\n{}\n)\nPARTITIONED BY ({})\nSTORED AS PARQUET\nLOCATION {}\n\
         TBLPROPERTIES (\n{}\n);\n\
         SELECT count(*) AS records\n\
         FROM (SELECT DISTINCT \"_topic\", \"_partition\", \"_offset\" FROM {database}.{table}_files{asked});\n",
        columns.join(",\n"),
        parts.join(", "),
        sql_text(&look.folder.join("")),
        properties.join(",\n"),
        name = look.table.full_name,
    ))
}

/// The folders that files are in: their keys, outermost first, and the values of each.
fn folders(look: &Look) -> Option<Vec<(String, BTreeSet<String>)>> {
    let mut folders: Vec<(String, BTreeSet<String>)> = Vec::new();
    for file in &look.files {
        let within = file.path.strip_prefix(&look.folder).ok()?.parent()?.to_str()?;
        let pairs: Vec<(&str, &str)> = within.split('/').map(|pair| pair.split_once('=')).collect::<Option<_>>()?;
        if folders.is_empty() {
            folders = pairs.iter().map(|(key, _)| ((*key).to_owned(), BTreeSet::new())).collect();
        }
        if !folders.iter().map(|(key, _)| key.as_str()).eq(pairs.iter().map(|(key, _)| *key)) {
            return None;
        }
        for ((_, values), (_, value)) in folders.iter_mut().zip(pairs) {
            values.insert(value.to_owned());
        }
    }
    (!folders.is_empty()).then_some(folders)
}

/// Whether there are too many values to tell Athena of, which then has to be asked for one.
fn is_asked_for(key: &str, values: &BTreeSet<String>) -> bool {
    !matches!(key, "date" | "year" | "month" | "day" | "hour") && values.len() > VALUES_MAX
}

/// How Athena finds the values of a folder's key.
fn projection(key: &str, values: &BTreeSet<String>) -> Vec<(&'static str, String)> {
    let first = values.first().map(String::as_str).unwrap_or_default();
    let integer = |range: String, digits: u32| {
        vec![("type", "integer".to_owned()), ("range", range), ("digits", digits.to_string())]
    };
    match key {
        "date" => vec![
            ("type", "date".into()),
            ("format", "yyyy-MM-dd".into()),
            ("range", format!("{first},NOW")),
            ("interval", "1".into()),
            ("interval.unit", "DAYS".into()),
        ],
        "year" => {
            let last: i32 = values.last().and_then(|year| year.parse().ok()).unwrap_or_default();
            integer(format!("{first},{}", last + YEARS_AHEAD), 4)
        }
        "month" => integer("1,12".into(), 2),
        "day" => integer("1,31".into(), 2),
        "hour" => integer("0,23".into(), 2),
        _ if is_asked_for(key, values) => vec![("type", "injected".into())],
        _ => {
            let values = values.iter().map(String::as_str).collect::<Vec<_>>().join(",");
            vec![("type", "enum".into()), ("values", values)]
        }
    }
}

#[cfg(test)]
mod tests;
