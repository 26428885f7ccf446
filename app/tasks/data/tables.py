"""Open a local file of data as a frame of polars, whatever its format, encoding and compression are."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import polars as pl

from app.tasks.data.csv_table import CsvTable
from app.tasks.data.engine import Watch, polars_errors
from app.tasks.data.errors import UnusableData
from app.tasks.data.file_content import Format, detect, unpack
from app.tasks.data.jsonl_table import JsonlTable
from app.tasks.data.parquet_table import ParquetTable

__all__ = ["Data", "Format", "UnusableData", "detect", "opened"]


class Table(Protocol):
    """A text that can be read in one go, without a conversion. Where it cannot, `checked` is None."""

    @property
    def about_rows(self) -> int: ...

    def schema(self) -> Mapping[str, pl.DataType]: ...

    def checked(self, columns: Collection[str] | None = None) -> pl.LazyFrame | None: ...

    def is_confirmed(self) -> bool: ...


class Data:
    """An open table. Its types are those of all rows, so that no query fails because of a row further down.

    `name` is the name that its owner gave the file, `bytes` the size of its content decompressed. Numbers of a CSV file
    that are not written as numbers are (`007`, more than 64 bits) are text. `watch` ends a conversion of the file.
    """

    def __init__(
        self,
        name: str,
        format: Format,  # noqa: A002
        size: int,
        load: Callable[[], pl.LazyFrame],
        watch: Watch,
        *,
        about_rows: int | None = None,
        table: Table | None = None,
    ) -> None:
        self.name = name
        self.format = format
        self.bytes = size
        self.watch = watch
        self.about_rows = about_rows
        self._load = load
        self._table = table
        self._frame: pl.LazyFrame | None = None
        self._rows: int | None = None

    # Not `cached_property`, here and in the tables: up to Python 3.11 all objects of a class share one lock, which a
    # query that goes on would hold.

    @property
    def frame(self) -> pl.LazyFrame:
        """A scan that streams. The first access converts text into a temporary file, which takes about one parse.

        Raises UnusableData where the content is at fault.
        """
        if self._frame is None:
            self._frame = self._load()
        return self._frame

    @property
    def rows(self) -> int:
        """The number of rows; the first access converts a text."""
        if self._rows is None:
            with polars_errors(f"{self.name} cannot be read: its content is damaged"):
                self._rows = int(self.frame.select(pl.len()).collect(engine="streaming").item())
        return self._rows

    @property
    def is_converted(self) -> bool:
        """Say whether `watched` is over the converted file, or there is nothing to convert."""
        return self._table is None or self._frame is not None

    def convert(self) -> None:
        """Convert a text now, and count its rows."""
        self.about_rows = self.rows

    def schema(self) -> Mapping[str, pl.DataType]:
        """Return the columns with their types: unless `is_converted`, those of the first values."""
        if self._table is None or self.is_converted:
            return self.frame.collect_schema()
        return self._table.schema()

    def watched(self, columns: Collection[str] | None = None) -> pl.LazyFrame:
        """Return a frame for one query, over which `watch` counts rows, and which may spare the conversion.

        It may have no other columns than these: a text is read faster for it.

        Unless `is_converted`, its types are those of the first values. If a value further down does not have them, the
        query fails; and its result is right only if `is_confirmed` after it. Else the query is to be run again on
        `frame`.
        """
        if self._table is not None and not self.is_converted:
            self.watch.restart()
            checked = self._table.checked(columns)
            if checked is not None:
                self.about_rows = self._table.about_rows
                return checked
        if self.about_rows is None:
            self.convert()
        frame = self.frame
        self.watch.restart()
        return self.watch.over(frame)

    def is_confirmed(self) -> bool:
        """Say whether the rows that the last query over `watched` read are those of the file."""
        return self._table is None or self.is_converted or self._table.is_confirmed()


@contextmanager
def opened(path: Path, name: str, *, format: str = "auto", max_bytes: int) -> Iterator[Data]:  # noqa: A002
    """Open the file at `path`, which its owner calls `name`, until the end of the `with` block.

    Temporary files are beside it: of a process that is killed, they are deleted with the file of the attempt.
    gzip is decompressed, and zstd on Python 3.14; Parquet counts by the decompressed size that its footer says.
    `max_bytes` bounds the decompressed content of any file. Raises UnusableData.
    """
    with TemporaryDirectory(prefix="table-", dir=path.parent) as created:
        folder = Path(created)
        plain = unpack(path, name, folder, max_bytes)
        found = detect(plain, name, format)
        data = _open(plain, name, found, folder)
        if data.bytes > max_bytes:
            raise UnusableData(f"{name} holds {data.bytes} bytes of data, more than {max_bytes}: split it")
        yield data


def _open(path: Path, name: str, format: Format, folder: Path) -> Data:  # noqa: A002
    watch = Watch()
    if format == "parquet":
        parquet = ParquetTable(path, name)
        return Data(name, format, parquet.bytes, lambda: parquet.frame, watch, about_rows=parquet.rows)
    size = path.stat().st_size
    if format == "jsonl":
        jsonl = JsonlTable(path, name, folder, watch)
        return Data(name, format, size, jsonl.converted, watch, table=jsonl)
    csv = CsvTable(path, name, folder, watch)
    return Data(name, format, size, csv.converted, watch, about_rows=csv.about_rows, table=csv)
