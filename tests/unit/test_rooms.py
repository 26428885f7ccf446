"""Both rooms of engines have what the code outside asks `app.db.sql` for, with the same parameters.

What both would have alike is in `app.db.every_engine`.
"""

import ast
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sqlalchemy import ClauseElement

from tests.support.sources import APP, app_files, assert_none, name_of, text_of

SEAM = "app.db.sql"
ROOMS = ("app.db.postgresql", "app.db.portable")
# So many lines may be the same in both rooms: a function whose parts are each room's own.
LONGEST_ALIKE = 3


def asked(source: str) -> Iterator[tuple[str, str]]:
    """Each name that this source takes from a module of the seam, after that module's name."""
    tree = ast.parse(source)
    modules = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == SEAM
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def outside() -> list[Path]:
    rooms = {APP / "db" / "postgresql", APP / "db" / "portable", APP / "db" / "sql.py"}
    return [path for path in app_files() if not rooms & {path, *path.parents}]


def parameters(function: Callable[..., Any]) -> list[tuple[str, str, str]]:
    """The name, kind and default of each. SQL may be another one on each engine."""
    found = inspect.signature(function).parameters.values()
    defaults = ["SQL" if isinstance(each.default, ClauseElement) else repr(each.default) for each in found]
    return [(each.name, each.kind.description, default) for each, default in zip(found, defaults, strict=True)]


def differs(name: str, what: str) -> str:
    """How the two rooms differ in what they have by this name, or nothing."""
    paths = [f"{room}.{name}" for room in ROOMS]
    found = [getattr(import_module(path), what, None) if find_spec(path) else None for path in paths]
    for path, each in zip(paths, found, strict=True):
        if each is None:
            return f"there is no {path}.{what}, which is asked for"
    one, other = (parameters(each) if inspect.isroutine(each) else "no function" for each in found)
    return "" if one == other else f"{name}.{what} has the parameters {one} in one room, {other} in the other"


def test_both_rooms_have_what_is_asked_with_the_same_parameters() -> None:
    """Their modules are there as well: `from app.db.sql import` fails for none at run time."""
    wanted = sorted({each for path in outside() for each in asked(text_of(path))})
    assert len({name for name, _ in wanted}) > 20
    assert_none(filter(None, (differs(name, what) for name, what in wanted)))


def test_the_code_outside_asks_the_seam_alone() -> None:
    """A room that it named itself would be used on every engine. The DDL of all engines is loaded with the models."""
    assert_none(
        f"{name_of(path)}:{node.lineno}: {node.module}.{alias.name}; import app.db.sql"
        for path in outside()
        if not path.is_relative_to(APP / "migrations")
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if f"{node.module}.{alias.name}".startswith(tuple(f"{room}." for room in ROOMS))
        and ".schema." not in f"{node.module}.{alias.name}."
    )


def units(source: str) -> dict[str, ast.stmt]:
    """The functions and classes of a module by name, without what their docstrings say."""
    found = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in found.values():
        if ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass(lineno=node.body[0].lineno, end_lineno=node.body[0].lineno)
    return found


def alike(one: str, other: str) -> list[str]:
    """The functions and classes of two modules that are the same, and longer than LONGEST_ALIKE lines."""
    others = units(other)
    return [
        name
        for name, node in units(one).items()
        if (node.end_lineno or 0) - node.lineno >= LONGEST_ALIKE
        and name in others
        and ast.dump(node) == ast.dump(others[name])
    ]


def test_nothing_longer_is_the_same_in_both_rooms() -> None:
    """It would be changed in one of them: `app/db/every_engine/` is its place."""
    of_postgresql, of_the_others = (APP.joinpath(*room.split(".")[1:]) for room in ROOMS)
    both = [path.relative_to(of_postgresql) for path in sorted(of_postgresql.rglob("*.py"))]
    both = [name for name in both if (of_the_others / name).exists()]
    assert len(both) > 20
    assert_none(
        f"{name}: {what}"
        for name in both
        for what in alike(text_of(of_postgresql / name), text_of(of_the_others / name))
    )


def test_the_rule_finds_what_is_alike_but_for_its_docstring() -> None:
    one = 'def f(a):\n    """One."""\n    b = a\n    return b\n\n\ndef g():\n    """It."""\n    return 1\n\n\nclass C:\n    a: int\n'
    other = one.replace("One", "Another one")
    assert alike(one, other) == ["f"]
    assert alike(one, other.replace("b", "c")) == []


def test_the_rule_finds_names_behind_another_name() -> None:
    source = "from app.db.sql import claims as statements, turns\nstatements.claim(db)\nturns.PLACES\nother.claim()"
    assert sorted(asked(source)) == [("claims", "claim"), ("turns", "PLACES")]
