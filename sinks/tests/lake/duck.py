"""DuckDB with the extensions of the Python packages, which read Iceberg; in a bucket, too."""

import glob
import importlib
import os
import urllib.parse

import duckdb


def extension(name):
    package = importlib.import_module(f"duckdb_extension_{name}")
    return glob.glob(os.path.join(os.path.dirname(package.__file__), "**", "*.duckdb_extension"), recursive=True)[0]


def connect(properties):
    """As the properties with which PyIceberg opens the catalog say it."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        connection.execute(f"LOAD '{extension(name)}'")
    connection.execute("SET TimeZone = 'UTC'")
    if "s3.endpoint" in properties:
        key, secret, region = (properties[f"s3.{name}"] for name in ("access-key-id", "secret-access-key", "region"))
        server = urllib.parse.urlparse(properties["s3.endpoint"]).netloc
        connection.execute(
            f"CREATE SECRET (TYPE s3, PROVIDER config, KEY_ID '{key}', SECRET '{secret}', REGION '{region}', "
            f"ENDPOINT '{server}', URL_STYLE 'path', USE_SSL false)"
        )
        # the version hint is written over, between two requests of one reading, too
        connection.execute("SET unsafe_disable_etag_checks = true")
    return connection


def attach(connection, properties):
    """The REST catalog, as `lake`."""
    uri = properties["uri"]
    login = "AUTHORIZATION_TYPE 'none'"
    if "credential" in properties:
        client, secret = properties["credential"].split(":")
        connection.execute(
            f"CREATE SECRET login (TYPE iceberg, CLIENT_ID '{client}', CLIENT_SECRET '{secret}', "
            f"OAUTH2_SERVER_URI '{uri}/v1/oauth/tokens')"
        )
        login = "SECRET login"
    connection.execute(
        f"ATTACH '{properties['warehouse']}' AS lake "
        f"(TYPE iceberg, ENDPOINT '{uri}', {login}, ACCESS_DELEGATION_MODE 'none')"
    )


def known(address):
    """An address as it takes it."""
    return address.removeprefix("file://")
