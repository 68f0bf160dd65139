"""Prints the rows of a table, a JSON object per line, by partition and offset; times in microseconds, amounts and dates as text.
Arguments: the lake's properties as JSON, the table's folder, and the columns."""

import json
import sys

import duck

properties, folder, *columns = sys.argv[1:]
properties = json.loads(properties)
connection = duck.connect(properties)
scan = f"iceberg_scan('{duck.known(properties['warehouse'])}/{folder}')"


def plain(name, kind):
    if kind.startswith("TIMESTAMP"):
        return f'epoch_us("{name}") AS "{name}"'
    if kind.startswith("DECIMAL") or kind == "DATE":
        return f'CAST("{name}" AS VARCHAR) AS "{name}"'
    return f'"{name}"'


kinds = {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()}
chosen = ", ".join(plain(name, kinds[name]) for name in columns)
connection.execute(f"COPY (SELECT {chosen} FROM {scan} ORDER BY _partition, _offset) TO '/dev/stdout' (FORMAT json)")
