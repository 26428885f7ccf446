"""A table that is written batch by batch, with bounded memory, as CSV, Parquet or JSON Lines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from app.tasks.data.engine import check_batch, new_file, too_large
from app.tasks.data.formats import Format
from app.tasks.data.outputs import sink, writable

Write = Callable[[pl.DataFrame], None]


@contextmanager
def writer(path: Path, output: Format, schema: Mapping[str, Any], max_bytes: int | None = None) -> Iterator[Write]:
    """Give a function that writes one batch more to the file at `path`. A table without rows has its columns too.

    Raises UnusableData if a column has a type that the format cannot hold, before anything is written; and where all of
    it takes more than `max_bytes` bytes.
    """
    empty = _as_written(pl.DataFrame(schema=schema), output)
    if output == "parquet":
        with _parquet(path, empty, max_bytes) as write:
            yield write
        return
    with new_file(path, max_bytes) as file:
        if output == "jsonl":
            yield lambda batch: _as_written(batch, output).write_ndjson(file)
            return
        empty.write_csv(file)
        yield lambda batch: _as_written(batch, output).write_csv(file, include_header=False)


def _as_written(batch: pl.DataFrame, output: Format) -> pl.DataFrame:
    check_batch(batch)
    return writable(batch.lazy(), output).collect()


@contextmanager
def _parquet(path: Path, empty: pl.DataFrame, max_bytes: int | None) -> Iterator[Write]:
    """Write each batch to a file of its own, then one file of all: polars appends to no Parquet file."""
    parts = path.with_name(f"{path.name}.parts")
    parts.mkdir()
    empty.write_parquet(parts / f"{0:08}.parquet")
    count = size = 0

    def write(batch: pl.DataFrame) -> None:
        nonlocal count, size
        check_batch(batch)
        count += 1
        part = parts / f"{count:08}.parquet"
        batch.write_parquet(part, compression="lz4")
        size += part.stat().st_size
        if max_bytes is not None and size > 2 * max_bytes:  # they are less compressed than the file of all
            raise too_large(max_bytes)

    yield write
    sink(pl.scan_parquet(sorted(parts.iterdir()), glob=False), path, "parquet", max_bytes)
