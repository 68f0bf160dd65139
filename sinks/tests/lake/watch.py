"""Looks at a lake as one of its readers does, each time that a line on stdin names the lake's folder. Prints a line of JSON per
look: by table and way of reading, and by partition, the number of rows, of different offsets, the first and the last offset.
Arguments: the reader, the catalog's file and name."""

import glob
import json
import os
import sys

from pyiceberg.catalog.sql import SqlCatalog

import duck


def look_as_duckdb():
    """By the version hint, and by the metadata file that it names."""
    connection = duck.connect()

    def counts(source):
        found = connection.execute(
            "SELECT _partition, count(*), count(DISTINCT _offset), min(_offset), max(_offset) "
            f"FROM iceberg_scan('{source}') GROUP BY _partition"
        )
        return {partition: counts for partition, *counts in found.fetchall()}

    def look(folder):
        for table in glob.glob(os.path.join(folder, "*", "*")):
            hint = os.path.join(table, "metadata", "version-hint.text")
            if os.path.exists(hint):
                name = os.path.basename(table).partition("=")[2]
                yield f"{name} by version hint", counts(table)
                with open(hint, encoding="utf-8") as version:
                    metadata = os.path.join(table, "metadata", f"{version.read()}.metadata.json")
                yield f"{name} by metadata file", counts(metadata)

    return look


def look_as_pyiceberg():
    """By the catalog."""

    def counts(rows):
        groups = rows.group_by("_partition").aggregate(
            [("_offset", "count"), ("_offset", "count_distinct"), ("_offset", "min"), ("_offset", "max")]
        )
        named = ("_partition", "_offset_count", "_offset_count_distinct", "_offset_min", "_offset_max")
        return {partition: counts for partition, *counts in zip(*(groups[name].to_pylist() for name in named))}

    def look(folder):
        uri = f"sqlite:///{os.path.join(folder, database)}"
        catalog = SqlCatalog(catalog_name, uri=uri, warehouse=f"file://{folder}", init_catalog_tables="false")
        for zone in catalog.list_namespaces():
            for identifier in catalog.list_tables(zone):
                scan = catalog.load_table(identifier).scan(selected_fields=("_partition", "_offset"))
                yield f"{identifier[-1]} by catalog", counts(scan.to_arrow())
        catalog.close()

    return look


reader, database, catalog_name = sys.argv[1:]
look = {"duckdb": look_as_duckdb, "pyiceberg": look_as_pyiceberg}[reader]()
for line in sys.stdin:
    print(json.dumps(dict(look(line.rstrip("\n")))), flush=True)
