"""gzip and zstd: decompressed into a temporary file, within a bound.

zstd needs the standard library of Python 3.14. polars could decompress it too, but takes a line of any length into
memory: 300 MB of zeros are 30 KB compressed, and took 1.7 GB.
"""

import gzip
import zlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, cast

from app.tasks.data.errors import UnusableData

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
PIECE = 1 << 20
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
    with _opened(path, name) as source, unpacked.open("wb") as target:
        while piece := _read(source, PIECE, name):
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
    with _opened(path, name) as source:
        return _read(source, size, name)


def _is_compressed(start: bytes) -> bool:
    return start.startswith((GZIP, ZSTD))


def _opened(path: Path, name: str) -> IO[bytes]:
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


def _read(source: IO[bytes], size: int, name: str) -> bytes:
    faults = (EOFError, gzip.BadGzipFile, zlib.error, *((_zstd().ZstdError,) if HAS_ZSTD else ()))
    try:
        return source.read(size)
    except faults:
        raise UnusableData(f"{name} is damaged: its compressed content ends early or is invalid") from None
