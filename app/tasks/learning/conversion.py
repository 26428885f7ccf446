"""The conversion of a text to a table with types, which takes minutes for a large file."""

from app.tasks.data.engine import run
from app.tasks.data.tables import Data
from app.tasks.learning.cross_validation import Report


def convert(data: Data, report: Report) -> None:
    """Convert the file now, and call `report` meanwhile: what it raises ends the conversion."""
    report(0, {"stage": "loading"})
    run(data.convert, [data.watch], lambda: report(0, {"stage": "loading"}))
