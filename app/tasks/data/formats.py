"""The format of a file of data: found by its content, and by its name where the content leaves it open."""

import codecs
import json
from pathlib import Path
from typing import Literal, get_args

from app.core.nearest import did_you_mean
from app.tasks.data.errors import UnusableData
from app.tasks.data.unpacking import start_of

Format = Literal["csv", "parquet", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)

SAMPLE_BYTES = 65536
PARQUET = b"PAR1"
ENCRYPTED_PARQUET = b"PARE"
# Byte order marks, the longest first: the one of UTF-16 begins the one of UTF-32.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# All control characters but tab, line feed, vertical tab, form feed, carriage return, end of file and escape.
NOT_TEXT = frozenset({*range(9), *range(14, 26), 28, 29, 30, 31})
FOREIGN = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of an old format",
    b"%PDF": "a PDF document",
    b"ARROW1": "an Arrow file",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"SQLite format 3": "a database of SQLite",
    b"\x89HDF": "an HDF5 file",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
}


def detect(path: Path, name: str, format: str = "auto") -> Format:  # noqa: A002
    """Return the format of the file at `path` that its owner calls `name`. A compressed file is looked into.

    `format` is one of FORMATS or `auto`. A format that contradicts the content is refused instead of believed.
    Raises UnusableData if the file is empty or binary, or has another format than the one named.
    """
    if format != "auto" and format not in FORMATS:
        raise UnusableData(
            f"format must be auto, {', '.join(FORMATS)}, not {format[:50]!r}{did_you_mean(format, FORMATS)}"
        )
    found = _by_content(start_of(path, name, SAMPLE_BYTES), name)
    if format not in ("auto", found):
        raise UnusableData(f"{name}: the content is {found}, not {format}: give format {found} or auto")
    return found


def encoding_of(start: bytes) -> str | None:
    """Return Python's name of the encoding whose byte order mark the text begins with, None if there is no mark."""
    return next((encoding for mark, encoding in MARKS.items() if start.startswith(mark)), None)


def _by_content(start: bytes, name: str) -> Format:
    if not start:
        raise UnusableData(f"{name} is empty: send a file with at least a line of column names")
    if start.startswith(PARQUET):
        return "parquet"
    if start.startswith(ENCRYPTED_PARQUET):
        raise UnusableData(f"{name} is an encrypted Parquet file: send it without encryption")
    for magic, what in FOREIGN.items():
        if start.startswith(magic):
            raise UnusableData(f"{name} is {what}: export the table as CSV, Parquet or JSON Lines")
    encoding = encoding_of(start)
    if encoding in (None, "utf-8-sig") and not NOT_TEXT.isdisjoint(start):
        raise UnusableData(f"{name} is neither text nor Parquet: send CSV in UTF-8, Parquet or JSON Lines")
    return _of_text(start.decode(encoding or "utf-8", errors="replace"), name)


def _of_text(text: str, name: str) -> Format:
    body = text.lstrip()
    if not body:
        raise UnusableData(f"{name} holds only white space: send a file with at least a line of column names")
    ending = name.lower().removesuffix(".gz").removesuffix(".zst").rpartition(".")[2]
    if body.startswith("{"):
        return _of_object(body, name)
    if ending in ("json", "jsonl", "ndjson") and body.startswith("["):
        raise UnusableData(f"{name} is one JSON array: write each object on a line of its own (JSON Lines)")
    return "csv"


def _of_object(body: str, name: str) -> Format:
    line, ended, _ = body.partition("\n")
    try:
        json.loads(line)
    except RecursionError:
        return "jsonl"  # whose reading names the line
    except ValueError:
        # A first line longer than the sample is cut; its faults are told once the file is read.
        if not ended and len(body) >= SAMPLE_BYTES // 4:
            return "jsonl"
        raise UnusableData(
            f"{name}: its first line begins like a JSON object and is none: write each whole object on one line"
        ) from None
    return "jsonl"
