"""Changes the columns of a table as another program would. Arguments: the lake's folder, the catalog's file and name, the table,
then `-name` for each column to drop and `name` for each to add as text."""

import os
import sys

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.types import StringType

folder, database, name, table, *changes = sys.argv[1:]
catalog = SqlCatalog(name, uri=f"sqlite:///{os.path.join(folder, database)}", warehouse=f"file://{folder}")
for change in changes:
    with catalog.load_table(table).update_schema(allow_incompatible_changes=True) as update:
        if change.startswith("-"):
            update.delete_column(change[1:])
        else:
            update.add_column(change, StringType())
