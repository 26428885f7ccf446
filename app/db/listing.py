"""A list of the service, declared once: of which rows, by what it is sorted, and so its cursors and its pages.

    KEYS = Listing(ApiKey, ApiKey.id)
    page = KEYS.page(db, limit, cursor, ApiKey.user_id == user_id)

A page starts behind a position, and one row more than it holds tells whether another follows (keyset pagination). The
position is what the list is sorted by, of the last item; a cursor is that as text, which clients return as it is. Of a
list whose rows have a `size`, a page ends at MAX_PAGE_BYTES too, with one item at least.

What to list is a `Filter`, of which each field is declared once, with its type and description. It is the model of a
query: the parameters of the endpoint and of the page, and their documentation, are its fields. Of a field that is set,
a row has the same value in the column of that name, unless `Matches` says otherwise beside its type. The filter of
tasks stands in `app/models/task_filter.py`, since statements and searches read it too.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, Integer, Select, SmallInteger, func, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ExecutableOption
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.sql.visitors import InternalTraversal

from app.core.moments import EPOCH, MICROSECOND
from app.errors import InvalidCursor

# A page ends at so many bytes of its items, at least one of them.
MAX_PAGE_BYTES = 1024 * 1024

Item = TypeVar("Item")


class Page(NamedTuple, Generic[Item]):
    """The items, and the cursor of the next page. None: this is the last one."""

    items: list[Item]
    last: str | None


class Listing(Generic[Item]):
    """A list of rows, sorted by these columns: the newest or largest first, unless it is `rising`.

    Items have what they are sorted by as attributes or members of the columns' names. `size`: the bytes of a row.
    """

    def __init__(
        self,
        entity: type[Item],
        *by: Any,
        rising: bool = False,
        size: Any = None,
        options: Sequence[ExecutableOption] = (),
    ) -> None:
        self._entity, self._by, self._rising, self._size, self._options = entity, by, rising, size, options

    def page(
        self,
        db: Session,
        limit: int,
        cursor: str | None,
        *which: ColumnElement[bool],
        skip: int = 0,
        most_bytes: int = MAX_PAGE_BYTES,
    ) -> Page[Item]:
        """Return `limit` of these rows at most, as they are committed now. Raises InvalidCursor.

        The database reads the sizes of so many rows, and the values of those that fit in `most_bytes`.
        """
        if self._size is not None:
            return self._fitting(db, limit, [*which, *self._behind(cursor)], most_bytes)
        rows = self.select_page(select(self._entity).where(*which).options(*self._options), limit, cursor)
        rows = rows.offset(skip) if skip else rows
        return self.cut_page(list(db.scalars(rows.execution_options(populate_existing=True))), limit)

    def select_page(self, rows: Select[*tuple[Any, ...]], limit: int, cursor: str | None) -> Select[*tuple[Any, ...]]:
        """Return the statement for a page and one row more, which `cut_page` takes. Raises InvalidCursor."""
        return rows.where(*self._behind(cursor)).order_by(*self._order()).limit(limit + 1)

    def cut_page(self, found: list[Item], limit: int) -> Page[Item]:
        """Return the page of items of which there is one more than it holds, if another page follows."""
        return Page(found[:limit], self.cursor_of(found[limit - 1]) if len(found) > limit else None)

    def cursor_of(self, item: Any) -> str:
        """Return the cursor of the page that starts behind this item."""
        names = (column.key for column in self._by)
        return ".".join(_text(item[name] if isinstance(item, Mapping) else getattr(item, name)) for name in names)

    @cached_property
    def _kinds(self) -> list[tuple[type, int]]:
        """The types of the columns, and the greatest number that each holds."""
        return [(column.type.python_type, _most(column.type)) for column in self._by]

    def position(self, cursor: str) -> tuple[Any, ...]:
        """Return the values of the columns at a cursor. Raises InvalidCursor."""
        parts = cursor.split(".")
        if len(parts) != len(self._by):
            raise InvalidCursor
        return tuple(_value(part, *kind) for part, kind in zip(parts, self._kinds, strict=True))

    def _behind(self, cursor: str | None) -> list[ColumnElement[bool]]:
        if cursor is None:
            return []
        position = self.position(cursor)
        if len(self._by) > 1:
            return [Behind(self._by, position)]
        return [self._by[0] > position[0] if self._rising else self._by[0] < position[0]]

    def _order(self) -> list[Any]:
        return [column if self._rising else column.desc() for column in self._by]

    def _fitting(self, db: Session, limit: int, which: list[ColumnElement[bool]], most_bytes: int) -> Page[Item]:
        (key,), (order,), size = self._by, self._order(), self._size
        first = select(key.label("key"), size.label("bytes")).where(*which).order_by(order).limit(limit + 1).subquery()
        by = first.c.key if self._rising else first.c.key.desc()
        through = func.sum(first.c.bytes).over(order_by=by)
        found = select(first, through.label("through"), func.count().over().label("of_all")).subquery()
        fits = or_(found.c.through <= most_bytes, found.c.through == found.c.bytes)
        rows = select(self._entity, found.c.of_all).join(found, key == found.c.key).where(*which, fits).order_by(order)
        read = db.execute(rows.execution_options(populate_existing=True)).all()
        items = [row[0] for row in read[:limit]]
        return Page(items, self.cursor_of(items[-1]) if items and read[0][1] > len(items) else None)


class Behind(ColumnElement[bool]):
    """These columns, which sort a list in falling order, are behind this position."""

    _traverse_internals = [  # noqa: RUF012 (SQLAlchemy's)
        ("first", InternalTraversal.dp_clauseelement),
        ("row", InternalTraversal.dp_clauseelement),
    ]
    # No Boolean: SQLAlchemy would compare it with 1 where an engine has no such type, and no index serves that.

    def __init__(self, columns: tuple[Any, ...], position: tuple[Any, ...]) -> None:
        self.first: ColumnElement[bool] = columns[0] <= position[0]
        # A plain tuple: each value is written as its column's type has it.
        self.row: ColumnElement[bool] = tuple_(*columns) < tuple(position)


@compiles(Behind)
def _with_a_range(element: Behind, compiler: SQLCompiler, **options: Any) -> str:
    """MySQL and SQLite do not look up a row of values in an index of falling order."""
    return f"({compiler.process(element.first, **options)} AND {compiler.process(element.row, **options)})"


@compiles(Behind, "postgresql")
def _as_row(element: Behind, compiler: SQLCompiler, **options: Any) -> str:
    return str(compiler.process(element.row, **options))


# -- The values of a cursor: ids, times, numbers, words ----------------------------------------------------------------

_NUMBER, _WORD = re.compile("[0-9]{1,19}"), re.compile("[0-9a-z]{1,64}")


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return str((value - EPOCH) // MICROSECOND)
    return value.hex if isinstance(value, UUID) else str(value)


def _value(text: str, kind: type, most: int) -> Any:
    """Return the value that a column of this type is compared with. Raises InvalidCursor."""
    try:
        if kind is UUID:
            return UUID(hex=text)
        if kind is str:
            return _WORD.fullmatch(text)[0]  # type: ignore[index]  # (None has no text)
        number = int(_NUMBER.fullmatch(text)[0])  # type: ignore[index]
        if number > most:
            raise InvalidCursor
        return EPOCH + number * MICROSECOND if kind is datetime else number
    except (TypeError, ValueError, OverflowError):
        raise InvalidCursor from None


def _most(kind: TypeEngine[Any]) -> int:
    bits = 15 if isinstance(kind, SmallInteger) else 31 if type(kind) is Integer else 63
    return int(2**bits) - 1


# -- What to list ------------------------------------------------------------------------------------------------------

# Of `user_id`, where a filter has that. Who may name whom is decided where the filter comes in.
Whose = UUID | Literal["all"] | None
WHOSE = "Administrators: those of this user; by default, and with `all`, of all users."


@dataclass(frozen=True, slots=True)
class Matches:
    """Beside the type of a field: the condition that a row fits its value."""

    condition: Callable[[Any], ColumnElement[bool]]


class Filter(BaseModel):
    """Which rows of `entity` to list; None and an empty list leave a field out."""

    model_config = ConfigDict(frozen=True, defer_build=True)
    entity: ClassVar[Any]

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the filter as SQL conditions."""
        named = [(name, value) for name, value in self if value not in (None, [])]
        return [self._condition(name, value) for name, value in named if (name, value) != ("user_id", "all")]

    @classmethod
    def _condition(cls, name: str, value: Any) -> ColumnElement[bool]:
        for each in cls.model_fields[name].metadata:
            if isinstance(each, Matches):
                return each.condition(value)
        equal: ColumnElement[bool] = getattr(cls.entity, name) == value
        return equal
