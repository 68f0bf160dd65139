"""Reads a lake as its readers do and prints, per table and way of reading, the rows, the rows of a stretch of time, and how many
files that took. Arguments: the lake's properties as JSON, begin and end of the stretch in microseconds."""

import datetime
import decimal
import json
import re
import sys

from pyiceberg.catalog import load_catalog
from pyiceberg.expressions import And, GreaterThanOrEqual, LessThan

import duck

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)


def plain(value):
    """A value as JSON has it: times in microseconds, amounts as text, bytes in hex."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime.datetime):
        return (value - EPOCH) // datetime.timedelta(microseconds=1)
    if isinstance(value, (decimal.Decimal, datetime.date)):
        return str(value)
    return value


def rows(arrow):
    return [{name: plain(value) for name, value in row.items()} for row in arrow.to_pylist()]


def iso(micros):
    return (EPOCH + datetime.timedelta(microseconds=micros)).isoformat()


def files_of(plan):
    """How many files a plan has read of how many."""
    read = re.search(r"Total Files Read:\s*(\d+)", plan)
    return int(read.group(1)) if read else None


properties, begin, end = sys.argv[1:]
properties, begin, end = json.loads(properties), int(begin), int(end)
connection = duck.connect(properties)
catalog = load_catalog(**properties)
for zone in catalog.list_namespaces():
    for identifier in catalog.list_tables(zone):
        table = catalog.load_table(identifier)
        location, metadata = duck.known(table.location()), duck.known(table.metadata_location)
        total = len(list(table.scan().plan_files()))

        def show(reader, all_rows, some_rows, files):
            print(json.dumps({
                "table": ".".join(identifier), "reader": reader, "rows": all_rows, "some": some_rows,
                "files_read": files, "files": total,
            }))

        for reader, source in (("duckdb, metadata file", metadata), ("duckdb, version hint", location)):
            scan = f"SELECT * FROM iceberg_scan('{source}')"
            some = f"{scan} WHERE observed_at >= TIMESTAMPTZ '{iso(begin)}' AND observed_at < TIMESTAMPTZ '{iso(end)}'"
            plan = connection.execute(f"EXPLAIN ANALYZE {some}").fetchall()[0][1]
            show(reader, rows(connection.execute(scan).to_arrow_table()), rows(connection.execute(some).to_arrow_table()),
                 files_of(plan))
        stretch = And(GreaterThanOrEqual("observed_at", iso(begin)), LessThan("observed_at", iso(end)))
        some = table.scan(row_filter=stretch)
        show("pyiceberg", rows(table.scan().to_arrow()), rows(some.to_arrow()), len(list(some.plan_files())))
