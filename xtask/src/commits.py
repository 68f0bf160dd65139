"""Looks at a table of a lake, or counts its rows, each time that a line comes on stdin, and answers with a line of JSON.

An empty line asks for the metadata file that the table's hint names, the bytes of all metadata, and how many data files there
are. Metadata files, divided by blanks, ask how long DuckDB takes to count the rows by each of them: in turns, the best of nine,
in milliseconds. Argument: the table's folder."""

import json
import os
import sys
import time

import duck

TURNS = 9
folder = sys.argv[1]


def size(address):
    return os.path.getsize(address.removeprefix("file://"))


def newest(location):
    """The snapshot that is read by a metadata file."""
    with open(location, encoding="utf-8") as file:
        table = json.load(file)
    return next(each for each in table["snapshots"] if each["snapshot-id"] == table["current-snapshot-id"])


def look():
    with open(os.path.join(folder, "metadata", "version-hint.text"), encoding="utf-8") as hint:
        location = os.path.join(folder, "metadata", f"{hint.read()}.metadata.json")
    snapshot = newest(location)
    manifest_list = snapshot["manifest-list"].removeprefix("file://")
    query = "SELECT count(*), sum(manifest_length)::BIGINT FROM read_avro(?)"
    manifests, manifest_bytes = duck.connect({}).execute(query, [manifest_list]).fetchone()
    return {"location": location, "json": size(location), "list": size(manifest_list), "manifests": manifests,
            "manifest_bytes": manifest_bytes, "files": int(snapshot["summary"]["total-data-files"])}


def count(location):
    connection = duck.connect({})
    begun = time.perf_counter()
    found = connection.execute(f"SELECT count(*) FROM iceberg_scan('{location}')").fetchone()[0]
    took = time.perf_counter() - begun
    rows = int(newest(location)["summary"]["total-records"])
    assert found == rows, f"{found} rows, and the table says {rows}"
    return took * 1000


def best(locations):
    turns = [[count(location) for location in locations] for _ in range(TURNS)]
    return [min(times) for times in zip(*turns)]


for line in sys.stdin:
    asked = line.split()
    print(json.dumps(best(asked) if asked else look()), flush=True)
