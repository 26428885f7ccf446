"""A CSV file as a frame with types."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl

from app.tasks.data.csv_text import CsvText, prepare, rewrite
from app.tasks.data.csv_types import ColumnType, guess, settle
from app.tasks.data.engine import Panic, polars_errors


class CsvTable:
    """The table of a CSV file. Raises UnusableData where the file is at fault."""

    def __init__(self, path: Path, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._text = prepare(path, name, folder)

    @property
    def rows(self) -> int:
        return self._text.rows

    def checked(self) -> pl.LazyFrame:
        """Return a frame over the CSV file itself, which fails if a value does not fit the type guessed.

        It spares the conversion of the whole file to one who reads it once, and can begin anew with `converted`.
        """
        with self._errors():
            return self._guessed()

    def converted(self) -> pl.LazyFrame:
        """Return a frame over a Parquet file with all rows, whose types all values have."""
        frame = self._try(self._guessed)
        if frame is None:
            frame = self._try(self._settled)
        if frame is None:
            self._text = rewrite(self._text, self._name, self._folder)
            with self._errors():
                frame = self._write(self._settled())
        return frame

    def _try(self, typed: Callable[[], pl.LazyFrame]) -> pl.LazyFrame | None:
        """Return the frame with all rows, None if a value does not fit or polars reads the lines differently."""
        try:
            frame = self._write(typed())
        except (pl.exceptions.PolarsError, Panic):
            return None
        # polars takes a quote in the middle of a field for the start of one, without an error in some files.
        return frame if frame.select(pl.len()).collect().item() == self._text.rows else None

    def _write(self, typed: pl.LazyFrame) -> pl.LazyFrame:
        target = self._folder / "table.parquet"
        typed.sink_parquet(target, compression="uncompressed", statistics=False)
        return pl.scan_parquet(target, glob=False)

    def _guessed(self) -> pl.LazyFrame:
        return _typed(self._scan(), self._types())

    def _settled(self) -> pl.LazyFrame:
        return _typed(self._scan(), settle(self._scan(), self._types()))

    def _types(self) -> dict[str, ColumnType]:
        return guess(self._scan(), self._text.names)

    def _errors(self) -> AbstractContextManager[None]:
        return polars_errors(f"{self._name} cannot be read as CSV: check its quotation marks and line ends")

    def _scan(self) -> pl.LazyFrame:
        text: CsvText = self._text
        return pl.scan_csv(
            text.path,
            separator=text.separator,
            infer_schema=False,
            null_values=[""],
            with_column_names=lambda _: text.names,
            glob=False,
        )


def _typed(frame: pl.LazyFrame, types: dict[str, ColumnType]) -> pl.LazyFrame:
    return frame.select(each.convert(pl.col(name)).alias(name) for name, each in types.items())
