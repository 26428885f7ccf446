"""A file of JSON Lines as a frame with types: one object a line, the columns are the names that any of them has.

The types are those of JSON in all rows. A column whose values are of several kinds becomes text: strings as they are,
everything else as JSON. Integers beyond 64 bits become text with all digits.

Before that comes how deep the values of a line are nested: polars crashes at some hundred levels, and takes minutes
for fewer. A file is looked at piece by piece: only in a line with more openings than MAX_DEPTH can there be as many
levels.
"""

import io
import json
import math
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import polars as pl

from app.tasks.data.engine import Panic, Watch, as_parquet, polars_errors
from app.tasks.data.errors import UnusableData
from app.tasks.data.file_content import in_utf8, whole_lines, without_mark
from app.tasks.data.names import MAX_COLUMNS, MAX_WIDE_CELLS, check_cells, check_names

MAX_DEPTH = 64
STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
OPENING, BRACKET = b"[{", re.compile(rb"[\[\]{}]")


def check_depth(lines: bytes, name: str, before: int) -> None:
    """Raise UnusableData, which names the line, if one of these is deeper than MAX_DEPTH. `before` is their offset."""
    if _openings(lines) <= MAX_DEPTH + lines.count(b"\n"):
        return
    for number, line in enumerate(lines.split(b"\n"), start=before + 1):
        if _openings(line) > MAX_DEPTH and _is_deep(line):
            raise UnusableData(f"{name}: line {number} is nested more than {MAX_DEPTH} levels deep: make it flatter")


def _openings(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def _is_deep(line: bytes) -> bool:
    depth = 0
    for found in BRACKET.finditer(STRING.sub(b"", line)):
        depth += 1 if found[0] in OPENING else -1
        if depth > MAX_DEPTH:
            return True
    return False


# -- The table: the types of its columns, found piece by piece ---------------------------------------------------------

CHECKED_LINES = 10_000
PIECE = 1 << 20
# Of lines whose types polars finds out at once: its time grows with the square of the names that they have, 16,000 took
# half a minute, and nothing can stop it meanwhile. It takes a second for those that find room here.
TYPED_PIECE = 64 << 10
SAMPLE_BYTES = 1 << 20
# polars reads a value of another kind as an error where the type is one of these. It reads any value as text.
STRICT = (pl.Boolean, pl.Int64, pl.Float64, pl.String)
AS_TEXT = (pl.Null, pl.Int128, pl.UInt64, pl.UInt128)
INTEGERS = range(-(2**63), 2**63)
TYPES: dict[frozenset[str], pl.DataType] = {
    frozenset(): pl.String(),
    frozenset({"bool"}): pl.Boolean(),
    frozenset({"int"}): pl.Int64(),
    frozenset({"float"}): pl.Float64(),
    frozenset({"int", "float"}): pl.Float64(),
    frozenset({"str"}): pl.String(),
}
NESTED = ({"list"}, {"dict"})


class JsonlTable:
    """The table of a file of JSON Lines. Raises UnusableData where the file is at fault."""

    def __init__(self, path: Path, name: str, folder: Path, watch: Watch) -> None:
        self._name, self._folder, self._watch = name, folder, watch
        text, self.about_rows = in_utf8(path, name, folder)
        self._path = without_mark(text, folder)
        self._types: dict[str, pl.DataType] | None = None
        self._densest = 0
        self._check_depth()

    def schema(self) -> Mapping[str, pl.DataType]:
        """Return the columns of the first lines. Later lines may have more, and values of other types."""
        if self._types is None:
            with self._path.open("rb") as file, polars_errors(f"{self._name} cannot be read as JSON Lines"):
                self._types = self._typed(file, SAMPLE_BYTES)
        return self._types

    def checked(self, columns: Collection[str] | None = None) -> pl.LazyFrame | None:
        """Return a watched frame over the file itself, with the types of its first lines.

        A query fails if a later value has another type. None if only a look at all lines tells: what the columns are,
        where they are not given; or the type of a column without values yet, or with nested or huge ones.
        """
        if not columns or any(self.schema().get(name) not in STRICT for name in columns):
            return None
        types = {name: self.schema()[name] for name in columns}
        scanned = pl.scan_ndjson(self._path, schema=types)
        floats = [_not_huge(name).alias(name) for name, dtype in types.items() if dtype == pl.Float64]
        return self._watch.over(scanned.with_columns(floats))

    def is_confirmed(self) -> bool:
        """Say that a query over `checked` which ended has read all rows as they are."""
        return True

    def converted(self) -> pl.LazyFrame:
        """Return a frame over a Parquet file with all rows, whose types all values have."""
        try:
            return self._write(schema=self._schema())
        except (pl.exceptions.PolarsError, Panic):
            kinds = self._look_through()
        mixed = {name: pl.String() for name, found in kinds.items() if _type_of(found) is None and found not in NESTED}
        try:
            return self._write(schema_overrides=mixed, infer_schema_length=None)
        except (pl.exceptions.PolarsError, Panic):
            # Nested values are of several kinds in themselves.
            schema = {name: _type_of(found) or pl.String() for name, found in kinds.items()}
        with polars_errors(f"{self._name} cannot be read as JSON Lines: check its lines"):
            return self._write(schema=schema)

    def _check_depth(self) -> None:
        seen = 0
        with self._path.open("rb") as file:
            for lines in whole_lines(file, PIECE):
                check_depth(lines, self._name, seen)
                found = lines.count(b"\n")
                seen, self._densest = seen + found, max(self._densest, found)

    def _schema(self) -> dict[str, pl.DataType]:
        """Return the types of all lines. polars could look at them in one go, in which nothing could stop it."""
        with self._path.open("rb") as file:
            return self._typed(file)

    def _typed(self, file: IO[bytes], size: float = math.inf) -> dict[str, pl.DataType]:
        """Return the types of the lines of the first `size` bytes."""
        types: dict[str, pl.DataType] = {}
        for lines in whole_lines(file, TYPED_PIECE):
            self._watch.check()
            for name, dtype in _types_of(lines).items():
                types[name] = _merged(types.get(name, pl.Null()), dtype)
            self._check_width(sum(map(_width, types.values())))
            if file.tell() >= size:
                break
        return types

    def _check_width(self, columns: int) -> None:
        """Raise UnusableData where the table is too wide for its lines. Names within values count as columns do."""
        if columns > MAX_COLUMNS:
            raise UnusableData(f"{self._name} has more than {MAX_COLUMNS} names in its objects: send fewer columns")
        check_cells(columns, self.about_rows, self._name)
        if columns * self._densest > MAX_WIDE_CELLS:  # a line of two bytes has a cell of each column
            raise UnusableData(
                f"{self._name} has {columns} names and {self._densest} lines in a MiB, which leave out most of them: "
                "split it by columns"
            )

    def _write(self, **options: Any) -> pl.LazyFrame:
        scanned = pl.scan_ndjson(self._path, **options)
        schema = scanned.collect_schema()
        check_names(schema.names(), self._name)
        as_text = [name for name, dtype in schema.items() if dtype in AS_TEXT]
        typed = scanned.with_columns(pl.col(as_text).cast(pl.String))
        return as_parquet(self._watch.over(typed), sum(map(_width, schema.dtypes())), self._folder, self._watch)

    def _look_through(self) -> dict[str, set[str]]:
        """Return the kinds of the values of each name. Raises UnusableData, which names the first line at fault."""
        kinds: dict[str, set[str]] = defaultdict(set)
        with self._path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if number % CHECKED_LINES == 0:
                    self._watch.check()
                if not line.strip():
                    continue
                for name, value in self._object(line, number).items():
                    kinds[name] |= _kind_of(value)
                self._check_width(len(kinds))
        return kinds

    def _object(self, line: str, number: int) -> dict[str, Any]:
        try:
            found = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            fault = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply or holds NaN"
            raise UnusableData(f"{self._name}: line {number} is not JSON ({fault}): write one object a line") from None
        if not isinstance(found, dict):
            raise UnusableData(f"{self._name}: line {number} is no object: write one object a line")
        return found


def _types_of(lines: bytes) -> dict[str, pl.DataType]:
    """Return the types of whole lines, which may be blank. Raises an error of polars."""
    return dict(pl.scan_ndjson(io.BytesIO(lines), infer_schema_length=None).collect_schema()) if lines.strip() else {}


def _not_huge(name: str) -> pl.Expr:
    """Return the column of floats; the evaluation fails at one that may be an integer of more than 64 bits."""
    value = pl.col(name)
    is_huge = value.abs() >= INTEGERS.stop
    return pl.when(pl.when(is_huge).then(value).otherwise(0.0).cast(pl.Int64) == 0).then(value)


def _merged(one: Any, other: Any) -> Any:
    """Return the type that holds the values of both. Raises an error of polars where nested ones differ."""
    if other in (one, pl.Null()):
        return one
    if one == pl.Null:
        return other
    if {one, other} == {pl.Int64(), pl.Float64()}:
        return pl.Float64()
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        fields = one.to_schema()
        for name, dtype in other.to_schema().items():
            fields[name] = _merged(fields.get(name, pl.Null()), dtype)
        return pl.Struct(fields)
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        return pl.List(_merged(one.inner, other.inner))
    if one.is_nested() or other.is_nested():
        raise pl.exceptions.SchemaError(f"{one} and {other}")
    return pl.String()


def _width(dtype: Any) -> int:
    """Return how many columns of plain values this is."""
    if isinstance(dtype, pl.Struct):
        return sum(_width(field.dtype) for field in dtype.fields)
    return _width(dtype.inner) if isinstance(dtype, pl.List) else 1


def _kind_of(value: Any) -> set[str]:
    if value is None:
        return set()
    if isinstance(value, int) and value not in INTEGERS:
        return {"huge"}
    return {type(value).__name__}


def _type_of(kinds: set[str]) -> pl.DataType | None:
    """Return the type of a column with values of these kinds; None if only text holds them all."""
    return TYPES.get(frozenset(kinds))


def _refuse(constant: str) -> None:
    raise ValueError(constant)
