"""How many rows of a wide query are in memory at a time.

polars moves rows in morsels of about 100,000, and some of them at a time, however many columns a step makes of them. A
piece of a text is one morsel: 256 KiB are 131,000 rows of a digit, which a selection of 1,000 columns makes 1 GiB.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import polars as pl
from polars.io.plugins import register_io_source

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
