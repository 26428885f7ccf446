"""A Parquet file as a frame."""

from pathlib import Path

import polars as pl

from app.tasks.data.engine import polars_errors
from app.tasks.data.names import check_names
from app.tasks.data.parquet_footer import read_footer

TEXT_BYTES = 16  # polars' view of a text: its length, and where it is
NUMBER_BYTES = 8
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
        widths = (TEXT_BYTES if dtype in (pl.String, pl.Binary) else NUMBER_BYTES for dtype in schema.dtypes())
        # A page can stand for any number of equal values.
        self.bytes = max(path.stat().st_size, footer.bytes, footer.rows * sum(widths))
        self.rows = footer.rows
        as_text = [column for column, dtype in schema.items() if dtype in AS_TEXT]
        self.frame = frame.with_columns(pl.col(as_text).cast(pl.String)) if as_text else frame
