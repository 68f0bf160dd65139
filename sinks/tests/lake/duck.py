"""DuckDB with the extensions of the Python packages, which read Iceberg; in a bucket, too, with its server and credentials."""

import glob
import importlib
import os

import duckdb


def extension(name):
    package = importlib.import_module(f"duckdb_extension_{name}")
    return glob.glob(os.path.join(os.path.dirname(package.__file__), "**", "*.duckdb_extension"), recursive=True)[0]


def connect(bucket=None):
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        connection.execute(f"LOAD '{extension(name)}'")
    connection.execute("SET TimeZone = 'UTC'")
    if bucket:
        connection.execute(
            f"CREATE SECRET (TYPE s3, PROVIDER config, KEY_ID '{bucket['id']}', SECRET '{bucket['secret']}', "
            f"REGION 'us-east-1', ENDPOINT '{bucket['endpoint'].removeprefix('http://')}', URL_STYLE 'path', USE_SSL false)"
        )
    return connection
