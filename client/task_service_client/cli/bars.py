"""Bars of many tasks at once, on stderr, drawn anew four times a second."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from task_service_client.cli import texts
from task_service_client.cli.language import t
from task_service_client.cli.run import console
from task_service_client.cli.table import percent, status as styled
from task_service_client.requests import ENDED

# What is shown first where there are more tasks than lines.
ORDER = ("running", "failed", "revoked", "pending", "succeeded")
BAR_STYLES = {"succeeded": "green", "failed": "red", "revoked": "magenta"}
WAITS = {
    "schedule": "for its time", "retry": "to be tried again", "paused": "for its queue, which is paused",
    "dependency": "for other tasks", "limit": "for a place of its limit", "no_worker": "for a worker",
    "turn": "for its turn",
}  # fmt: skip
SPARE_LINES = 3
# In characters: of a name, of a bar, of the words beside it; and all that is between and behind them.
LEAST_NAME, LEAST_BAR, MOST_BAR, LEAST_WORDS, REST = 20, 20, 40, 20, 25
Task = Mapping[str, Any]


class Board:
    """The tasks that are watched, as lines of the height of the terminal."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.tasks: dict[str, Task | None] = dict.fromkeys(ids)

    def take(self, task: Task) -> None:
        self.tasks[task["id"]] = task

    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for task in self.tasks.values():
            status = task["status"] if task else "pending"
            counts[status] = counts.get(status, 0) + 1
        return counts

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        height = max(1, (options.height or out.height) - SPARE_LINES)
        known = [task for task in self.tasks.values() if task]
        ordered = known if len(known) <= height else sorted(known, key=lambda task: _order(task["status"]))
        if ordered:
            yield lines(ordered[:height], options.max_width)
        if len(self.tasks) > 1:
            yield self._summary(len(self.tasks) - len(ordered[:height]))

    def _summary(self, hidden: int) -> Text:
        counts = self.counts()
        ended = sum(counts.get(status, 0) for status in ENDED)
        line = Text(t("{ended} of {total} ended", ended=ended, total=len(self.tasks)), "bold")
        for status in sorted(counts, key=_order):
            line.append(f"  {counts[status]} ").append_text(styled(status))
        if hidden:
            line.append("  " + t("({count} not shown)", count=hidden), "dim")
        return line


def _order(status: str) -> int:
    """Return where this state stands; one that only a newer server has comes last."""
    return ORDER.index(status) if status in ORDER else len(ORDER)


def lines(tasks: Sequence[Task], width: int) -> Table:
    """Return a line for each task: its name, its bar, the percent, the state, its time and its last words."""
    longest = max(cell_len(texts.one_line(task["name"])) for task in tasks)
    name = max(1, min(longest, max(LEAST_NAME, width // 3), width - REST - LEAST_BAR))
    bar_width = max(1, min(MOST_BAR, width - REST - name))
    words = width - REST - name - bar_width - 1
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(width=name, no_wrap=True, overflow="ellipsis")
    table.add_column(width=bar_width)
    table.add_column(width=4, justify="right", no_wrap=True)
    table.add_column(width=9, no_wrap=True)
    table.add_column(width=7, justify="right", no_wrap=True)
    if has_words := words >= LEAST_WORDS:
        table.add_column(width=words, no_wrap=True, overflow="ellipsis")
    for task in tasks:
        status = task["status"]
        style = BAR_STYLES.get(status, "cyan")
        bar = ProgressBar(100, task["progress"], style="dim", complete_style=style, finished_style=style)
        cells: list[RenderableType] = [Text(texts.one_line(task["name"])), bar, percent(task["progress"])]
        cells += [styled(status), Text(_time(task))]
        table.add_row(*cells, *([Text(_words(task), "red" if status == "failed" else "dim")] if has_words else []))
    return table


def _time(task: Task) -> str:
    if not task["started_at"]:
        return ""
    try:
        end = texts.moment(task["finished_at"]) if task["finished_at"] else datetime.now(UTC)
        return texts.clock(max(0.0, (end - texts.moment(task["started_at"])).total_seconds()))
    except ValueError:  # a time in another form than RFC 3339
        return ""


def _words(task: Task) -> str:
    if task["error"]:
        return texts.one_line(f"{task['error']['type']}: {task['error']['message']}")
    if task["waiting_for"]:
        reason = task["waiting_for"]["reason"]
        known = WAITS.get(reason) if isinstance(reason, str) else None
        said = texts.one_line(texts.compact(reason)) if known is None else t(known)
        return t("waits: {reason}", reason=said)
    return texts.one_line(texts.compact(task["progress_detail"])) if task["status"] == "running" else ""


@contextmanager
def shown(board: Board) -> Iterator[None]:
    """Show the board while the context lasts, and take it away at its end."""
    with Live(board, console=console(of_messages=True), refresh_per_second=4, transient=True, redirect_stdout=False):
        yield
