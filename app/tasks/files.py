"""Files as parameters of tasks: `from app.tasks.files import InputFile` (docs/files.md)."""

from app.messaging.input_files import InputFile

__all__ = ["InputFile"]
