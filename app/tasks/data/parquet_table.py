"""A Parquet file as a frame, after a look at its footer: it says how many rows there are, and how large.

The footer is Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md) with the structures of
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift, of which only the numbers below
are used.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from app.tasks.data.engine import polars_errors, row_bytes
from app.tasks.data.errors import UnusableData
from app.tasks.data.file_content import PARQUET
from app.tasks.data.names import check_names

TAIL = 8  # the length of the footer, and the magic bytes
MAX_FOOTER_BYTES = 64 << 20
# Of lists and structures: a file of 60 KB, compressed, can say that it has 60 million of them.
MAX_PARTS = 2_000_000
MAX_DEPTH = 32
# Of columns within columns: the time that polars takes grows with the square, and it crashes at some thousands.
MAX_LEVELS = 64

# Fields of FileMetaData, of SchemaElement and of RowGroup, whose number of rows is the third one too.
SCHEMA, NUM_ROWS, ROW_GROUPS = 2, 3, 4
NUM_CHILDREN = 5
TOTAL_BYTE_SIZE = 2

# Types of the compact protocol.
STOP, TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(13)


@dataclass(frozen=True)
class Footer:
    """The claims of a file about itself: `bytes` are decompressed, in the encoding of its pages."""

    rows: int
    bytes: int


def read_footer(path: Path, name: str) -> Footer:
    """Return the claims of the footer. Raises UnusableData if there is none, or it is damaged."""
    try:
        fields = _Reader(_footer_bytes(path)).struct()
        groups = fields.get(ROW_GROUPS, [])
        rows = [int(group[NUM_ROWS]) for group in groups]
        if min(rows, default=0) < 0 or sum(rows) != int(fields[NUM_ROWS]):
            raise ValueError(rows)
        _check_levels(fields[SCHEMA])
        return Footer(rows=sum(rows), bytes=sum(max(0, int(group[TOTAL_BYTE_SIZE])) for group in groups))
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        raise UnusableData(f"{name} is a damaged Parquet file: write it again") from None
    except _TooManyPartsError:
        raise UnusableData(
            f"{name} has a footer of more than {MAX_PARTS} parts: write fewer columns, or larger row groups"
        ) from None


def _check_levels(elements: list[Any]) -> None:
    """Raise ValueError if columns are nested deeper than MAX_LEVELS: the schema is their tree, the root first."""
    left: list[int] = []
    for element in elements:
        if left:
            left[-1] -= 1
        left.append(int(element.get(NUM_CHILDREN, 0)))
        while left and left[-1] <= 0:
            left.pop()
        if len(left) > MAX_LEVELS:
            raise ValueError(len(left))


def _footer_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        tail = file.read(TAIL)
        length = int.from_bytes(tail[:4], "little")
        if tail[4:] != PARQUET or length > min(size - TAIL, MAX_FOOTER_BYTES):
            raise ValueError(length)
        file.seek(size - TAIL - length)
        return file.read(length)


class _TooManyPartsError(Exception):
    """The footer has more than MAX_PARTS parts."""


class _Reader:
    """Reads values of the compact protocol. Raises IndexError or ValueError where there are none."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0
        self._parts = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > MAX_DEPTH:
            raise ValueError(depth)
        self._count(1)
        fields: dict[int, Any] = {}
        number = 0
        while (head := self._byte()) != STOP:
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (LIST, SET):
            return self._list(depth)
        if kind == STRUCT:
            return self.struct(depth + 1)
        return self._scalar(kind)

    def _scalar(self, kind: int) -> int | None:
        """Return a number; None for a text or a fraction, which is skipped."""
        if kind in (TRUE, FALSE):
            return kind == TRUE
        if kind in (I16, I32, I64):
            return self._zigzag()
        if kind == BYTE:
            return self._byte()
        if kind not in (BINARY, DOUBLE):
            raise ValueError(kind)  # the structures of Parquet have no maps
        self._skip(self._varint() if kind == BINARY else 8)
        return None

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        size = head >> 4 if head >> 4 != 15 else self._varint()  # noqa: PLR2004 - the size follows
        if size > len(self._content):
            raise ValueError(size)
        self._count(size)
        kind = head & 15
        if kind in (TRUE, FALSE):
            return [self._byte() == TRUE for _ in range(size)]
        return [self._value(kind, depth + 1) for _ in range(size)]

    def _count(self, parts: int) -> None:
        self._parts += parts
        if self._parts > MAX_PARTS:
            raise _TooManyPartsError

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > len(self._content):
            raise IndexError(size)

    def _byte(self) -> int:
        self._at += 1
        return self._content[self._at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128 or shift > 70:  # noqa: PLR2004 - the last byte, and more than 64 bits
                return value

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


# -- The table: the columns of the file, with some types as text -------------------------------------------------------

# Types that few tools read, or that the other formats cannot hold: as text they keep every digit.
AS_TEXT = (pl.Null, pl.Int128, pl.UInt128, pl.Categorical, pl.Enum)


class ParquetTable:
    """The table of a Parquet file. `bytes` is how large it is decompressed, at least. Raises UnusableData."""

    def __init__(self, path: Path, name: str) -> None:
        footer = read_footer(path, name)
        with polars_errors(f"{name} is a damaged Parquet file, or uses what cannot be read: write it again"):
            frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
            schema = frame.collect_schema()
        check_names(schema.names(), name)
        # A page can stand for any number of equal values.
        self.bytes = max(path.stat().st_size, footer.bytes, footer.rows * row_bytes(schema))
        self.rows = footer.rows
        as_text = [column for column, dtype in schema.items() if dtype in AS_TEXT]
        self.frame = frame.with_columns(pl.col(as_text).cast(pl.String)) if as_text else frame
