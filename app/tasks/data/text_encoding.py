"""The encoding of a text: found by its first bytes and by trying, and made UTF-8 where it is another."""

import codecs
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from app.tasks.data.errors import UnusableData
from app.tasks.data.formats import encoding_of

PIECE = 1 << 20
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
        while piece := file.read(PIECE):
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
        piece = source.read(PIECE)
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
