"""The file of `export_tasks`: a line of JSON for each task, then the format that is wanted."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.core.json_text import dump_json
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskRead
from app.services.task_service import task_service

PAGE = 200
FIELDS = (*TaskRead.model_fields, *TaskRead.model_computed_fields)
"""The names of the columns."""


def pages(db: Session, wanted: TaskFilter) -> Iterator[list[dict[str, Any]]]:
    """Yield the tasks that match, page by page, the newest first, each as `GET /tasks/{id}` shows it."""
    before: UUID | None = None
    while True:
        page = task_service.show_page(db, wanted, PAGE, before=before)
        shown = [json.loads(TaskRead.model_validate(task).model_dump_json()) for task in page.items]
        db.rollback()  # no transaction is idle while the page is written
        yield shown
        if page.last is None:
            return
        before = page.last


def write_lines(path: Path, tasks: Iterator[list[dict[str, Any]]]) -> Iterator[int]:
    """Write the tasks as JSON lines; what is nested as a text of JSON, which tables can hold. Yields how many."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for page in tasks:
            for task in page:
                flat = {
                    name: dump_json(value) if isinstance(value, dict | list) else value for name, value in task.items()
                }
                file.write(dump_json(flat) + "\n")
            written += len(page)
            yield written
