"""The content of a file of data: decompressed, its format found out, its text made UTF-8.

zstd needs the standard library of Python 3.14. polars could decompress it too, but takes a line of any length into
memory: 300 MB of zeros are 30 KB compressed, and took 1.7 GB.
"""

import codecs
import gzip
import json
import shutil
import zlib
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, cast, get_args

from app.core.nearest import did_you_mean
from app.tasks.data.errors import UnusableData

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
UNPACKED_PIECE = 1 << 20
HAS_ZSTD = find_spec("compression") is not None


def unpack(path: Path, name: str, folder: Path, max_bytes: int) -> Path:
    """Return `path`, or where it is compressed a file in `folder` with its content, of at most `max_bytes` bytes.

    Raises UnusableData if the content is larger, damaged, or compressed twice.
    """
    with path.open("rb") as file:
        if not _is_compressed(file.read(4)):
            return path
    unpacked = folder / "unpacked"
    size = 0
    with _open_compressed(path, name) as source, unpacked.open("wb") as target:
        while piece := _read_compressed(source, UNPACKED_PIECE, name):
            size += len(piece)
            if size > max_bytes:
                raise UnusableData(
                    f"{name} is larger than {max_bytes} bytes once it is decompressed: split it into smaller files"
                )
            target.write(piece)
    with unpacked.open("rb") as file:
        if _is_compressed(file.read(4)):
            raise UnusableData(f"{name} is compressed twice: decompress it once before you send it")
    return unpacked


def start_of(path: Path, name: str, size: int) -> bytes:
    """Return up to `size` bytes from the start of the content, decompressed. Raises UnusableData if it is damaged."""
    with path.open("rb") as file:
        start = file.read(size)
    if not _is_compressed(start):
        return start
    with _open_compressed(path, name) as source:
        return _read_compressed(source, size, name)


def _is_compressed(start: bytes) -> bool:
    return start.startswith((GZIP, ZSTD))


def _open_compressed(path: Path, name: str) -> IO[bytes]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == GZIP
    if is_gzip:
        return cast(IO[bytes], gzip.open(path, "rb"))
    if not HAS_ZSTD:
        raise UnusableData(
            f"{name} is compressed by zstd, which this server cannot read: compress it with gzip instead"
        )
    opened: IO[bytes] = _zstd().open(path, "rb")
    return opened


def _zstd() -> Any:
    return import_module("compression.zstd")


def _read_compressed(source: IO[bytes], size: int, name: str) -> bytes:
    faults = (EOFError, gzip.BadGzipFile, zlib.error, *((_zstd().ZstdError,) if HAS_ZSTD else ()))
    try:
        return source.read(size)
    except faults:
        raise UnusableData(f"{name} is damaged: its compressed content ends early or is invalid") from None


# -- The format of a file of data: found by its content, and by its name where the content leaves it open --------------

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


# -- The encoding of a text: found by its first bytes and by trying, and made UTF-8 where it is another ----------------

TEXT_PIECE = 1 << 20
# A line is taken into memory as a whole, and several times.
MAX_LINE_BYTES = 64 << 20
# The five bytes without a character in Windows-1252 are control characters, as the WHATWG's Encoding Standard says.
WINDOWS_1252 = "".join(
    chr(code) if code in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([code]).decode("cp1252") for code in range(256)
)


def in_utf8(path: Path, name: str, folder: Path) -> tuple[Path, int]:
    """Return the path of the text in UTF-8 and with line feeds, the file itself where it has these, and its lines.

    Raises UnusableData if the text is not what its byte order mark says, or a line is longer than MAX_LINE_BYTES.
    """
    with path.open("rb") as file:
        marked = encoding_of(file.read(4))
    if marked in (None, "utf-8-sig"):
        is_utf8, lines = _look_through(path, name)
        if is_utf8 and lines is not None:
            return path, lines
        marked = "utf-8-sig" if is_utf8 else None
    target = folder / "utf8"
    lines, last, length = 0, "\n", 0
    with path.open("rb") as source, target.open("wb") as file:
        for text in _decoded(source, name, marked):
            written = text.encode()
            file.write(written)
            lines += text.count("\n")
            length = _length_of_line(length, written, name)
            last = text[-1:] or last
    return target, lines + (last != "\n")


def _look_through(path: Path, name: str) -> tuple[bool, int | None]:
    """Say whether the file is UTF-8, and count its lines: None if they end in carriage returns alone."""
    decoder: codecs.IncrementalDecoder | None = codecs.getincrementaldecoder("utf-8")()
    feeds = length = 0
    returns = False
    last = b"\n"
    with path.open("rb") as file:
        while piece := file.read(TEXT_PIECE):
            feeds += piece.count(b"\n")
            returns = returns or b"\r" in piece
            if feeds or not returns:
                length = _length_of_line(length, piece, name)
            decoder = decoder and _went_on(decoder, piece)
            last = piece[-1:]
    decoder = decoder and _went_on(decoder, b"", final=True)
    return decoder is not None, None if returns and not feeds else feeds + (last != b"\n")


def _length_of_line(length: int, piece: bytes, name: str) -> int:
    """Return how long the last line is so far, of which `length` bytes came before. Raises UnusableData."""
    length = len(piece) - piece.rfind(b"\n") - 1 if b"\n" in piece else length + len(piece)
    if length > MAX_LINE_BYTES:
        raise UnusableData(f"{name} has a line of more than {MAX_LINE_BYTES} bytes: check its line ends")
    return length


def _went_on(
    decoder: codecs.IncrementalDecoder, piece: bytes, *, final: bool = False
) -> codecs.IncrementalDecoder | None:
    try:
        decoder.decode(piece, final)
    except UnicodeDecodeError:
        return None
    return decoder


def _decoded(source: IO[bytes], name: str, encoding: str | None) -> Iterator[str]:
    """Yield the text in pieces, its line ends as line feeds."""
    decoder = codecs.getincrementaldecoder(encoding)(errors="strict") if encoding else None
    held = ""
    while True:
        piece = source.read(TEXT_PIECE)
        try:
            text = decoder.decode(piece, final=not piece) if decoder else _windows_1252(piece)
        except UnicodeDecodeError:
            raise UnusableData(f"{name} is not the {encoding} that its first bytes say: save it as UTF-8") from None
        text = held + text
        held = "\r" if piece and text.endswith("\r") else ""
        yield text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
        if not piece:
            return


def _windows_1252(piece: bytes) -> str:
    return codecs.charmap_decode(piece, "strict", WINDOWS_1252)[0]


def whole_lines(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield what is left of the file in pieces of whole lines, each of `size` bytes and the rest of its last line."""
    while lines := file.read(size) + file.readline():
        yield lines


def without_mark(path: Path, folder: Path) -> Path:
    """Return the path of the same text in UTF-8 without a byte order mark."""
    with path.open("rb") as source:
        if source.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            return path
        target = folder / "unmarked"
        with target.open("wb") as file:
            shutil.copyfileobj(source, file)
    return target
