"""Tables fit their terminal, and say nothing that steers it."""

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from task_service_client.cli import bars, columns, language, table, texts
from task_service_client.cli.screen import Screen

NOW = datetime.now(UTC)


def task(**fields: Any) -> dict[str, Any]:
    known = {
        "id": "01a230e1-3000-716d-b27c-436dad5aca49", "status": "running", "progress": 40, "name": "a name", "created_at": NOW.isoformat(),
        "started_at": (NOW - timedelta(seconds=65)).isoformat(), "finished_at": None, "error": None, "waiting_for": None, "progress_detail": None,
        "task_type": "import", "priority": "normal", "queue": "default", "worker": None, "tags": [],
    }  # fmt: skip
    return known | fields


def drawn(shown: Any, width: int, height: int = 24) -> list[str]:
    out = Console(file=StringIO(), width=width, height=height, color_system=None)
    out.print(shown)
    return out.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
@pytest.mark.parametrize("name", ["x", "long " * 50, "名称" * 40, "two\nlines\x1b[31m"])
def test_fit_any_width(width: int, name: str) -> None:
    rows = [task(name=name), task(status="failed", error={"type": "E", "message": "m" * 300}, name=name)]
    for shown in (table.made(rows, columns.TASKS, width), bars.lines(rows, width)):
        lines = drawn(shown, width)
        assert len(lines) == 2 + isinstance(shown.columns[0].header, str) * bool(shown.show_header)
        assert all(cell_len(line) <= width for line in lines)
        assert "\x1b" not in "".join(lines)


def test_bars_show_nothing_that_steers() -> None:
    steering = "\x1b]0;x\x07\x9b31m\u202e"
    of_server = {"name": steering, "status": steering, "waiting_for": {"reason": steering}, "started_at": "1700000000"}
    board = bars.Board(["1", "2"])
    board.take(task(id="1", **of_server))
    board.take(task(id="2", error={"type": steering, "message": steering}))
    shown = "".join(drawn(board, 200))
    assert "waits: �]0;x" in shown
    assert not {*shown} & {*"\x1b\x07\x9b\u202e"}


def test_leave_out_the_least_columns_first() -> None:
    narrow, wide = (
        drawn(table.made([task(name="n" * 30)], columns.TASKS, width), width)[0].split() for width in (80, 200)
    )
    assert narrow == ["ID", "STATUS", "DONE", "NAME", "AGE"]
    assert {"TYPE", "PRIORITY", "QUEUE"} < {*wide}
    assert "ERROR" not in wide  # no row has one


def test_boards_show_what_runs_first_and_count_the_rest() -> None:
    board = bars.Board(str(number) for number in range(50))
    for number in range(50):
        board.take(task(id=str(number), name=f"n{number}", status="running" if number == 49 else "succeeded"))
    lines = drawn(board, 80, 10)
    assert lines[0].startswith("n49")
    assert len(lines) <= 10
    assert lines[-1].split() == ["49", "of", "50", "ended", "1", "running", "49", "succeeded", "(43", "not", "shown)"]
    board.take(task(id="0", status="suspended"))  # a newer server's
    assert "1 suspended" in drawn(board, 80, 10)[-1]


@pytest.mark.parametrize("height", [5, 10, 24, 60])
def test_the_screen_fits_any_height(height: int) -> None:
    screen = Screen("type:x")
    queue = dict.fromkeys((column.path for column in columns.QUEUES), 1) | {"name": "q", "paused_reason": None}
    worker = dict.fromkeys((column.path for column in columns.WORKERS), 1) | {
        "running": [],
        "started_at": NOW.isoformat(),
    }
    seen = {
        "counts": {"running": 3},
        "queues": [queue] * 8,
        "workers": [worker] * 8,
        "running": [task()] * 30,
        "recent": [task(status="failed")] * 20,
    }
    for workers in (seen["workers"], None):
        screen.take({**seen, "workers": workers})
        lines = drawn(screen, 80, height)
        assert len(lines) <= height
        assert all(cell_len(line) <= 80 for line in lines)
    screen.trouble = "it broke\n\x1b[31m (internal)"
    assert "no answer since" in drawn(screen, 120, height)[0]
    assert drawn(screen, 120, height)[1] == "it broke �[31m (internal)"


def test_times_and_sizes_are_short() -> None:
    assert [texts.short(seconds) for seconds in (0, 59.9, 60, 3599, 3600, 90000)] == [
        "0s",
        "59s",
        "1m",
        "59m",
        "1h",
        "1d",
    ]
    assert [texts.clock(seconds) for seconds in (7, 65, 3723)] == ["0:07", "1:05", "1:02:03"]
    assert [texts.size(count) for count in (0, 1023, 1024, 5 * 1024**3)] == ["0 B", "1023 B", "1.0 KiB", "5.0 GiB"]
    assert texts.ago((NOW + timedelta(minutes=5)).isoformat(), NOW) == "in 5m"
    assert texts.since((NOW - timedelta(minutes=5)).isoformat(), NOW) == "5m ago"


def test_times_to_come_are_chinese_in_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    soon = (NOW + timedelta(minutes=5, seconds=30)).isoformat()
    assert texts.ago(soon, NOW) == texts.since(soon, NOW) == "5m 后"
    later = (datetime.now(UTC) + timedelta(days=5, hours=12)).isoformat()
    assert "5d 后" in drawn(table.made([{"next_run_at": later}], columns.SCHEDULES, 200), 200)[1]


@pytest.mark.parametrize(
    ("variables", "found"),
    [({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LC_ALL": "C", "LANG": "zh_CN"}, "en"), ({"LC_ALL": "zh", "LANG": "en"}, "zh"), ({}, "en"), ({"LC_ALL": "", "LANG": "zh"}, "zh")],
)  # fmt: skip
def test_the_locale_chooses_the_language(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: str
) -> None:
    for name in language.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language.language() == found
