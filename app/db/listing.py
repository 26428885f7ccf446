"""A list of the service, declared once: of which rows, by what it is sorted, and so its cursors and its pages.

    KEYS = Listing(ApiKey, ApiKey.id)
    page = KEYS.page(db, limit, cursor, ApiKey.user_id == user_id)

A page starts behind a position, and one row more than it holds tells whether another follows (keyset pagination). The
position is what the list is sorted by, of the last item; a cursor is that as text, which clients return as it is. Of a
list whose rows have a `size`, a page ends at MAX_PAGE_BYTES too, with one item at least.

What to list is a filter (`app/schemas/filters.py`); the answers of the API and the pages show a `Page`.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import BigInteger, ColumnElement, Select, SmallInteger, func, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.base import ExecutableOption
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.type_api import TypeEngine
from sqlalchemy.sql.visitors import InternalTraversal

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
        rows = self.sorted(select(self._entity).where(*which).options(*self._options), limit, cursor)
        rows = rows.offset(skip) if skip else rows
        return self.cut(list(db.scalars(rows.execution_options(populate_existing=True))), limit)

    def sorted(self, rows: Select[*tuple[Any, ...]], limit: int, cursor: str | None) -> Select[*tuple[Any, ...]]:
        """Return the statement for the rows of a page, and for one more, which `cut` takes. Raises InvalidCursor."""
        return rows.where(*self._behind(cursor)).order_by(*self._order()).limit(limit + 1)

    def cut(self, found: list[Item], limit: int) -> Page[Item]:
        """Return the page of items of which there is one more than it holds, if another page follows."""
        return Page(found[:limit], self.cursor_of(found[limit - 1]) if len(found) > limit else None)

    def cursor_of(self, item: Any) -> str:
        """Return the cursor of the page that starts behind this item."""
        names = (column.key for column in self._by)
        return ".".join(_text(item[name] if isinstance(item, Mapping) else getattr(item, name)) for name in names)

    def position(self, cursor: str) -> tuple[Any, ...]:
        """Return the values of the columns at a cursor. Raises InvalidCursor."""
        parts = cursor.split(".")
        if len(parts) != len(self._by):
            raise InvalidCursor
        return tuple(_value(part, column.type) for part, column in zip(parts, self._by, strict=True))

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

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER, _WORD = re.compile("[0-9]{1,19}"), re.compile("[0-9a-z]{1,64}")


def _text(value: Any) -> str:
    if isinstance(value, datetime):
        return str((value - _EPOCH) // _MICROSECOND)
    return value.hex if isinstance(value, UUID) else str(value)


def _value(text: str, kind: TypeEngine[Any]) -> Any:
    """Return the value that a column of this type is compared with. Raises InvalidCursor."""
    try:
        if kind.python_type is UUID:
            return UUID(hex=text)
        if not (_WORD if kind.python_type is str else _NUMBER).fullmatch(text):
            raise InvalidCursor
        if kind.python_type is str:
            return text
        return _EPOCH + int(text) * _MICROSECOND if kind.python_type is datetime else _number(int(text), kind)
    except (ValueError, OverflowError):
        raise InvalidCursor from None


def _number(number: int, kind: TypeEngine[Any]) -> int:
    """Return the number. Raises InvalidCursor for one that no column of this type holds."""
    bits = 15 if isinstance(kind, SmallInteger) else 63 if isinstance(kind, BigInteger) else 31
    if number >= 2**bits:
        raise InvalidCursor
    return number
