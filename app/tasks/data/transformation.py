"""The transformation of a table: a filter, an aggregation, a join or a new form, written as a file.

First comes how many rows of a wide query are in memory at a time. polars moves rows in morsels of about 100,000, and
some of them at a time, however many columns a step makes of them. A piece of a text is one morsel: 256 KiB are 131,000
rows of a digit, which a selection of 1,000 columns makes 1 GiB.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from app.tasks.data.engine import Report, Watch, query_errors, row_bytes, run
from app.tasks.data.errors import InvalidExpression, TooMuchMemory, UnusableData
from app.tasks.data.names import check_cells
from app.tasks.data.outputs import check_output, sink, writable
from app.tasks.data.plans import Held, Plan
from app.tasks.data.tables import Data, Format

# Of all threads together. Of more cells a query is no faster.
MORSEL_CELLS = 2_000_000
# A query of so many columns has the morsels that polars chooses.
NARROW_COLUMNS = 64


def morsel_rows(columns: int) -> int | None:
    """Return how many rows a morsel of so many columns may have, None where polars chooses."""
    if columns <= NARROW_COLUMNS:
        return None
    return max(1, MORSEL_CELLS // (pl.thread_pool_size() * columns))


def morsels(rows: int | None) -> AbstractContextManager[object]:
    """Have a join give morsels of so many rows within the `with` block. The scan of a text has its own."""
    return nullcontext() if rows is None else pl.Config(streaming_chunk_size=rows)


def sliced(frame: pl.LazyFrame, rows: int | None) -> pl.LazyFrame:
    """Return the same frame in morsels of so many rows at most."""
    if rows is None:
        return frame

    def slices(
        columns: list[str] | None, predicate: pl.Expr | None, limit: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        query = frame if predicate is None else frame.filter(predicate)
        query = query if columns is None else query.select(columns)
        query = query if limit is None else query.head(limit)
        yield from query.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming")

    return register_io_source(slices, schema=frame.collect_schema(), is_pure=True)


# -- The transformation: the files are read, the query runs, and its rows are written ----------------------------------

# The share of the rows' reading in the progress. Where all rows are needed at once, the rest is done after it.
STREAMED_PERCENT, WHOLE_PERCENT = 99, 70


def transform(
    data: Data,
    destination: Path,
    *,
    select: Sequence[str] | Mapping[str, Any] | None = None,
    filter: Any = None,  # noqa: A002
    group_by: Sequence[str] | None = None,
    aggregate: Mapping[str, Any] | None = None,
    sort: Sequence[str] | None = None,
    join: Data | None = None,
    join_on: Sequence[str] | None = None,
    join_how: str = "inner",
    output: str = "csv",
    max_bytes: int,
    max_output_bytes: int | None = None,
    report: Report,
) -> dict[str, Any]:
    """Write the transformed table to `destination` and return `{rows_read, rows_written, columns}`, the columns' names.

    The steps are in this order: join, filter, group or select, sort. A filter and a selection run in a stream, whatever
    the size; the other steps need the memory of all rows, and are refused where the files hold more than `max_bytes`
    bytes. Empty cells, NaN and divisions by zero are missing values. A cell of CSV that a spreadsheet would take for a
    formula gets an apostrophe before it.

    `report` is called with the percent done and `{"stage", "rows", "of"}` a few times a second. What it raises ends the
    query and passes through. On any error nothing stays at `destination`. Raises UnusableData, InvalidExpression.
    """
    plan = Plan(select, filter, group_by, aggregate, sort, join_on, join_how)
    sources = [data] if join is None else [data, join]
    steps = plan.whole_steps(joins=join is not None)
    _refuse_large(steps, sum(source.bytes for source in sources), max_bytes)
    transformation = _Transformation(plan, sources, destination, check_output(output), max_bytes, max_output_bytes)
    share = WHOLE_PERCENT if steps else STREAMED_PERCENT

    def poll() -> None:
        report(*_progress(sources, share))

    watches = [source.watch for source in sources]
    with _removed_on_error(destination):
        columns, read, written = run(transformation.run, [*watches, transformation.written], poll)
        poll()
        report(100, {"stage": "written", "rows": written, "of": written})
    return {"rows_read": read, "rows_written": written, "columns": columns}


class _Transformation:
    """The query: run on the files themselves, and again on converted ones if their types turn out to be others."""

    def __init__(
        self,
        plan: Plan,
        sources: Sequence[Data],
        destination: Path,
        output: Format,
        max_bytes: int,
        max_output_bytes: int | None,
    ) -> None:
        self._plan = plan
        self._sources = sources
        self._destination = destination
        self._output = output
        self._max_bytes = max_bytes
        self._max_output_bytes = max_output_bytes
        self.written = Watch()

    def run(self) -> tuple[list[str], int, int]:
        """Return the columns' names, the number of rows of the first source, and the number of rows written."""
        if not all(source.is_converted for source in self._sources):
            try:
                result = self._run()
            except TooMuchMemory:
                raise
            except (UnusableData, InvalidExpression):
                result = None  # perhaps because of the types: the conversion says
            if result and all(source.is_confirmed() for source in self._sources):
                return result
            for source in self._sources:
                source.convert()
        return self._run()

    def _run(self) -> tuple[list[str], int, int]:
        self.written.restart()
        with query_errors():
            needed = self._plan.columns(self._sources[0].schema()) if len(self._sources) == 1 else None
            frames = [source.watched(needed) for source in self._sources]
            self._refuse_many_cells(frames, needed)
            columns = self._query(frames).collect_schema().names()
            check_cells(len(columns), self._sources[0].about_rows or 0, "the output")
            joined = sum(len(frame.collect_schema()) for frame in frames) if len(frames) > 1 else 0
            rows = morsel_rows(max(len(columns), joined))
            query = self.written.over(writable(self._query([sliced(frame, rows) for frame in frames]), self._output))
            with morsels(rows):
                sink(query, self._destination, self._output, self._max_output_bytes)
        return columns, self._sources[0].watch.rows, self.written.rows

    def _query(self, frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
        other = frames[1] if len(frames) > 1 else None
        held = Held(self._max_bytes, self._sources[0].about_rows if other is None else None)
        return self._plan.query(frames[0], other, held)

    def _refuse_many_cells(self, frames: Sequence[pl.LazyFrame], needed: Collection[str] | None) -> None:
        size = 0
        for source, frame in zip(self._sources, frames, strict=True):
            schema = frame.collect_schema()
            held = {name: dtype for name, dtype in schema.items() if needed is None or name in needed}
            size += (source.about_rows or 0) * row_bytes(held)
        _refuse_large(self._plan.whole_steps(joins=len(frames) > 1), size, self._max_bytes)


def _refuse_large(steps: Sequence[str], size: int, max_bytes: int) -> None:
    if steps and size > max_bytes:
        raise UnusableData(
            f"{' and '.join(steps)}: all rows are needed in memory, and the data has {size} bytes, "
            f"more than {max_bytes}: filter or split it first"
        )


def _progress(sources: Sequence[Data], share: int) -> tuple[int, dict[str, Any]]:
    rows = sum(source.watch.rows for source in sources)
    total = sum(source.about_rows or 0 for source in sources)
    if any(source.about_rows is None for source in sources):
        return 0, {"stage": "reading", "rows": rows, "of": None}
    return share * min(rows, total) // max(1, total), {"stage": "transforming", "rows": rows, "of": total}


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
