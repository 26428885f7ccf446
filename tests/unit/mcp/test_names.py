"""Names of tools: what clients take, one for each task, and back."""

import re

import pytest

from app.catalogue import catalogue
from app.mcp.tools import MAX_CHARACTERS, RESERVED, task_name, tool_name

TAKEN = re.compile(r"[A-Za-z0-9_-]{1,64}")
ODD = [
    "get_task",
    "wait_task",
    "cancel_task",
    "a-b",
    "a.b",
    "a_b",
    "a..b",
    "a--b",
    ".a",
    "a.",
    "-",
    "数据.导入",
    "数据.导出",
    "tasks:send",
    "tasks send",
    "a" * 64,
    "a" * 65,
    "a" * 66,
    "x." * 32 + "y",
    "\ud800",
]


def test_a_dot_becomes_a_dash() -> None:
    assert tool_name("app.tasks.common_tasks.fetch_url") == "app-tasks-common_tasks-fetch_url"


@pytest.mark.parametrize("name", ODD)
def test_every_name_can_be_sent_and_found_again(name: str) -> None:
    tool = tool_name(name)
    assert TAKEN.fullmatch(tool)
    assert tool not in RESERVED
    assert task_name(tool, [*ODD, *catalogue()]) == name


def test_no_two_tasks_have_the_same() -> None:
    names = {*ODD, *catalogue()}
    assert len({tool_name(name) for name in names}) == len(names)
    assert max(len(tool_name(name)) for name in names) <= MAX_CHARACTERS


@pytest.mark.parametrize("tool", ["", "-", "a-", "get_task", "a--0123456789abcdef", "a.b", "no-such_task"])
def test_of_no_task_is_none(tool: str) -> None:
    assert task_name(tool, catalogue()) is None
