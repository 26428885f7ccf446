"""How the engine of this session would run a statement."""

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from tests.support.databases import DIALECT, ENGINE


@dataclass(frozen=True)
class Plan:
    """The indexes that it uses, whether it reads a whole table, whether it sorts, and all that the engine says."""

    indexes: frozenset[str]
    scans: bool
    sorts: bool
    text: str


def analyze(connection: Connection, table: str) -> None:
    """Count the rows for the planner now, as every engine does by itself some time after they were written."""
    if DIALECT == "mysql":  # where that ends the transaction; another one counts what this one has written too
        with connection.engine.connect() as other:
            other.exec_driver_sql(f"ANALYZE TABLE {table}")
    else:
        connection.exec_driver_sql(f"ANALYZE {table}")


def plan_of(connection: Connection, statement: str, parameters: Any) -> Plan:
    """Of a statement as the driver gets it."""
    explain = {"sqlite": "EXPLAIN QUERY PLAN", "mysql": "EXPLAIN FORMAT=TRADITIONAL"}.get(ENGINE, "EXPLAIN")
    rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).mappings().all()
    text = "\n".join(" ".join(str(value) for value in row.values()) for row in rows)
    if ENGINE == "postgresql":
        return Plan(
            frozenset(re.findall(r"(?:using|Bitmap Index Scan on) (\w+)", text)),
            "Seq Scan" in text,
            "Sort" in text,
            text,
        )
    if ENGINE == "sqlite":
        indexes = frozenset(re.findall(r"INDEX (\w+)", text))
        return Plan(indexes, bool(re.search(r"SCAN \w+\b(?! USING)", text)), "B-TREE" in text, text)
    indexes = frozenset(row["key"] for row in rows if row["key"])
    return Plan(indexes, any(row["type"] == "ALL" for row in rows), "filesort" in text, text)
