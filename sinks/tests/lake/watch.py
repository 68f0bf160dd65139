"""Looks at a lake as one of its readers does, each time that a line on stdin says its properties as JSON. Prints a line of JSON
per look: by table and way of reading, and by partition, the number of rows, of different offsets, the first and the last offset.
Argument: the reader."""

import json
import re
import sys

from pyiceberg.catalog import load_catalog

import duck


def look_as_duckdb():
    """By the version hint, and by the metadata file that it names."""
    connections = {}

    def look(properties):
        warehouse = properties["warehouse"]
        if warehouse not in connections:
            connections[warehouse] = duck.connect(properties)
        connection = connections[warehouse]

        def counts(source):
            found = connection.execute(
                "SELECT _partition, count(*), count(DISTINCT _offset), min(_offset), max(_offset) "
                f"FROM iceberg_scan('{source}') GROUP BY _partition"
            )
            return {partition: counts for partition, *counts in found.fetchall()}

        pattern = f"{duck.known(warehouse)}/*/*/metadata/version-hint.text"
        for hint, version in connection.execute(f"SELECT filename, content FROM read_text('{pattern}')").fetchall():
            metadata, _, _ = hint.rpartition("/")
            table, _, _ = metadata.rpartition("/")
            name = re.search(r"=([^=/]*)$", table).group(1)
            yield f"{name} by version hint", counts(table)
            yield f"{name} by metadata file", counts(f"{metadata}/{version}.metadata.json")

    return look


def look_as_pyiceberg():
    """By the catalog."""

    def counts(rows):
        groups = rows.group_by("_partition").aggregate(
            [("_offset", "count"), ("_offset", "count_distinct"), ("_offset", "min"), ("_offset", "max")]
        )
        named = ("_partition", "_offset_count", "_offset_count_distinct", "_offset_min", "_offset_max")
        return {partition: counts for partition, *counts in zip(*(groups[name].to_pylist() for name in named))}

    def look(properties):
        catalog = load_catalog(**properties, init_catalog_tables="false")
        for zone in catalog.list_namespaces():
            for identifier in catalog.list_tables(zone):
                scan = catalog.load_table(identifier).scan(selected_fields=("_partition", "_offset"))
                yield f"{identifier[-1]} by catalog", counts(scan.to_arrow())
        catalog.close()

    return look


look = {"duckdb": look_as_duckdb, "pyiceberg": look_as_pyiceberg}[sys.argv[1]]()
for line in sys.stdin:
    print(json.dumps(dict(look(json.loads(line)))), flush=True)
