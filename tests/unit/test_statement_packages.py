"""What PostgreSQL has of its own stands for the portable functions of the same names, with the same parameters."""

import ast
import functools
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from sqlalchemy import ClauseElement

from tests.support.sources import APP, app_files, assert_none, name_of, text_of

SEAM = "app.db.sql"
PACKAGES = ("app.db.postgresql", "app.db.statements")
OF_POSTGRESQL, OF_ALL = (APP.joinpath(*package.split(".")[1:]) for package in PACKAGES)
# The modules of PostgreSQL that stand for portable ones.
BOTH = sorted(path.stem for path in OF_POSTGRESQL.glob("[!_]*.py") if (OF_ALL / path.name).exists())
# So many lines may be the same in both: a function whose parts are each module's own.
LONGEST_ALIKE = 3
MOST_OF_TWO_BODIES = 60


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
    inside = {OF_POSTGRESQL, OF_ALL, APP / "db" / "sql.py"}
    return [path for path in app_files() if not inside & {path, *path.parents}]


@functools.cache
def wanted() -> list[tuple[str, str]]:
    """Return what the code outside asks for: modules of the seam, and their names."""
    return sorted({each for path in outside() for each in asked(text_of(path))})


def parameters(function: Callable[..., Any]) -> list[tuple[str, str, str]]:
    """The name, kind and default of each. SQL may be another one on each engine."""
    found = inspect.signature(function).parameters.values()
    defaults = ["SQL" if isinstance(each.default, ClauseElement) else repr(each.default) for each in found]
    return [(each.name, each.kind.description, default) for each, default in zip(found, defaults, strict=True)]


def differs(name: str, what: str) -> str:
    """How the two modules differ in what they have by this name, or nothing."""
    paths = [f"{package}.{name}" for package in PACKAGES]
    found = [getattr(import_module(path), what, None) for path in paths]
    for path, each in zip(paths, found, strict=True):
        if each is None:
            return f"there is no {path}.{what}, which is asked for"
    one, other = (parameters(each) if inspect.isroutine(each) else "no function" for each in found)
    return "" if one == other else f"{name}.{what} has the parameters {one} on PostgreSQL, {other} elsewhere"


def test_an_override_has_the_parameters_of_the_portable_function() -> None:
    assert len({name for name, _ in wanted()}) > 10
    assert_none(filter(None, (differs(name, what) for name, what in wanted() if name in BOTH)))


def test_each_module_that_is_asked_for_is_there_on_every_engine() -> None:
    names = {name for name, _ in wanted()}
    assert_none(f"there is no {name_of(OF_ALL)}/{name}.py" for name in names if not (OF_ALL / f"{name}.py").exists())


def test_the_code_outside_asks_for_no_engine() -> None:
    """Statements of one engine would be executed on every engine. The DDL of all engines is loaded with the models."""
    of_one = ("app.db.postgresql.", *(f"app.db.statements.{name}." for name in BOTH))
    assert_none(
        f"{name_of(path)}:{node.lineno}: {node.module}.{alias.name}; import app.db.sql"
        for path in outside()
        if not path.is_relative_to(APP / "migrations")
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if f"{node.module}.{alias.name}.".startswith(of_one)
    )


def test_what_every_engine_executes_uses_no_portable_form_that_postgresql_overrides() -> None:
    """It would use it on PostgreSQL too."""
    overridden = tuple(f"app.db.statements.{name}." for name in BOTH)
    assert_none(
        f"{name_of(path)}:{node.lineno}: {node.module}.{alias.name}"
        for path in sorted(OF_ALL.glob("*.py"))
        if path.stem not in BOTH
        for node in ast.walk(ast.parse(text_of(path)))
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if f"{node.module}.{alias.name}.".startswith(overridden)
    )


def units(source: str) -> dict[str, ast.stmt]:
    """The functions and classes of a module by name, without what their docstrings say."""
    found = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in found.values():
        if ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass(lineno=node.body[0].lineno, end_lineno=node.body[0].lineno)
    return found


def public(package: Path, name: str) -> set[str]:
    """The public functions and classes that this module defines."""
    return {each for each in units(text_of(package / f"{name}.py")) if not each.startswith("_")}


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


def test_nothing_longer_is_the_same_in_both() -> None:
    """It would be changed in one of them."""
    both = [path.relative_to(OF_POSTGRESQL) for path in sorted(OF_POSTGRESQL.rglob("*.py"))]
    both = [name for name in both if (OF_ALL / name).exists()]
    assert len(both) > 10
    assert_none(
        f"{name}: {what}" for name in both for what in alike(text_of(OF_POSTGRESQL / name), text_of(OF_ALL / name))
    )


def test_few_functions_have_two_bodies() -> None:
    """Each is written, changed and tested twice: docs/performance.md tells what it gains."""
    twice = [f"{name}.{what}" for name in BOTH for what in public(OF_POSTGRESQL, name) & public(OF_ALL, name)]
    assert len(twice) <= MOST_OF_TWO_BODIES, sorted(twice)


def test_the_rule_finds_what_is_alike_but_for_its_docstring() -> None:
    one = 'def f(a):\n    """One."""\n    b = a\n    return b\n\n\ndef g():\n    """It."""\n    return 1\n\n\nclass C:\n    a: int\n'
    other = one.replace("One", "Another one")
    assert alike(one, other) == ["f"]
    assert alike(one, other.replace("b", "c")) == []


def test_the_rule_finds_names_behind_another_name() -> None:
    source = "from app.db.sql import claims as statements, turns\nstatements.claim(db)\nturns.PLACES\nother.claim()"
    assert sorted(asked(source)) == [("claims", "claim"), ("turns", "PLACES")]
