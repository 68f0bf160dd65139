//! The columns of a table in its metadata: as they are made, and as they are added to; pure.

use std::sync::Arc;

use iceberg::spec::{
    FormatVersion, NestedField, NestedFieldRef, NullOrder, Schema, SortDirection, SortField, SortOrder, TableMetadata,
    TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use iceberg::{TableCreation, TableUpdate};

use super::columns::Column;
use super::file::Shape;
use super::tables::{Division, Table};
use crate::limits::METADATA_FILES_KEPT;

fn field(id: i32, column: &Column) -> NestedFieldRef {
    let field = NestedField::new(id, &column.name, Type::Primitive(column.kind()), column.is_required());
    Arc::new(field.with_doc(column.doc()))
}

/// The changes that add the columns that a table lacks. They get ids of their own, so that the files there are stay what they
/// are, and their rows have nothing in them.
///
/// # Errors
/// Where a column is there as something else, always has to have a value and ours may have none, or may not be missing from
/// the rows there are.
pub(super) fn additions(table: &Table, metadata: &TableMetadata) -> Result<Vec<TableUpdate>, String> {
    let schema = metadata.current_schema();
    let mut fields = schema.as_struct().fields().to_vec();
    let before = fields.len();
    for column in table.columns() {
        match schema.field_by_name(&column.name) {
            Some(found) if *found.field_type != Type::Primitive(column.kind()) => {
                return Err(format!("its column `{}` is {}, not {}", column.name, found.field_type, column.kind()));
            }
            Some(found) if found.required && !column.is_required() => {
                return Err(format!("its column `{}` must have a value, and rows of ours may have none", column.name));
            }
            Some(_) => {}
            None if column.is_required() => {
                return Err(format!(
                    "its column `{}` must have a value, and the rows there are have none",
                    column.name
                ));
            }
            None => fields.push(field(metadata.last_column_id() + 1 + (fields.len() - before) as i32, &column)),
        }
    }
    if fields.len() == before {
        return Ok(Vec::new());
    }
    let schema = Schema::builder().with_fields(fields).with_identifier_field_ids(schema.identifier_field_ids());
    let schema = schema.build().map_err(|error| error.to_string())?;
    Ok(vec![TableUpdate::AddSchema { schema }, TableUpdate::SetCurrentSchema { schema_id: -1 }])
}

/// Whether rows can be written to a table once it has the columns that it lacks.
///
/// # Errors
/// As [`additions`] and [`Shape::of`] say.
pub(super) fn fits(table: &Table, metadata: TableMetadata) -> Result<(), String> {
    let changes = additions(table, &metadata)?;
    let changed = changes.into_iter().try_fold(metadata.into_builder(None), |builder, change| change.apply(builder));
    let changed = changed.and_then(TableMetadataBuilder::build).map_err(|error| error.to_string())?;
    Shape::of(table, &changed.metadata).map(|_| ())
}

/// A new table.
pub(super) fn created(table: &Table, location: String) -> iceberg::Result<TableMetadata> {
    let columns = table.columns();
    let fields = (1..).zip(&columns).map(|(id, column)| field(id, column));
    let id_of = |name: &str| (1..).zip(&columns).find(|(_, column)| column.name == name).map_or(0, |(id, _)| id);
    let mut spec = UnboundPartitionSpec::builder();
    let divided_by: &[(&str, &str, Transform)] = match table.division {
        Division::CustomerDate => {
            &[("customer", "customer", Transform::Identity), ("observed_at", "date", Transform::Day)]
        }
        Division::Date => &[("observed_at", "date", Transform::Day)],
        Division::SourceHour => &[("source", "source", Transform::Identity), ("_ingested_at", "hour", Transform::Hour)],
    };
    for (column, name, transform) in divided_by {
        spec = spec.add_partition_field(id_of(column), *name, *transform)?;
    }
    let spec = spec.build();
    let mut order = SortOrder::builder();
    for name in table.order() {
        order.with_sort_field(
            SortField::builder()
                .source_id(id_of(name))
                .transform(Transform::Identity)
                .direction(SortDirection::Ascending)
                .null_order(NullOrder::First)
                .build(),
        );
    }
    let properties = [
        ("write.parquet.compression-codec", "zstd".into()),
        ("write.metadata.previous-versions-max", METADATA_FILES_KEPT.to_string()),
        ("write.metadata.delete-after-commit.enabled", "true".to_owned()),
    ];
    let creation = TableCreation::builder()
        .name(table.name.into())
        .location(location)
        .schema(Schema::builder().with_fields(fields).build()?)
        .partition_spec(spec)
        .sort_order(order.with_order_id(1).build_unbound()?)
        .properties(properties.map(|(name, value)| (name.to_owned(), value)))
        .format_version(FormatVersion::V2)
        .build();
    Ok(TableMetadataBuilder::from_table_creation(creation)?.build()?.metadata)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lake::tables::TABLES;

    /// What is said of a table of offers whose metadata is changed like this.
    fn check(change: impl FnOnce(&mut Value), expected: Result<(), &str>) {
        let table = &TABLES[0];
        let metadata = created(table, "file:///lake".into()).expect("a table");
        let mut metadata = serde_json::to_value(metadata).expect("JSON");
        change(&mut metadata);
        let metadata = serde_json::from_value(metadata).expect("metadata");
        assert_eq!(fits(table, metadata), expected.map_err(str::to_owned));
    }

    fn fields(metadata: &mut Value) -> &mut Vec<Value> {
        metadata["schemas"][0]["fields"].as_array_mut().expect("a list")
    }

    fn field<'a>(metadata: &'a mut Value, name: &str) -> &'a mut Value {
        fields(metadata).iter_mut().find(|field| field["name"] == name).expect("there")
    }

    fn another(required: bool) -> Value {
        json!({ "id": 1000, "name": "note", "type": "string", "required": required })
    }

    #[test]
    fn a_table_fits_where_no_row_of_ours_can_be_wrong_in_it() {
        check(|_| {}, Ok(()));
        check(|table| fields(table).push(another(false)), Ok(()));
        check(|table| fields(table).retain(|field| field["name"] != "stock_level"), Ok(()));
        check(|table| field(table, "native_id")["required"] = false.into(), Ok(()));
        check(|table| field(table, "stock_level")["doc"] = "of somebody else".into(), Ok(()));
        let undocumented = |table: &mut Value| {
            for field in fields(table) {
                field["doc"] = Value::Null;
            }
        };
        check(undocumented, Ok(()));
    }

    #[test]
    fn a_table_is_refused_where_rows_could_not_be_written() {
        check(
            |table| field(table, "stock_level")["type"] = "int".into(),
            Err("its column `stock_level` is int, not long"),
        );
        check(
            |table| field(table, "price")["type"] = "decimal(20, 6)".into(),
            Err("its column `price` is decimal(20, 6), not decimal(18, 6)"),
        );
        check(
            |table| field(table, "seller")["required"] = true.into(),
            Err("its column `seller` must have a value, and rows of ours may have none"),
        );
        check(
            |table| fields(table).retain(|field| field["name"] != "availability"),
            Err("its column `availability` must have a value, and the rows there are have none"),
        );
        check(|table| fields(table).push(another(true)), Err("its column `note` must have a value, and we know none"));
        let other = |table: &mut Value| {
            fields(table).retain(|field| field["name"] != "stock_level");
            fields(table).push(another(true));
        };
        check(other, Err("its column `note` must have a value, and we know none"));
        check(
            |table| table["partition-specs"][0]["fields"][1]["transform"] = "month".into(),
            Err("it is divided by `date`"),
        );
    }

    #[test]
    fn each_column_says_what_it_is() {
        for table in &TABLES {
            let metadata = created(table, "file:///lake".into()).expect("a table");
            let docs = metadata.current_schema().as_struct().fields().iter().map(|field| field.doc.clone());
            let described = table.columns().iter().map(|column| Some(column.doc())).collect::<Vec<_>>();
            assert_eq!(docs.collect::<Vec<_>>(), described);
            assert!(
                table.columns().iter().all(|column| !column.about.is_empty() && column.null.as_deref() != Some(""))
            );
        }
    }
}
