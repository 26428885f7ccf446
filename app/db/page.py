"""One page of a list, as every service returns it (keyset pagination)."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

from sqlalchemy import BindParameter, ColumnElement, Select, func, or_, select, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from app.errors import InvalidCursor

# A page ends at so many bytes of its items, at least one of them.
MAX_PAGE_BYTES = 1024 * 1024

Item = TypeVar("Item")
Position = TypeVar("Position")


class Page(NamedTuple, Generic[Item, Position]):
    """The items, and the position after which the next page starts. None: this is the last page."""

    items: list[Item]
    last: Position | None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# A number, such as of microseconds since the epoch, then the id.
_CURSOR = re.compile(r"([0-9a-f]{16})([0-9a-f]{32})")


class NumberPosition(NamedTuple):
    """A position in a list that is sorted by a number from 0, then by an id. As text it is the cursor."""

    number: int
    id: UUID

    def __str__(self) -> str:
        return f"{self.number:016x}{self.id.hex}"

    @classmethod
    def parse(cls, cursor: str) -> "NumberPosition":
        """Return the position of a cursor. Raises InvalidCursor."""
        found = _CURSOR.fullmatch(cursor)
        if found is None or (number := int(found[1], 16)) >= 2**63:  # no column holds more
            raise InvalidCursor
        return cls(number, UUID(hex=found[2]))


class TimePosition(NamedTuple):
    """A position in a list that is sorted by the database's time, then by an id. As text it is the cursor."""

    at: datetime
    id: UUID

    def __str__(self) -> str:
        return str(NumberPosition((self.at - _EPOCH) // _MICROSECOND, self.id))

    @classmethod
    def parse(cls, cursor: str) -> "TimePosition":
        """Return the position of a cursor. Raises InvalidCursor."""
        microseconds, last = NumberPosition.parse(cursor)
        try:
            return cls(_EPOCH + microseconds * _MICROSECOND, last)
        except OverflowError:
            raise InvalidCursor from None


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


def page_of(found: list[Item], limit: int, position: Callable[[Item], Position]) -> Page[Item, Position]:
    """Cut `found` to a page of `limit` items.

    Takes one item more than the page holds, if there are as many: the extra item shows that another page follows.
    """
    return Page(found[:limit], position(found[limit - 1]) if len(found) > limit else None)


def bounded_rows(
    entity: type[Item],
    key: Any,
    size: Any,
    *where: ColumnElement[bool],
    limit: int | BindParameter[int],
    within: Sequence[ColumnElement[bool]] = (),
    most_bytes: int = MAX_PAGE_BYTES,
    falling: bool = False,
) -> Select[Item, int]:
    """Select what fits of the first `limit` rows, sorted by `key`: as many as take `most_bytes`, one at least.

    With each comes how many rows there are. `size` is the bytes of one. `within` says of which object they all are,
    where `key` alone names no row. The database reads the sizes of `limit` rows, and the values of those that fit.
    """
    inner = select(key.label("key"), size.label("bytes")).where(*within, *where)
    first = inner.order_by(key.desc() if falling else key).limit(limit).subquery()
    through = func.sum(first.c.bytes).over(order_by=first.c.key.desc() if falling else first.c.key)
    found = select(first, through.label("through"), func.count().over().label("of_all")).subquery()
    fits = or_(found.c.through <= most_bytes, found.c.through == found.c.bytes)
    rows = select(entity, found.c.of_all).join(found, key == found.c.key).where(*within, fits)
    return rows.order_by(key.desc() if falling else key)


def bounded_page(
    rows: Sequence[Any], limit: int, position: Callable[[Any], Position]
) -> Page[Any, Position]:  # fmt: skip
    """Return the page of rows that `bounded_rows` has selected with one more than the limit."""
    items = [row[0] for row in rows[:limit]]
    is_cut = bool(rows) and rows[0][1] > len(items)
    return Page(items, position(items[-1]) if is_cut else None)
