"""Appends the rows of a table of a lake to new tables of PyIceberg, each divided as that one is and in the same codec; the rows are
in memory before the clock starts: first as columns, then as records, which become columns first. Prints a line of JSON: for each
time the seconds of processor time of both, and how many files each made.

Without what `PyIceberg` takes for that (the packages pyiceberg, pyiceberg-core, pyarrow) the list is empty.

Arguments: the lake's folder, its catalog's file and name, the table's full name, a folder for the new tables, how often."""

import json
import os
import sys
import time

try:
    import pyarrow.parquet
    import pyiceberg_core  # noqa: F401, it divides by days
    from pyiceberg.catalog.sql import SqlCatalog
except ImportError as missing:
    print(f"PyIceberg is skipped: {missing}", file=sys.stderr)
    print("[]")
    sys.exit()

lake, database, name, table, out, times = sys.argv[1:]


def catalog(folder, name, **properties):
    return SqlCatalog(name, uri=f"sqlite:///{os.path.join(folder, database)}", warehouse=f"file://{folder}", **properties)


source = catalog(lake, name, init_catalog_tables="false").load_table(table)
paths = [task.file.file_path.removeprefix("file://") for task in source.scan().plan_files()]
rows = pyarrow.concat_tables(pyarrow.parquet.read_table(path, partitioning=None) for path in paths)
plain = pyarrow.schema([field.remove_metadata() for field in rows.schema])
rows = rows.cast(plain).combine_chunks()
records = rows.to_pylist()
settings = {
    "write.parquet.compression-codec": "zstd",
    "write.parquet.compression-level": "3",
    "write.parquet.row-group-limit": "262144",
}
target = catalog(out, "append")
target.create_namespace("new")


def append(name, columns):
    made = target.create_table(f"new.{name}", source.schema(), partition_spec=source.spec(), properties=settings)
    begun = time.process_time()
    made.append(columns())
    took = time.process_time() - begun
    summary = made.current_snapshot().summary
    assert int(summary["total-records"]) == len(records), summary
    return [took, int(summary["total-data-files"])]


def both(number):
    return [
        append(f"columns{number}", lambda: rows),
        append(f"records{number}", lambda: pyarrow.Table.from_pylist(records, schema=plain)),
    ]


print(json.dumps([both(number) for number in range(int(times))]))
