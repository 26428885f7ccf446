"""SQL of tests, written for PostgreSQL, as the engine of this session spells it: times, intervals, JSON, and values.

What else PostgreSQL alone has, a test says in another way, or it is marked as PostgreSQL's.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, bindparam, text

from app.ddl import mysql, sqlite
from app.ddl.columns import Duration, Id, UTCDateTime
from tests.support.databases import DIALECT, ENGINE

_SECONDS = {"second": 1, "sec": 1, "s": 1, "minute": 60, "hour": 3600, "day": 86400}
_PRODUCT = r"(?:([:\w.]+) \* )?interval '(-?[\d.]+) (second|sec|s|minute|hour|day)s?'"
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def spelled(statement: str, values: Mapping[str, Any] | None = None) -> TextClause:
    """The statement with those of the values that it names, of which an id may be a text."""
    values = {name: value for name, value in (values or {}).items() if re.search(rf":{name}\b", statement)}
    if ENGINE == "postgresql":
        return text(statement).bindparams(**values)
    new_id = "lower(hex(randomblob(16)))" if ENGINE == "sqlite" else "unhex(replace(uuid(), '-', ''))"
    time, interval = (sqlite.NOW, _microseconds) if ENGINE == "sqlite" else (mysql.NOW, _interval)
    if DIALECT == "mysql":
        statement = re.sub(r"(\w+)->>'(\w+)'", r"json_value(`\1`, '$.\2')", statement)
    statement = re.sub(r"make_interval\(secs => ([:\w.]+)\)", r"\1 * interval '1 second'", statement)
    if ENGINE == "sqlite" and statement.endswith(" FOR UPDATE"):
        # A text that does not begin with SELECT begins the one transaction that writes.
        statement = f"/* lock */ {statement.removesuffix(' FOR UPDATE')}"
    statement = re.sub(_PRODUCT, interval, statement.replace("gen_random_uuid()", new_id))
    statement = re.sub(r"\b(clock_timestamp|statement_timestamp|now)\(\)", time, statement)
    return text(statement).bindparams(*(_bound(name, value) for name, value in values.items()))


def id_of(value: Any) -> UUID:
    """An id as a statement that is a text has read it: MySQL's is bytes, SQLite's 32 digits."""
    if isinstance(value, bytes):
        return UUID(bytes=value)
    return value if isinstance(value, UUID) else UUID(value)


def _microseconds(found: re.Match[str]) -> str:
    return f"CAST({found[1] or 1} * {found[2]} * {_SECONDS[found[3]]} * 1000000 AS INTEGER)"


def _interval(found: re.Match[str]) -> str:
    return f"INTERVAL ({found[1] or 1} * {found[2]} * {_SECONDS[found[3]]}) SECOND"


def _bound(name: str, value: Any) -> Any:
    if isinstance(value, str) and _UUID.fullmatch(value):
        value = UUID(value)
    types: dict[type, Any] = {UUID: Id, datetime: UTCDateTime, timedelta: Duration}
    return bindparam(name, value, type_=types.get(type(value)))
