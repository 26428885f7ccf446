"""Write a table as CSV, Parquet or JSON Lines: a frame in a stream, or batch by batch with bounded memory."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from app.core.nearest import did_you_mean
from app.tasks.data.engine import ROW_GROUP, batch_rows, check_batch, new_file, too_large
from app.tasks.data.errors import InvalidExpression, UnusableData
from app.tasks.data.file_content import FORMATS, Format

# OWASP, CSV Injection: a spreadsheet takes a cell that begins with one of these for a formula. A number is none.
FORMULA = r"^[=+\-@\t\r\n＝＋－＠﹢]"
NUMBER = r"^[+-]?[0-9]+([.,][0-9]+)*([eE][+-]?[0-9]+)?$"
TIMESTAMP = "%Y-%m-%dT%H:%M:%S%.f"


def check_output(output: str) -> Format:
    """Return the format that `output` names. Raises InvalidExpression if there is none."""
    for known in FORMATS:
        if output == known:
            return known
    raise InvalidExpression(f"output must be {', '.join(FORMATS)}, not {output[:50]!r}{did_you_mean(output, FORMATS)}")


def writable(frame: pl.LazyFrame, output: Format) -> pl.LazyFrame:
    """Return the frame in types of the format: times as text of ISO 8601, and no formulas in CSV.

    Raises UnusableData if a column has a type that the format has not: nested data in CSV, for example.
    """
    if output == "parquet":
        return frame
    schema = frame.collect_schema()
    for name, dtype in schema.items():
        if _holds(dtype, (pl.Binary, pl.Object)) or (output == "csv" and dtype.is_nested()):
            other = "parquet" if _holds(dtype, (pl.Binary, pl.Object)) else "jsonl"
            raise UnusableData(
                f"column {name} has data that {output} cannot hold: leave it out, or take output {other}"
            )
    columns = [_as_written(pl.col(name), dtype, output).alias(name) for name, dtype in schema.items()]
    written = frame.select(columns)
    return written.rename(_safe_names(schema.names())) if output == "csv" else written


def sink(frame: pl.LazyFrame, destination: Path, output: Format, max_bytes: int | None = None) -> None:
    """Write the frame to `destination`, in the order of its rows.

    Raises errors of polars, and UnusableData where that takes more than `max_bytes` bytes.
    """
    schema = frame.collect_schema()
    rows = batch_rows(len(schema))
    with new_file(destination, max_bytes) as file:
        if output == "parquet":
            frame.sink_parquet(file, row_group_size=rows)
        elif rows < ROW_GROUP:
            _sink_batches(frame, file, output, rows)
        elif output == "jsonl":
            frame.sink_ndjson(file)
        else:
            frame.sink_csv(file)


def _sink_batches(frame: pl.LazyFrame, file: Any, output: Format, rows: int) -> None:
    """Write a text by so many rows at a time."""
    if output == "csv":
        pl.DataFrame(schema=frame.collect_schema()).write_csv(file)
    for batch in frame.collect_batches(chunk_size=rows, maintain_order=True, engine="streaming"):
        if output == "csv":
            batch.write_csv(file, include_header=False)
        else:
            batch.write_ndjson(file)


def escape(text: pl.Expr) -> pl.Expr:
    """Return the text with an apostrophe before it where a spreadsheet would take it for a formula."""
    is_formula = text.str.contains(FORMULA) & ~text.str.contains(NUMBER)
    return pl.when(is_formula).then(pl.concat_str(pl.lit("'"), text)).otherwise(text)


def _as_written(expr: pl.Expr, dtype: pl.DataType, output: Format) -> pl.Expr:
    if isinstance(dtype, pl.Datetime):
        in_utc = expr if dtype.time_zone is None else expr.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return in_utc.dt.to_string(TIMESTAMP if dtype.time_zone is None else f"{TIMESTAMP}Z")
    if dtype == pl.Duration:
        return escape(expr.dt.to_string("iso")) if output == "csv" else expr.dt.to_string("iso")
    if dtype == pl.Time:
        return expr.dt.to_string("%H:%M:%S%.f")
    if output == "csv" and dtype in (pl.String, pl.Categorical, pl.Enum):
        return escape(expr.cast(pl.String))
    return expr


def _safe_names(names: list[str]) -> dict[str, str]:
    escaped = pl.DataFrame({"name": names}, schema={"name": pl.String}).select(escape(pl.col("name")).alias("name"))
    return dict(zip(names, escaped["name"].to_list(), strict=True))


def _holds(dtype: Any, kinds: tuple[type[pl.DataType], ...]) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_holds(field.dtype, kinds) for field in dtype.fields)
    return _holds(dtype.inner, kinds) if isinstance(dtype, pl.List | pl.Array) else dtype in kinds


# -- A table that is written batch by batch, with bounded memory, as CSV, Parquet or JSON Lines ------------------------

Write = Callable[[pl.DataFrame], None]


@contextmanager
def batch_writer(
    path: Path, output: Format, schema: Mapping[str, Any], max_bytes: int | None = None
) -> Iterator[Write]:
    """Give a function that writes one batch more to the file at `path`. A table without rows has its columns too.

    Raises UnusableData if a column has a type that the format cannot hold, before anything is written; and where all of
    it takes more than `max_bytes` bytes.
    """
    empty = _batch_as_written(pl.DataFrame(schema=schema), output)
    if output == "parquet":
        with _parquet_writer(path, empty, max_bytes) as write:
            yield write
        return
    with new_file(path, max_bytes) as file:
        if output == "jsonl":
            yield lambda batch: _batch_as_written(batch, output).write_ndjson(file)
            return
        empty.write_csv(file)
        yield lambda batch: _batch_as_written(batch, output).write_csv(file, include_header=False)


def _batch_as_written(batch: pl.DataFrame, output: Format) -> pl.DataFrame:
    check_batch(batch)
    return writable(batch.lazy(), output).collect()


@contextmanager
def _parquet_writer(path: Path, empty: pl.DataFrame, max_bytes: int | None) -> Iterator[Write]:
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
