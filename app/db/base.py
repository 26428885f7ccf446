"""The declarative base and the column types that models share."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, MetaData, Text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

NAMING_CONVENTION = {
    "ix": "ix_%(column_0_N_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

UTCDateTime = DateTime(timezone=True)

# pydantic, which writes the answers, gives up at 255.
MAX_DEPTH = 200
TOO_DEEP = f"JSON nested more than {MAX_DEPTH} deep"


_COMPACT = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UTCDateTime, str: Text()}  # noqa: RUF012 (SQLAlchemy's own attribute)


class JSONText(TypeDecorator[Any]):
    """JSON kept as the exact text: JSONB would turn 1e22 into an integer and -0.0 into 0.0.

    ASCII only, so that a NUL or any other character of a string never meets the database's encoding. Python's
    None is SQL NULL. Raises ValueError for NaN and infinities, TypeError for what is not JSON.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        del dialect
        return None if value is None else dump_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        del dialect
        return None if value is None else json.loads(value)


class DumpedList(list[Any]):
    """A list that knows its JSON text. Not to be changed any more."""

    json_text: str


class DumpedDict(dict[str, Any]):
    """A dict that knows its JSON text. Not to be changed any more."""

    json_text: str


def dumped(value: Any) -> Any:
    """A copy of this list or dict that `dump_json` need not write again. Raises as it does."""
    copy: DumpedList | DumpedDict = DumpedList(value) if isinstance(value, list) else DumpedDict(value)
    copy.json_text = dump_json(value)
    return copy


def dump_json(value: Any) -> str:
    """`value` as compact ASCII JSON text, which every answer can carry again.

    Raises ValueError (NaN, infinity, circular, nested too deeply, lone surrogates) and TypeError.
    """
    if isinstance(value, DumpedList | DumpedDict):
        return value.json_text
    try:
        text = _COMPACT.encode(value)
    except RecursionError:
        raise ValueError(TOO_DEEP) from None
    # Both looks are rare: few values hold so many brackets, or a character beyond the basic plane.
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper_than(value, MAX_DEPTH):
        raise ValueError(TOO_DEEP)
    if "\\ud" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("lone surrogates are not Unicode text") from None
    return text


def json_size(value: Any) -> int:
    """The bytes that `value` takes as it is stored. Raises as `dump_json` does."""
    return len(dump_json(value))


def _deeper_than(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [inner for outer in level if isinstance(outer, dict | list | tuple) for inner in _items(outer)]
        if not level:
            return False
    return True


def _items(outer: Any) -> Any:
    return outer.values() if isinstance(outer, dict) else outer
