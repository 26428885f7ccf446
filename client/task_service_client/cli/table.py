"""Tables on a terminal: as many columns as fit, the most important first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from task_service_client.cli import texts
from task_service_client.cli.columns import Column, Row, value_at
from task_service_client.cli.language import t
from task_service_client.cli.run import console

# Of the terminal's palette, which is made for its background.
STATUS_STYLES = {
    "succeeded": "green", "failed": "red", "running": "cyan", "revoked": "magenta", "alive": "green", "lost": "red",
    "draining": "cyan", "open": "red", "resolved": "green", "finished": "green", "aborted": "red",
}  # fmt: skip
STATES = (*STATUS_STYLES, "pending", "ignored")
GAP = 2


def status(value: Any) -> Text:
    word = texts.compact(value)
    return Text(t(word) if word in STATES else texts.one_line(word), STATUS_STYLES.get(word, ""))


def percent(value: Any) -> Text:
    return Text("" if value is None else f"{texts.one_line(texts.compact(value))}%")


def _count(value: Any) -> Text:
    return Text(str(len(value)))


def _yes(value: Any) -> Text:
    return Text(t("yes") if value else "")


def _time(show: Callable[[Any], str]) -> Callable[[Any], Text]:
    return lambda value: Text("" if value is None else show(value))


def _text(value: Any) -> Text:
    return Text(texts.one_line(texts.compact(value)))


def _fitted(show: Callable[[Any], Text], value: Any) -> Text:
    """Return a value as its kind is shown; one that is not of this kind, such as a time that is none, as it is."""
    try:
        return show(value)
    except (TypeError, ValueError, OverflowError):
        return _text(value)


KINDS: dict[str, Callable[[Any], Text]] = {
    "text": _text, "status": status, "percent": percent, "yes": _yes, "count": _count, "ago": _time(texts.ago),
    "bytes": _time(texts.size), "seconds": _time(texts.short),
}  # fmt: skip
RIGHT = ("percent", "bytes", "seconds", "ago", "number", "count")


@dataclass
class _Shown:
    """A column with its cells, and how wide it is."""

    column: Column
    cells: list[Text]
    width: int

    @property
    def least(self) -> int:
        return min(self.width, self.column.least) if self.column.least else self.width


def of_fields(columns: Sequence[Column], fields: Sequence[str]) -> Sequence[Column]:
    """Return the columns of these fields; all where none is named."""
    known = {column.path: column for column in columns}
    return [known.get(path, Column(path, path, least=8)) for path in fields] or columns


def show(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Print a table on stdout."""
    out = console()
    if rows:
        out.print(made(rows, columns, out.width), no_wrap=True)


def made(rows: Sequence[Row], columns: Sequence[Column], width: int) -> Table:
    """Return the table. Columns from the end are left out where the width does not do, and texts are cut."""
    shown = [_measured(column, rows) for column in columns]
    shown = [each for each in shown if not each.column.only_if_any or any(cell.plain for cell in each.cells)]
    while len(shown) > 1 and sum(each.least + GAP for each in shown) - GAP > width:
        shown.remove(max(shown, key=lambda each: each.column.rank))
    spare = width + GAP - sum(each.least + GAP for each in shown)
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for each in shown:
        room = min(each.width, each.least + spare)
        spare -= room - each.least
        side: Literal["left", "right"] = "right" if each.column.kind in RIGHT else "left"
        table.add_column(t(each.column.title), width=room, no_wrap=True, overflow="ellipsis", justify=side)
    for cells in zip(*(each.cells for each in shown), strict=True):
        table.add_row(*cells)
    return table


def _measured(column: Column, rows: Sequence[Row]) -> _Shown:
    cells = [_fitted(KINDS.get(column.kind, _text), value_at(row, column.path)) for row in rows]
    return _Shown(column, cells, max([cell_len(t(column.title)), *(cell.cell_len for cell in cells)]))


def show_one(row: Row) -> None:
    """Print the fields of one object on stdout, without those that are empty."""
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in row.items():
        if value is not None and value not in ([], {}, ""):
            table.add_row(Text(texts.one_line(key)), _fitted(partial(_field, key), value))
    console().print(table)


def _field(key: str, value: Any) -> Text:
    if key in ("status", "state"):
        return status(value)
    if key == "progress":
        return percent(value)
    if isinstance(value, str) and key.endswith(("_at", "_seen", "_until")):
        return Text(f"{texts.local(value)}  ({texts.since(value)})")
    if key in ("size", "memory_bytes") and isinstance(value, int):
        return Text(texts.size(value))
    if key == "error" and isinstance(value, Mapping):
        return Text(texts.safe(f"{value.get('type')}: {value.get('message')}"), "red")
    return Text(texts.safe(_pretty(value)))


def _pretty(value: Any) -> str:
    import json

    if isinstance(value, str):
        return value
    line = json.dumps(value, ensure_ascii=False)
    return line if len(line) <= 60 else json.dumps(value, ensure_ascii=False, indent=2)  # noqa: PLR2004 (fits beside its key)
