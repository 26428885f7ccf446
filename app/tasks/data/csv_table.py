"""A CSV file as a frame with types: its text as polars reads it, the types of its columns, the table.

polars reads UTF-8, reads the fields that a short line lacks as missing, and cannot name the line of a fault. A file is
suspicious if the last column has a missing value, or if there are not as many rows as lines: then separators and
quotes are counted, which takes a third of the time of parsing. Only a file in which these counts do not agree is
parsed by Python, which finds the line at fault or writes the same table in a form that polars reads alike.
"""

import codecs
import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, Literal

import polars as pl

from app.tasks.data.engine import Panic, Watch, as_parquet, polars_errors
from app.tasks.data.errors import UnusableData
from app.tasks.data.file_content import in_utf8, whole_lines
from app.tasks.data.names import MAX_COLUMNS, check_cells, check_names, check_number, distinct_names

SEPARATORS = ",;\t|"
COUNTED_PIECE = 1 << 20
SAMPLE_CHARACTERS = 65536
SAMPLE_RECORDS = 50
CHECKED_LINES = 10_000
# More than a line with MAX_COLUMNS fields has, however many of them hold separators in quotes.
MAX_SEPARATORS = 50 * MAX_COLUMNS


@dataclass(frozen=True)
class CsvText:
    """A CSV file in UTF-8. It has one row less than `lines` if no line is blank and no field has a line end."""

    path: Path
    separator: str
    names: list[str]
    lines: int

    def has_rows(self, rows: int) -> bool:
        """Say whether there are so many rows, all with as many fields as the header and quotes where they belong."""
        counts = _count(self.path, self.separator)
        return counts.is_regular(len(self.names)) and counts.records == rows + 1


def prepare_text(path: Path, name: str, folder: Path) -> CsvText:
    """Return the text of the file at `path`; a text written anew goes into `folder`.

    The encoding is the one of the byte order mark, else UTF-8, else Windows-1252 (the WHATWG's, in which every byte is
    a character). Empty names become `column_3`, names that are there already `name_2`. Raises UnusableData.
    """
    path, lines = in_utf8(path, name, folder)
    separator, header = _read_header(path, name)
    check_number(len(header), name)
    check_cells(len(header), lines - 1, name)
    names = distinct_names(header)
    check_names(names, name)
    return CsvText(path, separator, names, lines)


def rewrite_text(text: CsvText, name: str, folder: Path, check: Callable[[], None]) -> CsvText:
    """Return the same table, parsed by Python and written without the forms that readers understand differently.

    Blank lines are left out where there is more than one column. Raises UnusableData, which names the line, if one has
    another number of fields than the header. `check` is called now and then, and may raise.
    """
    target = folder / "regular.csv"
    width, lines = len(text.names), 0
    with _text_of(text.path) as source, target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=text.separator, lineterminator="\n")
        for line, record in _records(source, text.separator, name):
            if len(record) == 0 and (width > 1 or not lines):
                continue
            if len(record) not in (width, 0):
                raise UnusableData(
                    f"{name}: line {line} has {len(record)} fields, the header has {width}: "
                    f"quote fields that contain {_spoken(text.separator)}, and give every line the same number"
                )
            writer.writerow(record or [""])
            lines += 1
            if lines % CHECKED_LINES == 0:
                check()
    return CsvText(target, text.separator, text.names, lines)


def _read_header(path: Path, name: str) -> tuple[str, list[str]]:
    with path.open("rb") as file:
        sample = file.read(SAMPLE_CHARACTERS).decode("utf-8-sig", errors="replace")
    separator = _sniffed(sample)
    with _text_of(path) as source:
        header = next((record for _, record in _records(source, separator, name) if record), [])
    return separator, header


def _sniffed(sample: str) -> str:
    """Return the separator that gives the first lines the same number of fields, and the most of them."""
    scores = {separator: _score(sample, separator) for separator in SEPARATORS}
    best = max(SEPARATORS, key=lambda separator: scores[separator])
    return best if scores[best][1] > 1 else ","


def _score(sample: str, separator: str) -> tuple[bool, int]:
    lines = sample.splitlines(keepends=True)
    # The last line of the sample may be cut.
    reader = csv.reader(lines[:-1] or lines, delimiter=separator)
    widths = [len(record) for record, _ in zip(reader, range(SAMPLE_RECORDS), strict=False) if record]
    return (bool(widths) and widths[0] > 1 and len({*widths}) == 1, widths[0] if widths else 0)


@dataclass
class _Counts:
    """Counts of a CSV file outside of its quotes, and whether all quotes are where RFC 4180 has them."""

    separator: bytes
    records: int = 0
    separators: int = 0
    inside: bool = False
    is_quoted_well: bool = True
    begins_blank: bool = False

    def is_regular(self, width: int) -> bool:
        well = self.is_quoted_well and not self.inside and not self.begins_blank
        return well and self.separators == self.records * (width - 1)

    def add(self, lines: bytes) -> None:
        """Count whole lines, of which the last may be without an end."""
        # Quotes alternate between opening and closing: a doubled one closes and opens again, with nothing between.
        parts = lines.split(b'"')
        was_inside, self.inside = self.inside, self.inside ^ (len(parts) % 2 == 0)
        outside = [*filter(None, parts[was_inside::2])]
        begins = outside if was_inside or not parts[0] else outside[1:]
        ends = outside if self.inside or not parts[-1] else outside[:-1]
        well = {*map(itemgetter(0), begins)} <= self._after and {*map(itemgetter(-1), ends)} <= self._before
        self.is_quoted_well = self.is_quoted_well and well
        text = b"".join(outside)
        self.separators += text.count(self.separator)
        self.records += text.count(b"\n")

    @property
    def _before(self) -> set[int]:
        """The bytes that may stand before an opening quote."""
        return {*self.separator, *b"\n"}

    @property
    def _after(self) -> set[int]:
        """The bytes that may stand after a closing quote."""
        return {*self.separator, *b"\r\n"}


def _count(path: Path, separator: str) -> _Counts:
    counts, last = _Counts(separator.encode()), b"\n"
    with path.open("rb") as file:
        file.seek(len(codecs.BOM_UTF8) if file.read(len(codecs.BOM_UTF8)) == codecs.BOM_UTF8 else 0)
        for lines in whole_lines(file, COUNTED_PIECE):
            if not counts.records:
                counts.begins_blank = lines.lstrip(b"\r").startswith(b"\n")
            counts.add(lines)
            last = lines[-1:]
    counts.records += last != b"\n"
    return counts


@contextmanager
def _text_of(path: Path) -> Iterator[IO[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield file


def _records(source: IO[str], separator: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the number of its last line. Raises UnusableData if a quote is out of place."""
    reader: Any = csv.reader(_not_endless(source, separator, name), delimiter=separator, strict=True)
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UnusableData(
                f"{name}: line {reader.line_num} cannot be read ({error}): check its quotation marks"
            ) from None
        yield reader.line_num, record


def _not_endless(source: IO[str], separator: str, name: str) -> Iterator[str]:
    """Yield the lines. Raises UnusableData for one that would become a list of millions."""
    for number, line in enumerate(source, start=1):
        if line.count(separator) > MAX_SEPARATORS:
            raise UnusableData(
                f"{name}: line {number} has more than {MAX_SEPARATORS} fields: send at most {MAX_COLUMNS} columns"
            )
        yield line


def _spoken(separator: str) -> str:
    return "tabs" if separator == "\t" else f"{separator!r}"


# -- The types of the columns of a CSV file, of which every value is text ----------------------------------------------
# A column has a type only if every one of its values, to the last row, is written as that type writes it. An integer is
# a text that the integer gives back: `007`, `+49` and integers beyond 64 bits stay text, so no digit is lost. Dates and
# times are those of ISO 8601 alone; a time with an offset becomes UTC. The type is guessed from the first rows, and the
# conversion of the whole file fails where a later value does not fit.

ColumnKind = Literal["text", "integer", "number", "boolean", "date", "time"]

SAMPLE_ROWS = 10_000
SAMPLE_CELLS = 2_000_000
# Columns: polars takes some 40 KB for the check of each.
CHECKED_TOGETHER = 2000

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})")
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|-?(nan|NaN|NAN|inf|Inf|INF)")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIME = re.compile(r"(\d{4}-\d\d-\d\d([T ])\d\d:\d\d(:\d\d)?)(?:\.\d{1,6})?(Z|[+-]\d\d:?\d\d)?")
# Leading zeros and signs, and more digits than a number of 64 bits keeps.
NOT_A_NUMBER = r"^(?:\+|-?0[0-9]|-?[0-9]{16})"
DATE_LENGTH = len("2024-01-31")
TRUE, FALSE = ["true", "True", "TRUE"], ["false", "False", "FALSE"]
# No type reads this, so that the conversion of a value that does not fit fails.
UNFIT = "!"


@dataclass(frozen=True)
class ColumnType:
    """The type of a column. Of times, `pattern` is how they are written up to the fraction, `shape` a regex."""

    kind: ColumnKind
    pattern: str = ""
    shape: str = ""

    def fits(self, text: pl.Expr) -> pl.Expr:
        """Return whether each value is missing or written as this type writes it."""
        return text.is_null() | (self._has_shape(text) & self._read(text, strict=False).is_not_null())

    def convert(self, text: pl.Expr) -> pl.Expr:
        """Return the values in this type. The evaluation fails if one does not fit."""
        if self.kind == "text":
            return text
        shaped = pl.when(text.is_null() | self._has_shape(text)).then(text).otherwise(pl.lit(UNFIT))
        return self._read(shaped, strict=True)

    def _has_shape(self, text: pl.Expr) -> pl.Expr:
        """Return a check beyond the reading itself: polars reads `007` as an integer, and 2024-1-1 as a date."""
        match self.kind:
            case "integer":
                zeros = text.str.starts_with("0") & (text.str.len_bytes() > 1)
                return ~(zeros | text.str.starts_with("-0") | text.str.starts_with("+"))
            case "number":
                return ~text.str.contains(NOT_A_NUMBER)
            case "date":
                return text.str.len_bytes() == DATE_LENGTH
            case "time":
                return text.str.contains(self.shape)
            case _:
                return pl.lit(True)

    def _read(self, text: pl.Expr, *, strict: bool) -> pl.Expr:
        match self.kind:
            case "integer":
                return text.cast(pl.Int64, strict=strict)
            case "number":
                return text.cast(pl.Float64, strict=strict)
            case "boolean":
                digit = pl.when(text.is_in(TRUE)).then(pl.lit("1")).when(text.is_in(FALSE)).then(pl.lit("0"))
                return digit.otherwise(_unfit(text)).cast(pl.Int8, strict=strict).cast(pl.Boolean)
            case "date":
                return text.str.to_date("%Y-%m-%d", strict=strict)
            case "time":
                return self._read_time(text, strict=strict)
            case _:
                return text

    def _read_time(self, text: pl.Expr, *, strict: bool) -> pl.Expr:
        if self.pattern.endswith("z"):
            return text.str.to_datetime(self.pattern, strict=strict, time_unit="us")
        # polars takes four times as long with the fraction in the pattern.
        length = len("2024-01-31T12:00:00") if self.pattern.endswith("S") else len("2024-01-31T12:00")
        moment = text.str.head(length).str.to_datetime(self.pattern, strict=strict, time_unit="us")
        digits = text.str.slice(length + 1, 6).str.pad_end(6, "0").cast(pl.Int64, strict=strict)
        return moment + pl.duration(microseconds=digits)


TEXT_TYPE = ColumnType("text")


def alternatives(value: str) -> list[ColumnType]:
    """Return the types that a column with this value can have, the narrowest first; the last one is text."""
    if INTEGER.fullmatch(value):
        return [ColumnType("integer"), ColumnType("number"), TEXT_TYPE]
    if NUMBER.fullmatch(value):
        return [ColumnType("number"), TEXT_TYPE]
    if value in TRUE + FALSE:
        return [ColumnType("boolean"), TEXT_TYPE]
    if DATE.fullmatch(value):
        return [ColumnType("date"), TEXT_TYPE]
    if found := TIME.fullmatch(value):
        return [_time(*found.groups()[1:]), TEXT_TYPE]
    return [TEXT_TYPE]


def guess_types(frame: pl.LazyFrame, names: list[str]) -> dict[str, ColumnType]:
    """Return the type of each column in the first rows; of a column that has no value there, in its first value."""
    rows = max(100, min(SAMPLE_ROWS, SAMPLE_CELLS // max(1, len(names))))
    sample = frame.head(rows).collect(engine="streaming").lazy()
    firsts = _firsts(sample, names)
    if late := [name for name in names if firsts[name] is None]:
        firsts |= _firsts(frame, late)
    return _narrowest(
        sample, {name: [TEXT_TYPE] if first is None else alternatives(first) for name, first in firsts.items()}
    )


def settle_types(frame: pl.LazyFrame, guessed: dict[str, ColumnType]) -> dict[str, ColumnType]:
    """Return the type that all values of each column have, of those that its guessed type can turn out to be."""
    wider = {"integer": [ColumnType("number")]}
    return _narrowest(frame, {name: [each, *wider.get(each.kind, []), TEXT_TYPE] for name, each in guessed.items()})


def _firsts(frame: pl.LazyFrame, names: list[str]) -> dict[str, str | None]:
    return frame.select(pl.col(names).drop_nulls().first()).collect(engine="streaming").row(0, named=True)


def _narrowest(frame: pl.LazyFrame, choices: dict[str, list[ColumnType]]) -> dict[str, ColumnType]:
    """Return of each column the first of its types that all values of the frame have. The last one is text."""
    found: dict[str, ColumnType] = {}
    while choices:
        found |= {name: types[0] for name, types in choices.items()}
        checked = [name for name in choices if found[name] != TEXT_TYPE]
        fits: dict[str, bool] = {}
        for start in range(0, len(checked), CHECKED_TOGETHER):
            part = checked[start : start + CHECKED_TOGETHER]
            checks = [found[name].fits(pl.col(name)).all().alias(name) for name in part]
            fits |= frame.select(checks).collect(engine="streaming").row(0, named=True)
        choices = {name: choices[name][1:] for name in checked if not fits[name]}
    return found


def _unfit(text: pl.Expr) -> pl.Expr:
    return pl.when(text.is_not_null()).then(pl.lit(UNFIT))


def _time(between: str, seconds: str | None, offset: str | None) -> ColumnType:
    pattern = f"%Y-%m-%d{between}%H:%M{'' if seconds is None else ':%S'}"
    clock = r"\d\d:\d\d" if seconds is None else r"\d\d:\d\d:\d\d(?:\.\d{1,6})?"
    shape = rf"^\d{{4}}-\d\d-\d\d{between}{clock}"
    if offset is None:
        return ColumnType("time", pattern, f"{shape}$")
    fraction = "" if seconds is None else "%.f"
    return ColumnType("time", f"{pattern}{fraction}%#z", rf"{shape}(?:Z|[+-]\d\d:?\d\d)$")


# -- The table: read with the types that were guessed, and converted as a whole where they do not fit ------------------


class CsvTable:
    """The table of a CSV file. Raises UnusableData where the file is at fault."""

    def __init__(self, path: Path, name: str, folder: Path, watch: Watch) -> None:
        self._name, self._folder, self._watch = name, folder, watch
        self._text = prepare_text(path, name, folder)
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
            self._text = rewrite_text(self._text, self._name, self._folder, self._watch.check)
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
        return as_parquet(typed, len(self._text.names), self._folder, self._watch)

    def _guessed(self) -> pl.LazyFrame:
        return self._typed(self._types())

    def _settled(self) -> pl.LazyFrame:
        return self._typed(settle_types(self._scan(), self._types()))

    def _types(self) -> dict[str, ColumnType]:
        if self._guess is None:
            self._guess = guess_types(self._scan(), self._text.names)
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
