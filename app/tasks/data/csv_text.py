"""The text of a CSV file: encoding, separator, names, and whether all lines have as many fields as the first.

polars reads UTF-8, reads the fields that a short line lacks as missing, and cannot name the line of a fault. A file is
suspicious if the last column has a missing value, or if there are not as many rows as lines: then separators and quotes
are counted, which takes a third of the time of parsing. Only a file in which these counts do not agree is parsed by
Python, which finds the line at fault or writes the same table in a form that polars reads alike.
"""

import codecs
import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from app.tasks.data.errors import UnusableData
from app.tasks.data.names import MAX_COLUMNS, check_cells, check_names, check_number, distinct_names
from app.tasks.data.text_encoding import in_utf8, whole_lines

SEPARATORS = ",;\t|"
PIECE = 1 << 20
SAMPLE = 65536
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


def prepare(path: Path, name: str, folder: Path) -> CsvText:
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


def rewrite(text: CsvText, name: str, folder: Path, check: Callable[[], None]) -> CsvText:
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
        sample = file.read(SAMPLE).decode("utf-8-sig", errors="replace")
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
        for lines in whole_lines(file, PIECE):
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
