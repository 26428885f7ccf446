"""A table that is written batch by batch, with bounded memory, as CSV, Parquet or JSON Lines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from app.tasks.data.formats import Format
from app.tasks.data.outputs import writable

Write = Callable[[pl.DataFrame], None]


@contextmanager
def writer(path: Path, output: Format, schema: Mapping[str, Any]) -> Iterator[Write]:
    """Give a function that writes one batch more to the file at `path`. A table without rows has its columns too.

    Raises UnusableData if a column has a type that the format cannot hold, before anything is written.
    """
    empty = _as_written(pl.DataFrame(schema=schema), output)
    if output == "parquet":
        with _parquet(path, empty) as write:
            yield write
        return
    with path.open("wb") as file:
        if output == "jsonl":
            yield lambda batch: _as_written(batch, output).write_ndjson(file)
            return
        empty.write_csv(file)
        yield lambda batch: _as_written(batch, output).write_csv(file, include_header=False)


def _as_written(batch: pl.DataFrame, output: Format) -> pl.DataFrame:
    return writable(batch.lazy(), output).collect()


@contextmanager
def _parquet(path: Path, empty: pl.DataFrame) -> Iterator[Write]:
    """Write each batch to a file of its own, then one file of all: polars appends to no Parquet file."""
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir()
    empty.write_parquet(parts / f"{0:08}.parquet")
    count = 0

    def write(batch: pl.DataFrame) -> None:
        nonlocal count
        count += 1
        batch.write_parquet(parts / f"{count:08}.parquet", compression="lz4")

    yield write
    pl.scan_parquet(sorted(parts.iterdir()), glob=False).sink_parquet(path)
