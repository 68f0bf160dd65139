# AWS CLI: Athena sees the tables as they are when this runs. Run it again for what is committed later, at the latest
# after 100 commits, when the metadata file goes that was named.
# Athena must only read: its DROP TABLE and VACUUM delete files of the lake. `aws glue delete-table` deletes none.
glue() { aws glue "$@" --region 'eu-central-1'; }
known() { glue create-table "$@" 2>/dev/null || glue update-table "$@"; }
glue create-database --database-input '{"Name":"my_shop_lake_v1"}' 2>/dev/null || true
known --database-name 'my_shop_lake_v1' --table-input '{"Name":"processed_offers","TableType":"EXTERNAL_TABLE","Parameters":{"table_type":"ICEBERG","metadata_location":"s3://my-shop/lake/v1/processed/data_type=offers/metadata/00001-x.metadata.json"},"StorageDescriptor":{"Location":"s3://my-shop/lake/v1/processed/data_type=offers","Columns":[{"Name":"event_id","Type":"string"},{"Name":"observed_at","Type":"timestamp"},{"Name":"price","Type":"decimal(18,6)"},{"Name":"price_minor","Type":"bigint"},{"Name":"_offset","Type":"bigint"}]}}'
known --database-name 'my_shop_lake_v1' --table-input '{"Name":"raw_offers","TableType":"EXTERNAL_TABLE","Parameters":{"table_type":"ICEBERG","metadata_location":"s3://my-shop/lake/v1/raw/data_type=offers/metadata/00001-x.metadata.json"},"StorageDescriptor":{"Location":"s3://my-shop/lake/v1/raw/data_type=offers","Columns":[{"Name":"value","Type":"binary"},{"Name":"_ingested_at","Type":"timestamp"}]}}'
