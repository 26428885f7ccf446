"""Open a local file of data as a frame of polars, whatever its format, encoding and compression are."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from app.tasks.data.csv_table import CsvTable
from app.tasks.data.engine import polars_errors
from app.tasks.data.errors import UnusableData
from app.tasks.data.formats import Format, detect
from app.tasks.data.jsonl_table import JsonlTable
from app.tasks.data.parquet_table import ParquetTable
from app.tasks.data.unpacking import unpack

__all__ = ["Data", "Format", "UnusableData", "detect", "opened"]


class Data:
    """An open table. Its types are those of all rows, so that no query fails because of a row further down.

    `name` is what its owner calls the file, `bytes` the size of its content decompressed. Numbers of a CSV file that
    are not written as numbers are (`007`, more than 64 bits) are text.
    """

    def __init__(
        self,
        name: str,
        format: Format,  # noqa: A002
        size: int,
        load: Callable[[], pl.LazyFrame],
        *,
        rows: int | None = None,
        checked: Callable[[], pl.LazyFrame] | None = None,
    ) -> None:
        self.name = name
        self.format = format
        self.bytes = size
        self._load = load
        self._rows = rows
        self._checked = checked

    @cached_property
    def frame(self) -> pl.LazyFrame:
        """A scan that streams. The first access converts text into a temporary file, which takes about one parse.

        Raises UnusableData where the content is at fault.
        """
        return self._load()

    @cached_property
    def rows(self) -> int:
        """The number of rows; the first access may read the file."""
        if self._rows is not None:
            return self._rows
        with polars_errors(f"{self.name} cannot be read: its content is damaged"):
            return int(self.frame.select(pl.len()).collect(engine="streaming").item())

    def checked(self) -> pl.LazyFrame:
        """Return a scan for one query, which may spare the conversion.

        If a value further down does not have the type of the first ones, the query fails: then run it on `frame`.
        """
        return self.frame if self._checked is None or "frame" in self.__dict__ else self._checked()


@contextmanager
def opened(path: Path, name: str, *, format: str = "auto", max_bytes: int) -> Iterator[Data]:  # noqa: A002
    """Open the file at `path`, which its owner calls `name`, until the end of the `with` block.

    gzip is decompressed, and zstd on Python 3.14; Parquet counts by the decompressed size that its footer says.
    `max_bytes` bounds the decompressed content of any file. Raises UnusableData.
    """
    with TemporaryDirectory(prefix="table-") as created:
        folder = Path(created)
        plain = unpack(path, name, folder, max_bytes)
        found = detect(plain, name, format)
        data = _open(plain, name, found, folder)
        if data.bytes > max_bytes:
            raise UnusableData(f"{name} holds {data.bytes} bytes of data, more than {max_bytes}: split it")
        yield data


def _open(path: Path, name: str, format: Format, folder: Path) -> Data:  # noqa: A002
    if format == "parquet":
        parquet = ParquetTable(path, name)
        return Data(name, format, parquet.bytes, lambda: parquet.frame, rows=parquet.rows)
    size = path.stat().st_size
    if format == "jsonl":
        return Data(name, format, size, JsonlTable(path, name, folder).converted)
    csv = CsvTable(path, name, folder)
    return Data(name, format, size, csv.converted, rows=csv.rows, checked=csv.checked)
