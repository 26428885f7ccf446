"""A table that is written batch by batch, with bounded memory, as CSV, Parquet or JSON Lines."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import polars as pl

Output = Literal["parquet", "csv", "jsonl"]
Write = Callable[[pl.DataFrame], None]

# How a spreadsheet is told a formula (OWASP, CSV Injection).
FORMULA = r"^[=+\-@\t\r]"


def can_hold(output: str, dtype: pl.DataType) -> bool:
    """Whether a column of this type can be written: CSV has no lists, and neither text format has bytes."""
    if output == "parquet":
        return True
    return not isinstance(dtype, pl.Binary | pl.Object) and not (output == "csv" and dtype.is_nested())


@contextmanager
def writer(path: Path, output: str, schema: Mapping[str, Any]) -> Iterator[Write]:
    """Give a function that writes one batch more to the file at `path`. A table without rows has its columns too."""
    if output == "parquet":
        with _parquet(path, schema) as write:
            yield write
        return
    with path.open("wb") as file:
        if output == "jsonl":
            yield lambda batch: batch.write_ndjson(file)
            return
        pl.DataFrame(schema=schema).write_csv(file)
        yield lambda batch: batch.with_columns(_escaped(batch)).write_csv(file, include_header=False)


@contextmanager
def _parquet(path: Path, schema: Mapping[str, Any]) -> Iterator[Write]:
    """Write each batch to a file of its own, then one file of all: polars appends to no Parquet file."""
    parts = path.parent / "parts"
    parts.mkdir()
    pl.DataFrame(schema=schema).write_parquet(parts / f"{0:08}.parquet")
    count = 0

    def write(batch: pl.DataFrame) -> None:
        nonlocal count
        count += 1
        batch.write_parquet(parts / f"{count:08}.parquet", compression="lz4")

    yield write
    pl.scan_parquet(sorted(parts.iterdir()), glob=False).sink_parquet(path)


def _escaped(batch: pl.DataFrame) -> list[pl.Expr]:
    texts = [name for name, dtype in batch.schema.items() if isinstance(dtype, pl.String | pl.Categorical | pl.Enum)]
    return [
        pl.when(text.str.contains(FORMULA)).then("'" + text).otherwise(text).alias(name)
        for name in texts
        for text in (pl.col(name).cast(pl.String),)
    ]
