"""Runs the statements on stdin in DuckDB, with the extensions of the Python packages where `INSTALL` would look for them, and
prints the rows of each that is a SELECT as a line of JSON."""

import glob
import importlib
import json
import os
import sys
import tempfile

import duckdb

with tempfile.TemporaryDirectory() as folder:
    connection = duckdb.connect(config={"extension_directory": folder, "allow_unsigned_extensions": "true"})
    platform = connection.execute("PRAGMA platform").fetchone()[0]
    installed = os.path.join(folder, f"v{duckdb.__version__.removeprefix('v')}", platform)
    os.makedirs(installed)
    for name in ("avro", "httpfs", "iceberg"):
        package = os.path.dirname(importlib.import_module(f"duckdb_extension_{name}").__file__)
        found = glob.glob(os.path.join(package, "**", "*.duckdb_extension"), recursive=True)[0]
        os.symlink(found, os.path.join(installed, f"{name}.duckdb_extension"))
    for statement in connection.extract_statements(sys.stdin.read()):
        connection.execute(statement)
        if statement.type == duckdb.StatementType.SELECT:
            rows = connection.to_arrow_table().to_pylist()
            print(json.dumps([list(row.values()) for row in rows], default=str))
