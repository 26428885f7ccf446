"""Data on stdout: as JSON, as lines, as a table on a terminal and as values between tabs elsewhere."""

import sys
from collections.abc import Iterable, Sequence

from task_service_client.cli.columns import Column, Row, value_at
from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t
from task_service_client.cli.run import Run
from task_service_client.cli.texts import as_json, compact, safe


def write_list(run: Run, rows: Iterable[Row], columns: Sequence[Column]) -> int:
    """Write objects, and return how many they are. `columns` are those of the text."""
    if run.output == "jsonl":
        return sum(write_line(run, row) for row in rows)
    found = [_chosen(run, row) for row in rows] if run.output == "json" else [*rows]
    if run.output == "json":
        _print(as_json(found, indent=2))
    elif sys.stdout.isatty():
        from task_service_client.cli import table

        _check_fields(run, found[:1])
        table.show(found, table.of_fields(columns, run.fields))
    else:
        _check_fields(run, found[:1])
        for row in found:
            write_values(row, run.fields or [column.path for column in columns])
    return len(found)


def write_one(run: Run, row: Row) -> None:
    """Write one object: in text as its fields, one a line."""
    if run.output == "jsonl":
        write_line(run, row)
    elif run.output == "json":
        _print(as_json(_chosen(run, row), indent=2))
    elif run.fields:
        _check_fields(run, [row])
        write_values(row, run.fields)
    elif sys.stdout.isatty():
        from task_service_client.cli import table

        table.show_one(row)
    else:
        for key, value in row.items():
            _print(f"{key}\t{_in_line(compact(value))}")


def write_each(run: Run, rows: Sequence[Row]) -> None:
    """Write objects each by itself; as a list where they are JSON and not one."""
    if run.output == "json" and len(rows) != 1:
        write_list(run, rows, ())
        return
    for number, row in enumerate(rows):
        if number and run.output == "text" and not run.fields:
            _print("")
        write_one(run, row)


def write_line(run: Run, row: Row) -> int:
    """Write an object as one line of JSON at once. Returns 1."""
    _print(as_json(_chosen(run, row), separators=(",", ":")))
    return 1


def write_values(row: Row, paths: Iterable[str]) -> None:
    """Write values in one line, with tabs between them."""
    _print("\t".join(_in_line(compact(value_at(row, path))) for path in paths))


def _print(line: str) -> None:
    """Print a line. A terminal gets nothing that steers it, a file or a pipe gets what the service has."""
    print(safe(line) if sys.stdout.isatty() else line, flush=True)


def _in_line(text: str) -> str:
    return " ".join(text.split()) if any(character in text for character in "\t\n\r\v\f") else text


def _chosen(run: Run, row: Row) -> Row:
    _check_fields(run, [row])
    return {path: value_at(row, path) for path in run.fields} if run.fields else row


def _check_fields(run: Run, rows: Iterable[Row]) -> None:
    for row in rows:
        for path in run.fields:
            if path.partition(".")[0] not in row:
                raise Refused(t("There is no field {name}. There are: {names}", name=path, names=", ".join(row)))
