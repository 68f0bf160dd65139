"""Watches a lake until its input ends, then prints a line per table: how old its rows were when they could first be read.

Arguments: the lake's folder, and the end of the stretch of `ingested_at` that counts, in microseconds.
"""

import json
import os
import select
import sqlite3
import sys
import time
from contextlib import closing

import duckdb

LOOK_EVERY_S = 0.02
folder, end = sys.argv[1], int(sys.argv[2])
catalog = os.path.join(folder, "catalog.db")


def tables():
    """The metadata file of each table, as a reader of the catalog finds it; none before there is a catalog."""
    try:
        with closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True, timeout=10)) as connection:
            query = "SELECT table_namespace || '.' || table_name, metadata_location FROM iceberg_tables"
            return [(table, location.removeprefix("file://")) for table, location in connection.execute(query)]
    except sqlite3.OperationalError:
        return []


def metadata(location):
    with open(location) as file:
        return json.load(file)


seen = {}  # when a commit was first found, by its id
looked_at = set()


def look():
    found = tables()
    now = time.time_ns() // 1000  # not before it can be read, and at most one look later
    for _, location in found:
        if location not in looked_at:
            looked_at.add(location)
            for snapshot in metadata(location).get("snapshots", []):
                if snapshot["summary"]["operation"] == "append":  # files that are put together stay for a day
                    seen.setdefault(snapshot["summary"]["skuflow.commit-id"], now)


while not select.select([sys.stdin], [], [], LOOK_EVERY_S)[0]:
    look()
look()

duck = duckdb.connect()
duck.execute("SET enable_progress_bar = false")  # it would stand among the lines
duck.execute("CREATE TABLE seen (id TEXT, found BIGINT)")
duck.executemany("INSERT INTO seen VALUES (?, ?)", list(seen.items()))
duck.execute("CREATE TABLE ages (name TEXT, age_ms BIGINT, counts BOOLEAN, rows BIGINT)")
for table, location in tables():
    current = metadata(location)
    files = os.path.join(current["location"].removeprefix("file://"), "**", "*.parquet")
    duck.execute(
        """INSERT INTO ages
           SELECT ?, (seen.found - epoch_us(ingested_at)) // 1000 AS age_ms, epoch_us(ingested_at) < ? AS counts, count(*)
           FROM read_parquet(?, filename = true, hive_partitioning = false)
           JOIN seen ON seen.id = regexp_extract(filename, '([0-9a-f-]{36})-[0-9]+[.]parquet$', 1) GROUP BY ALL""",
        [table, end, files])
    rows = duck.execute("SELECT coalesce(sum(rows), 0)::BIGINT FROM ages WHERE name = ?", [table]).fetchone()[0]
    newest = next(snapshot for snapshot in current["snapshots"] if snapshot["snapshot-id"] == current["current-snapshot-id"])
    assert rows == int(newest["summary"]["total-records"]), f"{table}: {rows} rows, and {newest}"


def print_ages(name, ages):
    """By age in milliseconds, how many rows; in order."""
    total = sum(rows for _, rows in ages)

    def quantile(share):
        seen_rows = 0
        for age, rows in ages:
            seen_rows += rows
            if seen_rows >= share * total:
                return age / 1e3

    print(json.dumps({"table": name, "rows": total, "p50": quantile(0.5), "p99": quantile(0.99), "max": ages[-1][0] / 1e3}))


def ages_of(condition, *arguments):
    query = f"SELECT age_ms, sum(rows)::BIGINT FROM ages WHERE counts AND {condition} GROUP BY age_ms ORDER BY age_ms"
    return duck.execute(query, arguments).fetchall()


for (name,) in duck.execute("SELECT DISTINCT name FROM ages WHERE counts ORDER BY name").fetchall():
    print_ages(name, ages_of("name = ?", name))
print_ages("all", ages_of("true"))
