"""Opens a lake's catalog with PyIceberg. Arguments: the catalog's properties as JSON, and what to do:
`read` prints, per table, the partition, offset and id of each row; `attached TABLE…` the same as DuckDB finds it by a REST
catalog; `append TABLE` adds a snapshot of its own to a table."""

import json
import sys

from pyiceberg.catalog import load_catalog

import duck

properties, what, *names = sys.argv[1:]
properties = json.loads(properties)
catalog = load_catalog(**properties)
if what == "attached":
    connection = duck.connect(properties)
    duck.attach(connection, properties)
    select = "SELECT _partition, _offset, event_id FROM lake.{} ORDER BY ALL"
    print(json.dumps({name: connection.execute(select.format(name)).fetchall() for name in names}))
elif what == "append":
    with catalog.load_table(names[0]).transaction() as transaction:
        with transaction.update_snapshot().fast_append():
            pass
else:
    found = {}
    for zone in catalog.list_namespaces():
        for identifier in catalog.list_tables(zone):
            scan = catalog.load_table(identifier).scan(selected_fields=("_partition", "_offset", "event_id"))
            rows = scan.to_arrow().to_pylist()
            found[".".join(identifier)] = sorted([row["_partition"], row["_offset"], row["event_id"]] for row in rows)
    print(json.dumps(found))
