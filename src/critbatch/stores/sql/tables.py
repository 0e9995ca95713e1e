"""What the file holds: tables and the migrations that lead to them."""

from collections.abc import Callable

import polars as pl
import sqlalchemy as sa

from ...record import RUN_SCHEMA

SQL_TYPES = {pl.String: sa.Text, pl.Int64: sa.BigInteger, pl.Float64: sa.Double}

TABLES = sa.MetaData()
VERSION = sa.Table("schema_version", TABLES, sa.Column("version", sa.Integer, primary_key=True))
RUN = sa.Table(
    "run",
    TABLES,
    *(
        sa.Column(name, SQL_TYPES[kind], primary_key=name == "run", nullable=name in {"target", "seconds", "note"})
        for name, kind in RUN_SCHEMA.items()
    ),
)
# One block a run: the records as an Arrow stream, zstd inside, so that NaN, infinities and null come back as they were.
RECORDS = sa.Table(
    "records",
    TABLES,
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("block", sa.LargeBinary, nullable=False),
    sa.Column("checksum", sa.BigInteger, nullable=False),
)
STUDY = sa.Table(
    "study",
    TABLES,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("place", sa.BigInteger, nullable=False),
    sa.Column("run_ids", sa.Text, nullable=False),
    sa.Column("description", sa.Text, nullable=False),
)

# Number n makes version n out of version n - 1. A released one never changes: with the next one, version 1 gets its
# columns written out instead of taking them from RUN_SCHEMA.
MIGRATIONS: dict[int, Callable[[sa.Connection], None]] = {1: TABLES.create_all}
LATEST = max(MIGRATIONS)


def version(connection: sa.Connection) -> int:
    """Return the number of the last migration that the file has seen, 0 if none."""
    if not sa.inspect(connection).has_table(VERSION.name):
        return 0
    return connection.execute(sa.select(sa.func.max(VERSION.c.version))).scalar() or 0


def migrate(connection: sa.Connection) -> None:
    """Bring the file to the latest version."""
    for number in range(version(connection) + 1, LATEST + 1):
        MIGRATIONS[number](connection)
        connection.execute(sa.insert(VERSION), [{"version": number}])
