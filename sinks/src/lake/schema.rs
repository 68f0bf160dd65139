//! The columns of a table in its metadata: as they are made, and as they are added to; pure.

use std::sync::Arc;

use iceberg::spec::{
    FormatVersion, NestedField, NestedFieldRef, NullOrder, Schema, SortDirection, SortField, SortOrder, TableMetadata,
    TableMetadataBuilder, Transform, Type, UnboundPartitionSpec,
};
use iceberg::{TableCreation, TableUpdate};

use super::columns::Column;
use super::tables::{Division, Table};
use crate::limits::METADATA_FILES_KEPT;

fn field(id: i32, column: &Column) -> NestedFieldRef {
    Arc::new(NestedField::new(id, &column.name, Type::Primitive(column.kind()), column.is_required))
}

/// The changes that add the columns that a table lacks. They get ids of their own, so that the files there are stay what they
/// are, and their rows have nothing in them.
///
/// # Errors
/// Where a column is there as something else, or may not be missing from the rows there are.
pub(super) fn additions(table: &Table, metadata: &TableMetadata) -> Result<Vec<TableUpdate>, String> {
    let schema = metadata.current_schema();
    let mut fields = schema.as_struct().fields().to_vec();
    let before = fields.len();
    for column in table.columns() {
        match schema.field_by_name(&column.name) {
            Some(found) if *found.field_type != Type::Primitive(column.kind()) => {
                return Err(format!("its column `{}` is {}, not {}", column.name, found.field_type, column.kind()));
            }
            Some(_) => {}
            None if column.is_required => {
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
