"""A Parquet file as a frame."""

from pathlib import Path

import polars as pl

from app.tasks.data.engine import polars_errors, row_bytes
from app.tasks.data.names import check_names
from app.tasks.data.parquet_footer import read_footer

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
