"""Files into which processes write lines for the test that started them."""

import os
from pathlib import Path


def append_line(path: str | Path, line: str) -> None:
    """One write at the file's end: lines of many processes never mix."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (line + "\n").encode())
    finally:
        os.close(handle)
