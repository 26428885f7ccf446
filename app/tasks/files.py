"""Files as parameters of tasks: `from app.tasks.files import InputFile` (docs/files.md)."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.messaging.input_files import InputFile

__all__ = ["InputFile", "folder_of"]


@contextmanager
def folder_of(task: Any) -> Iterator[Path]:
    """Give a directory for what the body writes before it saves it, deleted after the `with` block.

    `task` is the body's `self`. Of a process that is killed, the next one deletes it.
    """
    run = task.request.get("attempt_run")
    within = None if run is None else run.files.directory()
    with tempfile.TemporaryDirectory(dir=within) as folder:
        yield Path(folder)
