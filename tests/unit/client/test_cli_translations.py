"""Each text of the command line has a Chinese one, with the same places for values."""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from rich.cells import cell_len

from task_service_client import NotSignedIn
from task_service_client.cli import app, bars, bulk, columns, resources, stats
from task_service_client.cli.exits import explained
from task_service_client.cli.reasons import REASONS, reason_of
from task_service_client.cli.table import STATES

FOLDER = Path(resources.__file__).parent
ZH: dict[str, str] = json.loads((FOLDER / "zh.json").read_text(encoding="utf-8"))


# What takes a text to translate, and at which place.
PLACES = {"t": 0, "option": 1, "argument": 1, "_of_task": 1, "_waiting": 1}


def written() -> Iterator[str]:
    return (text for _, text in called())


def called() -> Iterator[tuple[str, str]]:
    """The functions that are called with a text to translate: `t`, and those that call it with the help of an option."""
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            place = PLACES.get(node.func.id, len(node.args))
            if place < len(node.args) and isinstance(text := node.args[place], ast.Constant) and text.value:
                yield node.func.id, str(text.value)


def more(body: Callable[..., None]) -> str:
    """What the help of a command says behind its summary."""
    return (inspect.getdoc(body) or "").partition("\n\n")[2]


def declared() -> Iterator[str]:
    """The texts that are translated where they are used: titles, summaries, docstrings of commands, states."""
    for value in vars(columns).values():
        if isinstance(value, tuple):
            yield from (column.title for column in value)
    yield from (column.title for column in stats.COLUMNS)
    for panel, commands in app.PANELS.items():
        yield from (panel, *(summary for _, summary in commands.values()))
    for resource in resources.RESOURCES.values():
        yield from (summary for _, summary in resources.commands(resource).values())
        yield from (deed.option_help for deed in resource.deeds.values() if deed.option)
        yield from (more(body) for body, _ in resource.own.values())
    for function, _ in {**app.ACCESS, **app.TASKS, **app.SERVICE}.values():
        if function:
            module, _, name = function.partition(".")
            yield more(getattr(import_module(f"task_service_client.cli.{module}"), name))
    yield from bulk.QUESTIONS.values()
    yield from STATES
    yield from bars.WAITS.values()
    yield from REASONS


# What the library says to programs alone; the command line has words of its own for it.
OF_PROGRAMS = {
    "a login needs both username and password",
    "no server is named: pass base_url, set TASK_SERVICE_URL, or run `task-service login URL`",
    "the task {} is {} after {} seconds", "{} is no name for a file here: name the file to write to",
    "{} is there: name the file to write to", "{} is no path of the server ({})",
    "{} is no path of the server (it begins with one /)",
}  # fmt: skip
ERRORS = ("Unreachable", "BadProfile", "Damaged", "ValueError", "FileExistsError", "SpecialFileError", "TimeoutError")


def said_by_the_library() -> Iterator[str]:
    """The texts of its errors, with {} in the place of values."""
    for path in (*FOLDER.parent.glob("*.py"), *(FOLDER.parent / "_async").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in ERRORS:
                yield from map(template, node.args[:1])
            if isinstance(node, ast.Dict):
                yield from (
                    template(value)
                    for key, value in zip(node.keys, node.values, strict=True)
                    if isinstance(key, ast.Constant) and key.value == "detail"
                )


def template(text: ast.expr) -> str:
    if isinstance(text, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in text.values)
    return str(ast.literal_eval(text))


TEXTS = {*written(), *declared()} - {""}


def test_each_text_has_a_chinese_one():
    assert sorted(TEXTS - ZH.keys()) == []


def test_no_translation_is_left_over():
    assert sorted(ZH.keys() - TEXTS) == []


def test_translations_have_the_same_places():
    places = re.compile(r"\{[a-z]+\}")
    assert [text for text, said in ZH.items() if sorted(places.findall(text)) != sorted(places.findall(said))] == []


def test_help_of_options_is_broken_in_lines() -> None:
    """A terminal of 80 columns has 35 of them for it: what is longer, without a space, is cut off."""
    helps = {text for name, text in called() if name != "t"}
    assert [ZH[text] for text in sorted(helps) if max(map(cell_len, ZH[text].split())) > 35] == []


def test_translations_keep_what_is_typed():
    typed = re.compile(r"`[^`]*`|--[a-z-]+")
    assert [text for text, said in ZH.items() if {*typed.findall(text)} - {*typed.findall(said)}] == []


def test_what_the_library_says_is_known():
    known = {re.sub(r"\{[a-z]+\}", "{}", reason) for reason in REASONS} - {"the server gave no reason"}
    said = {re.sub(r"^(GET|POST) ", "{} ", text) for text in said_by_the_library()}
    assert said - OF_PROGRAMS - {"{} {}: {}"} == known
    assert said >= OF_PROGRAMS


def test_what_the_library_says_is_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    ended = NotSignedIn(401, {"code": "not_authenticated", "detail": "the login has ended: log in again"}, None)
    refused = explained(ended)
    assert refused is not None
    assert "登录已失效：请重新登录" in refused.message
    assert (
        reason_of("GET /api/v1/tasks/events: the stream ends whenever it is opened")
        == "GET /api/v1/tasks/events：数据流每次打开都会结束"
    )
    assert reason_of("of another origin") == "of another origin"
    assert reason_of(" " * 100_000) == " " * 100_000  # at once
