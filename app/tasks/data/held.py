"""What a step holds in memory at once: counted as it comes, behind the step that makes its rows or columns."""

from collections.abc import Callable
from threading import Lock

import polars as pl

from app.tasks.data.engine import row_bytes
from app.tasks.data.errors import TooMuchMemory

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
