"""The tasks on tables: profile and transform them, and export tasks as one.

polars is imported in the bodies: no other task loads it.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from app.celery_app import celery_app
from app.core.config import get_settings
from app.core.json_text import dump_json
from app.errors import InvalidInput
from app.models.task_filter import TaskFilter
from app.schemas.task import TaskRead
from app.schemas.task_filter import filter_from
from app.services.task_service import task_service
from app.tasks.files import InputFile, folder_of

Format = Literal["auto", "csv", "parquet", "jsonl"]
Output = Literal["csv", "parquet", "jsonl"]
Names = Annotated[list[str], Field(min_length=1, max_length=10_000)]
MEDIA_TYPES = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet", "jsonl": "application/jsonl"}


@celery_app.task(
    bind=True, name="app.tasks.common_tasks.profile_data", dont_autoretry_for=(ValueError,), offload_result=True
)
def profile_data(
    self: Any,
    file: InputFile,
    format: Format = "auto",  # noqa: A002 (the client's word)
    columns: Names | None = None,
    bins: Annotated[int, Field(ge=1, le=200)] = 20,
) -> dict[str, Any]:
    """Describe a table, column by column: types, missing values, extremes, quantiles, frequent values.

    `file` is CSV, Parquet or JSON lines, also compressed by gzip; `format` is found out by its content. `columns` are
    the names of those to describe. Counts, means and extremes are exact. Above 1,000,000 rows `distinct`, `quantiles`
    and `top` are within 1 %, and the column says `approximate`.

    The artifacts are `report.html`, a page for people with `bins` intervals for each histogram, `profile.json`, the
    result, and `histograms.svg`.
    """
    from app.tasks.data.profile_report import histograms_svg, report_html
    from app.tasks.data.profiles import profile_with_histograms
    from app.tasks.data.tables import opened

    most = get_settings().max_task_data_bytes
    with opened(file.path(), file.name, format=format, max_bytes=most) as data:
        profile = profile_with_histograms(data, columns=columns, bins=bins, report=self.update_progress)
    self.save_artifact("report.html", report_html(profile, file.name), "text/html; charset=utf-8")
    self.save_artifact("histograms.svg", histograms_svg(profile), "image/svg+xml")
    self.save_artifact("profile.json", dump_json(profile.result), "application/json")
    return profile.result


@celery_app.task(bind=True, name="app.tasks.common_tasks.transform_data", dont_autoretry_for=(ValueError,))
def transform_data(
    self: Any,
    file: InputFile,
    select: Names | Annotated[dict[str, Any], Field(min_length=1)] | None = None,
    filter: dict[str, Any] | bool | None = None,  # noqa: A002 (as CQL2 has it)
    group_by: Names | None = None,
    aggregate: Annotated[dict[str, Any], Field(min_length=1)] | None = None,
    sort: Names | None = None,
    join_with: InputFile | None = None,
    join_on: Names | None = None,
    join_how: Literal["inner", "left", "right", "full", "semi", "anti"] = "inner",
    output: Output = "csv",
    format: Format = "auto",  # noqa: A002 (the client's word)
) -> dict[str, Any]:
    """Join, filter, group or select, and sort a table, in this order, and save what comes of it.

    Expressions are CQL2 JSON, such as `{"op": ">", "args": [{"property": "amount"}, 10]}`. `select` is a list of names,
    or `{new name: expression}`; `aggregate` is `{new name: {"op": "sum", "args": [expression]}}`; `sort` is a list of
    names, `-name` for descending. A filter and a selection stream; sorting, joining and grouping need memory, and
    tables of more than MAX_TASK_DATA_BYTES are refused before they begin.

    The result names the artifact, which is called as the file with another ending. In CSV a text that a spreadsheet
    would take for a formula begins with an apostrophe.
    """
    from app.tasks.data.tables import opened
    from app.tasks.data.transformation import transform

    settings = get_settings()
    most = settings.max_task_data_bytes
    with ExitStack() as files, folder_of(self) as folder:
        data = files.enter_context(opened(file.path(), file.name, format=format, max_bytes=most))
        other = None
        if join_with is not None:
            other = files.enter_context(opened(join_with.path(), join_with.name, format="auto", max_bytes=most))
        done = transform(
            data,
            folder / "output",
            select=select,
            filter=filter,
            group_by=group_by,
            aggregate=aggregate,
            sort=sort,
            join=other,
            join_on=join_on,
            join_how=join_how,
            output=output,
            max_bytes=most,
            max_output_bytes=settings.max_file_bytes,
            report=self.update_progress,
        )
        return {**done, "artifact": self.save_artifact(*artifact_arguments(file.name, output, folder / "output"))}


@celery_app.task(
    bind=True,
    name="app.tasks.common_tasks.export_tasks",
    dont_autoretry_for=(ValueError, InvalidInput),
    reads_tasks=True,
)
def export_tasks(
    self: Any,
    filter: Annotated[dict[str, Any], Field(max_length=30)],  # noqa: A002 (as the bulk operations call it)
    output: Output = "csv",
    task_id: str | None = None,
) -> dict[str, Any]:
    """Save your tasks that match a filter as a table: the fields of `GET /tasks/{id}`, secrets hidden.

    `filter` has the names of the parameters of `GET /tasks/`, such as `{"status": "failed", "task_type": "import"}`,
    and `{}` means all. Tasks that change meanwhile are written as they are when their page is read. What is nested,
    such as `kwargs`, is a text of JSON. The result names the artifact `tasks.csv`, `.parquet` or `.jsonl`.
    """
    if task_id is None:
        raise ValueError("export_tasks needs a record: create it by the service, not by Celery")
    owner = task_service.get_task(self.db, UUID(task_id)).user_id
    wanted = filter_from({**filter, "user_id": owner})
    settings = get_settings()
    with folder_of(self) as folder:
        lines, destination = folder / "tasks.jsonl", folder / "output"
        total, rows = max(1, task_service.get_task_count(self.db, **{**filter, "user_id": owner})), 0
        for rows in write_exported_lines(lines, exported_pages(self.db, wanted)):
            self.update_progress(min(90, rows * 90 // total), {"rows": rows, "of": total})
            if lines.stat().st_size > settings.max_file_bytes:
                raise ValueError(
                    f"the tasks take more than MAX_FILE_BYTES, {settings.max_file_bytes} bytes: filter more"
                )
        if output == "jsonl":
            destination = lines
        else:
            _convert(lines, destination, output)
        return {"rows": rows, "artifact": self.save_artifact(*artifact_arguments("tasks", output, destination))}


def _convert(lines: Path, destination: Path, output: Output) -> None:
    import polars as pl

    from app.tasks.data.outputs import sink, writable

    if lines.stat().st_size:
        # All as text but for what is a number in all of them: no page decides a type for the others.
        tasks = pl.scan_ndjson(lines, infer_schema_length=None)
    else:
        tasks = pl.LazyFrame(schema=dict.fromkeys(EXPORTED_FIELDS, pl.String))
    sink(writable(tasks, output), destination, output)


def artifact_arguments(name: str, output: str, path: Any) -> tuple[str, Any, str]:
    """Return the arguments of `save_artifact` for an output of a file of this name."""
    stem = PurePath(name).name.removesuffix(".gz").removesuffix(".zst")
    for ending in (".csv", ".parquet", ".jsonl", ".ndjson", ".tsv", ".txt"):
        stem = stem.removesuffix(ending)
    return f"{stem[:180] or 'output'}.{output}", path, MEDIA_TYPES[output]


# -- The file of `export_tasks`: a line of JSON for each task, then the format that is wanted --------------------------

EXPORTED_PAGE = 200
EXPORTED_FIELDS = (*TaskRead.model_fields, *TaskRead.model_computed_fields)
"""The names of the columns."""


def exported_pages(db: Session, wanted: TaskFilter) -> Iterator[list[dict[str, Any]]]:
    """Yield the tasks that match, page by page, the newest first, each as `GET /tasks/{id}` shows it."""
    cursor: str | None = None
    while True:
        page = task_service.show_page(db, wanted, EXPORTED_PAGE, cursor=cursor)
        shown = [json.loads(TaskRead.model_validate(task).model_dump_json()) for task in page.items]
        db.rollback()  # no transaction is idle while the page is written
        yield shown
        if page.last is None:
            return
        cursor = page.last


def write_exported_lines(path: Path, tasks: Iterator[list[dict[str, Any]]]) -> Iterator[int]:
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
