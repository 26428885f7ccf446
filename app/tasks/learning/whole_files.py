"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def whole_files(directory: Path) -> Iterator[Path]:
    """Give a folder to write files to, which are moved to `directory` at the end. Where the body raises, none is."""
    with TemporaryDirectory(dir=directory, prefix=".unfinished-") as folder:
        yield Path(folder)
        for path in sorted(Path(folder).iterdir()):
            if path.is_file():
                path.replace(directory / path.name)
