"""The arguments of `transform_data` as one query, and what its steps hold in memory.

The steps are: join, filter, group or select, sort.

First comes what a step holds: it is counted as it comes, behind the step that makes its rows or columns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.engine import row_bytes
from app.tasks.data.errors import InvalidExpression, TooMuchMemory
from app.tasks.data.expressions import Schema, check_column, compile_aggregate, compile_expression, compile_filter
from app.tasks.data.names import MAX_COLUMNS, is_pattern
from app.tasks.data.operators import column, unify

# What an aggregate of a group takes: a sum of integers has 128 bits, and its state and its result are there at once.
AGGREGATE_BYTES = 32
# What `n_unique` keeps of a value. It keeps each value of a group once, so a few of them are not counted.
VALUE_BYTES, FEW_UNIQUE = 48, 8
SEED = 5
MERGED_HASHES = 100_000


class Held:
    """Bounds what the steps of one query hold. `about_rows` is the number of rows of a single source, else None."""

    def __init__(self, max_bytes: int, about_rows: int | None) -> None:
        self._max_bytes, self._about_rows = max_bytes, about_rows

    def joined(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Return the frame of a join, whose query fails once its rows take more memory than they may."""
        return self._rows(
            frame, "the join gives more than {most} rows, which the next step needs in memory: "
            "filter, or join on columns with fewer equal values"
        )  # fmt: skip

    def selected(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Return the frame of a selection, whose query fails once its rows take more memory than they may."""
        return self._rows(
            frame, "sort: all rows are needed in memory, and these columns have more than {most} rows: "
            "filter more rows, or select less"
        )  # fmt: skip

    def grouped(self, frame: pl.LazyFrame, keys: list[str], aggregates: int) -> pl.LazyFrame:
        """Return the frame to group, whose query fails once its groups take more memory than they may."""
        schema = frame.collect_schema()
        size = row_bytes({name: schema[name] for name in keys}) + AGGREGATE_BYTES * aggregates
        most = self._max_bytes // size
        if self._about_rows is not None and self._about_rows <= most:
            return frame
        distinct = _Distinct()

        def count(batch: pl.DataFrame) -> None:
            if distinct.add(batch.select(keys), most) > most:
                raise TooMuchMemory(
                    f"group_by: all groups are needed in memory, and there are more than {most}, each with "
                    f"{aggregates} aggregates: group by columns with fewer values, or take fewer aggregates at a time"
                )

        return _counted(frame, count)

    def unique(self, frame: pl.LazyFrame, number: int) -> pl.LazyFrame:
        """Return the frame to group, whose query fails once so many `n_unique` may keep more than they may."""
        if number <= FEW_UNIQUE:
            return frame
        return self._rows(
            frame, f"aggregate: {number} of n_unique keep the values of more than {{most}} rows in memory: "
            f"take {FEW_UNIQUE} at a time, or filter more rows", VALUE_BYTES * number
        )  # fmt: skip

    def _rows(self, frame: pl.LazyFrame, sentence: str, size: int | None = None) -> pl.LazyFrame:
        most, rows = self._max_bytes // (size or row_bytes(frame.collect_schema())), 0

        def count(batch: pl.DataFrame) -> None:
            nonlocal rows
            rows += batch.height  # the threads that add at the same time lose little
            if rows > most:
                raise TooMuchMemory(sentence.format(most=most))

        return _counted(frame, count)


class _Distinct:
    """Counts different rows by their hashes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept = pl.Series("hash", [], dtype=pl.UInt64)
        self._fresh: list[pl.Series] = []
        self._waiting = 0

    def add(self, rows: pl.DataFrame, most: int) -> int:
        """Return how many there are at least, and surely whether there are more than `most`."""
        fresh = rows.hash_rows(SEED).alias("hash").unique()
        with self._lock:
            self._fresh.append(fresh)
            self._waiting += len(fresh)
            if self._waiting > max(MERGED_HASHES, len(self._kept)) or len(self._kept) + self._waiting > most:
                self._kept = pl.concat([self._kept, *self._fresh]).unique()
                self._fresh, self._waiting = [], 0
            return len(self._kept)


def _counted(frame: pl.LazyFrame, count: Callable[[pl.DataFrame], None]) -> pl.LazyFrame:
    def passed(batch: pl.DataFrame) -> pl.DataFrame:
        count(batch)
        return batch

    return frame.map_batches(passed, streamable=True, projection_pushdown=True, validate_output_schema=False)


# -- The query: its steps in their order, and the columns that each makes ----------------------------------------------

# How each join keeps the order of rows.
JOINS = {
    "inner": "left_right", "left": "left_right", "right": "right_left", "full": "left_right",
    "semi": "left", "anti": "left",
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The arguments of `transform_data` that make the query. `filter` is None where there is none."""

    select: Sequence[str] | Mapping[str, Any] | None = None
    filter: Any = None
    group_by: Sequence[str] | None = None
    aggregate: Mapping[str, Any] | None = None
    sort: Sequence[str] | None = None
    join_on: Sequence[str] | None = None
    join_how: str = "inner"

    @property
    def groups(self) -> bool:
        return bool(self.group_by or self.aggregate)

    def whole_steps(self, *, joins: bool) -> list[str]:
        """Return the steps that need all rows at once, by the names of their arguments."""
        steps = {"join_with": joins, "group_by": self.group_by, "aggregate": self.aggregate, "sort": self.sort}
        return [name for name, is_there in steps.items() if is_there]

    def columns(self, schema: Schema) -> set[str] | None:
        """Return the columns that the query needs of a single file, None for all. Raises InvalidExpression."""
        exprs = [] if self.filter is None else [compile_filter(self.filter, schema)]
        if self.groups:
            exprs += [*self._keys(schema), *self._values(schema)]
        elif self.select is not None:
            exprs += _chosen(self.select, schema)
        else:
            return None
        return {name for expr in exprs for name in expr.meta.root_names()}

    def query(self, frame: pl.LazyFrame, other: pl.LazyFrame | None, held: Held) -> pl.LazyFrame:
        """Return the query. Raises InvalidExpression where an argument does not fit the columns.

        `held` bounds what a group or a sort holds in memory.
        """
        if other is not None:
            frame = self._joined(frame, other)
        elif self.join_on:
            raise InvalidExpression("join_on: needs join_with, the file to join with")
        schema = frame.collect_schema()
        if self.filter is not None:
            frame = frame.filter(compile_filter(self.filter, schema))
        if other is not None and (self.groups or self.sort):
            frame = held.joined(frame)
        if self.groups:
            frame = self._grouped(frame, schema, held)
        elif self.select is not None:
            frame = _selected(frame, self.select, schema)
            frame = held.selected(frame) if self.sort else frame
        return self._sorted(frame)

    def _joined(self, frame: pl.LazyFrame, other: pl.LazyFrame) -> pl.LazyFrame:
        if not self.join_on:
            raise InvalidExpression("join_on: name the columns to join on, which both files have")
        if self.join_how not in JOINS:
            meant = did_you_mean(self.join_how, JOINS)
            raise InvalidExpression(f"join_how must be {', '.join(JOINS)}, not {self.join_how[:50]!r}{meant}")
        left, right = frame.collect_schema(), other.collect_schema()
        for name in _names(self.join_on, "join_on"):
            check_column(name, left, "join_on")
            check_column(name, right, "join_on, in join_with")
            if left[name] != right[name]:
                one, two = (
                    column(name, left[name], "join_on"),
                    column(name, right[name], f"join_on: {name} in join_with"),
                )
                (in_left, in_right), _kind = unify([one, two], "a join")
                frame, other = frame.with_columns(in_left.alias(name)), other.with_columns(in_right.alias(name))
        fresh = {name: _fresh(name, {*left, *right}) for name in right if name in left and name not in self.join_on}
        return frame.join(
            other.rename(fresh),
            on=[*self.join_on],
            how=self.join_how,  # type: ignore[arg-type]
            coalesce=True if self.join_how in ("left", "right", "full") else None,
            maintain_order=JOINS[self.join_how],  # type: ignore[arg-type]
        )

    def _grouped(self, frame: pl.LazyFrame, schema: Schema, held: Held) -> pl.LazyFrame:
        if self.select is not None:
            raise InvalidExpression("select: is not possible with group_by or aggregate, which name the columns")
        keys, values = self._keys(schema), self._values(schema)
        if taken := {*(self.group_by or ())} & {*(self.aggregate or ())}:
            raise InvalidExpression(f"aggregate: {min(taken)} is a name in group_by too: choose another")
        if not keys:
            return frame.select(values)
        counted = held.grouped(frame, [*(self.group_by or ())], len(values))
        unique = sum(value["op"] == "n_unique" for value in (self.aggregate or {}).values())
        return held.unique(counted, unique).group_by(keys, maintain_order=True).agg(values)

    def _keys(self, schema: Schema) -> list[pl.Expr]:
        return [pl.col(check_column(name, schema, "group_by")) for name in _names(self.group_by or [], "group_by")]

    def _values(self, schema: Schema) -> list[pl.Expr]:
        if not isinstance(self.aggregate or {}, Mapping):
            raise InvalidExpression("aggregate: must be an object of new names and aggregates")
        return [
            compile_aggregate(value, schema, f"aggregate.{name}").alias(_new_name(name, "aggregate"))
            for name, value in (self.aggregate or {}).items()
        ]

    def _sorted(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        if not self.sort:
            return frame
        schema = frame.collect_schema()
        _names(self.sort, "sort")
        # A column's own name goes before the reading of its first character.
        falls = [name not in schema and name.startswith("-") for name in self.sort]
        by = [name[1:] if fall else name for name, fall in zip(self.sort, falls, strict=True)]
        for name in _names(by, "sort"):
            if schema[check_column(name, schema, "sort")].is_nested():
                raise InvalidExpression(f"sort: {name} is nested data, which has no order")
        return frame.sort(by, descending=falls, nulls_last=True, maintain_order=True)


def _selected(frame: pl.LazyFrame, select: Sequence[str] | Mapping[str, Any], schema: Schema) -> pl.LazyFrame:
    chosen = _chosen(select, schema)
    # `select` would give a single row where all values are constant.
    return frame.with_columns(chosen).select([*select])


def _chosen(select: Sequence[str] | Mapping[str, Any], schema: Schema) -> list[pl.Expr]:
    if not 0 < len(select) <= MAX_COLUMNS:
        raise InvalidExpression(f"select: name between 1 and {MAX_COLUMNS} columns")
    if isinstance(select, Mapping):
        return [_made(value, schema, _new_name(name, "select")) for name, value in select.items()]
    return [pl.col(check_column(name, schema, "select")) for name in _names(select, "select")]


def _made(value: Any, schema: Schema, name: str) -> pl.Expr:
    match value:
        case {"property": str(source)} if len(value) == 1 and source in schema:
            return pl.col(source).alias(name)  # as it is, of any type
    return compile_expression(value, schema, f"select.{name}").expr.alias(name)


def _names(names: Iterable[Any], place: str) -> list[str]:
    seen: set[str] = set()
    for name in names:
        if not isinstance(name, str) or isinstance(names, str):
            raise InvalidExpression(f"{place}: must be a list of names of columns")
        if name in seen:
            raise InvalidExpression(f"{place}: {name} is there twice")
        seen.add(name)
    return [*names]


def _new_name(name: str, place: str) -> str:
    if not name.strip():
        raise InvalidExpression(f"{place}: a new column needs a name")
    if is_pattern(name):
        raise InvalidExpression(f"{place}: {name[:50]!r} reads as a pattern of names: choose another")
    return name


def _fresh(name: str, taken: set[str]) -> str:
    """Return a name for the other file's column that both files have: `name_right`."""
    found = f"{name}_right"
    while found in taken:
        found += "_right"
    return found
