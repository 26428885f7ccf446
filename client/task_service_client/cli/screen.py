"""What `top` shows, fitted to the size of the terminal."""

from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from task_service_client.cli import table, texts
from task_service_client.cli.bars import lines
from task_service_client.cli.columns import QUEUES, TASKS, WORKERS
from task_service_client.cli.language import t

STATUSES = ("running", "pending", "succeeded", "failed", "revoked")
MOST_WORKERS = 6


class Screen:
    """The last look at the service. `trouble` says why there is no newer one."""

    def __init__(self, query: str) -> None:
        self.query, self.trouble = query, ""
        self._seen: dict[str, Any] = {}
        self._at = datetime.now().astimezone()

    def take(self, seen: dict[str, Any]) -> None:
        self._seen, self.trouble = seen, ""
        self._at = datetime.now().astimezone()

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        width, left = options.max_width, (options.height or out.height) - 1
        parts: list[Any] = [self._head(width), self._why(width)]
        left -= 2
        for found, columns, most in (
            (self._seen["queues"], QUEUES, left // 3),
            (self._seen["workers"], WORKERS, min(MOST_WORKERS, left // 4)),
        ):
            if found and most > 0:
                parts += [table.made(found[:most], columns, width), Text()]
                left -= min(len(found), most) + 2
        running = self._seen["running"]
        if running and left > 1:
            shown = running[: max(1, left * 2 // 3)]
            parts += [_title(t("Running"), len(running), len(shown)), lines(shown, width), Text()]
            left -= len(shown) + 2
        recent = [task for task in self._seen["recent"] if task["status"] != "running"]
        if recent and left > 2:  # noqa: PLR2004 (its head, and one line)
            parts += [table.made(recent[: left - 1], TASKS, width)]
        yield from parts

    def _head(self, width: int) -> Text:
        head = Text(no_wrap=True, overflow="ellipsis")
        for status in STATUSES:
            head.append(f"{self._seen['counts'].get(status, 0):,} ", "bold")
            head.append(f"{t(status)}   ", table.STATUS_STYLES.get(status, ""))
        if self.query:
            head.append(self.query + "   ", "bold")
        if self.trouble:
            head.append(t("no answer since {time}", time=f"{self._at:%H:%M:%S}"), "bold red")
        else:
            head.append(f"{self._at:%H:%M:%S}  " + t("q ends it"), "dim")
        head.truncate(width, overflow="ellipsis")
        return head

    def _why(self, width: int) -> Text:
        """Return the line below the head: why there is no newer look, else nothing."""
        why = Text(texts.one_line(self.trouble), "red", no_wrap=True, overflow="ellipsis")
        why.truncate(width, overflow="ellipsis")
        return why


def _title(text: str, count: int, shown: int) -> Text:
    title = Text(text, "bold")
    if shown < count:
        title.append(" " + t("({count} not shown)", count=count - shown), "dim")
    return title
