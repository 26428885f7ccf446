"""A CSV file as a frame with types."""

from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

import polars as pl

from app.tasks.data.csv_text import prepare, rewrite
from app.tasks.data.csv_types import ColumnType, guess, settle
from app.tasks.data.engine import Panic, Watch, batch_rows, new_file, polars_errors


class CsvTable:
    """The table of a CSV file. Raises UnusableData where the file is at fault."""

    def __init__(self, path: Path, name: str, folder: Path, watch: Watch) -> None:
        self._name, self._folder, self._watch = name, folder, watch
        self._text = prepare(path, name, folder)
        self._guess: dict[str, ColumnType] | None = None

    @property
    def about_rows(self) -> int:
        """The number of rows if no line is blank and no field has a line end."""
        return self._text.lines - 1

    def schema(self) -> Mapping[str, pl.DataType]:
        """Return the columns with the types of their first values."""
        return self.checked().collect_schema()

    def checked(self, columns: Collection[str] | None = None) -> pl.LazyFrame:
        """Return a watched frame over the CSV file itself. A query fails if a value does not fit the type guessed.

        It spares the conversion of the whole file where it is read once. The result is right only if `is_confirmed`
        after it; else, or if the query fails, it is to be run again on `converted`.
        """
        with self._errors():
            types = self._types()
        return self._typed({name: each for name, each in types.items() if columns is None or name in columns})

    def is_confirmed(self) -> bool:
        """Say whether all rows have passed the watch, each of a line with as many fields as the header."""
        if self._watch.rows == self.about_rows and not self._watch.missing:
            return True
        return self._text.has_rows(self._watch.rows)

    def converted(self) -> pl.LazyFrame:
        """Return a frame over a Parquet file with all rows, whose types all values have."""
        frame = self._try(self._guessed)
        if frame is None:
            frame = self._try(self._settled)
        if frame is None:
            self._text = rewrite(self._text, self._name, self._folder, self._watch.check)
            self._guess = None
            with self._errors():
                frame = self._write(self._settled())
        return frame

    def _try(self, typed: Callable[[], pl.LazyFrame]) -> pl.LazyFrame | None:
        """Return the frame with all rows, None if a value does not fit or polars reads the lines differently."""
        try:
            frame = self._write(typed())
        except (pl.exceptions.PolarsError, Panic):
            return None
        return frame if self.is_confirmed() else None

    def _write(self, typed: pl.LazyFrame) -> pl.LazyFrame:
        target = self._folder / "table.parquet"
        self._watch.restart()
        with new_file(target) as file:
            rows = batch_rows(len(self._text.names))
            typed.sink_parquet(file, compression="uncompressed", statistics=False, row_group_size=rows)
        return pl.scan_parquet(target, glob=False)

    def _guessed(self) -> pl.LazyFrame:
        return self._typed(self._types())

    def _settled(self) -> pl.LazyFrame:
        return self._typed(settle(self._scan(), self._types()))

    def _types(self) -> dict[str, ColumnType]:
        if self._guess is None:
            self._guess = guess(self._scan(), self._text.names)
        return self._guess

    def _typed(self, types: dict[str, ColumnType]) -> pl.LazyFrame:
        last = self._text.names[-1]
        watched = self._watch.over(self._scan().select([*dict.fromkeys([*types, last])]), last=last)
        return watched.select(each.convert(pl.col(name)).alias(name) for name, each in types.items())

    def _errors(self) -> AbstractContextManager[None]:
        return polars_errors(f"{self._name} cannot be read as CSV: check its quotation marks and line ends")

    def _scan(self) -> pl.LazyFrame:
        text = self._text
        return pl.scan_csv(
            text.path,
            separator=text.separator,
            infer_schema=False,
            null_values=[""],
            with_column_names=lambda _: text.names,
            glob=False,
        )
