"""Which functions of `app/db/postgresql/` and `app/db/every_engine/` take part in the statements that are sent."""

import ast
import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.services import ROOT

PACKAGE = "app.db"
FOLDER = ROOT.joinpath(*PACKAGE.split("."))
ROOM = FOLDER / "postgresql"
# The parameters by which a function is given what it sends its statements with.
SENDS_WITH = {"db", "connection"}
# The connection below all statements. It builds none.
MACHINERY = {"prepared"}


def modules() -> dict[str, Path]:
    """The modules of statements, as `postgresql.claims`. What models and migrations take of `schema/` is DDL."""
    paths = [*ROOM.glob("*.py"), *(FOLDER / "every_engine").glob("*.py"), ROOM / "schema" / "server_logs.py"]
    found = [path for path in paths if path.stem not in {"__init__", *MACHINERY}]
    assert len(found) > 50
    return {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in sorted(found)}


class Reached:
    """The functions that stood on the stack of a statement that was sent, and those that were called."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.called: set[str] = set()

    def sends(self) -> None:
        """To be called where a statement is sent."""
        frame = sys._getframe(1)
        while frame is not None:
            name = _BY_FILE.get(frame.f_code.co_filename)
            if name is not None:
                self.sent.add(f"{name}.{frame.f_code.co_name}")
            frame = frame.f_back  # type: ignore[assignment]

    def add(self, other: "Reached") -> None:
        self.sent |= other.sent
        self.called |= other.called

    def missing(self) -> list[str]:
        """The functions of the room that took no part.

        One that is given a session or a connection must have sent a statement. The others build parts of statements:
        those must have been called, or be called as their module is imported.
        """
        return [
            name
            for name, needs_to_send in functions().items()
            if name not in (self.sent if needs_to_send else self.sent | self.called | at_import())
        ]


_BY_FILE = {str(path): name for name, path in modules().items()}


@functools.cache
def _trees() -> dict[str, ast.Module]:
    return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in modules().items()}


def _functions_of(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


@functools.cache
def functions() -> dict[str, bool]:
    """The functions of the room, as `module.function`, and whether it is given what statements are sent with."""
    return {
        f"{module}.{name}": bool({each.arg for each in node.args.args} & SENDS_WITH)
        for module, tree in _trees().items()
        for name, node in _functions_of(tree).items()
    }


@functools.cache
def at_import() -> frozenset[str]:
    """The functions that the app's modules name as they are imported, and those that these name in turn."""
    waiting = [(module, node) for module, tree in _trees_of_the_app().items() for node in _at_top(tree)]
    found: set[str] = set()
    while waiting:
        module, node = waiting.pop()
        for name in {_named(module, each) for each in ast.walk(node) if isinstance(each, ast.Name | ast.Attribute)}:
            if name is not None and name not in found:
                found.add(name)
                of, _, function = name.rpartition(".")
                waiting.append((f"{PACKAGE}.{of}", _functions_of(_trees()[of])[function]))
    return frozenset(found)


def _trees_of_the_app() -> dict[str, ast.Module]:
    """Of the modules that are imported."""
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return {
        name: ast.parse(Path(file).read_text(encoding="utf-8"))
        for name, file in files.items()
        if name.startswith("app.") and file
    }


def _at_top(tree: ast.Module) -> Iterator[ast.stmt]:
    """What runs at the import, but for the bodies of functions and classes."""
    left_out = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom
    return (node for node in tree.body if not isinstance(node, left_out))


def _named(module: str, node: ast.expr) -> str | None:
    """The function of the room that this name, or attribute of a name, stands for in the module."""
    found = sys.modules[module]
    for part in ast.unparse(node).split("."):
        found = getattr(found, part, None)  # type: ignore[assignment]
    name = f"{getattr(found, '__module__', '')}.{getattr(found, '__name__', '')}".removeprefix(f"{PACKAGE}.")
    return name if name in functions() else None


@contextmanager
def noted(reached: Reached) -> Iterator[None]:
    """Have each function of the room say that it was called, under whatever name a module of the app knows it."""
    originals = {name: _function(name) for name in functions()}
    for function in originals.values():
        # A statement that was built before, and kept, is built again by functions that say so.
        getattr(function, "cache_clear", lambda: None)()
    noting = {id(function): _noting(reached, name, function) for name, function in originals.items()}
    known = [
        (module, attribute, value)
        for key, module in list(sys.modules.items())
        if key.startswith("app.")
        for attribute, value in list(vars(module).items())
        if id(value) in noting
    ]
    try:
        for module, attribute, value in known:
            setattr(module, attribute, noting[id(value)])
        yield
    finally:
        for module, attribute, value in known:
            setattr(module, attribute, value)


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.rpartition(".")
    found: Callable[..., Any] = getattr(sys.modules[f"{PACKAGE}.{module}"], function)
    return found


def _noting(reached: Reached, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def noting(*args: Any, **kwargs: Any) -> Any:
        reached.called.add(name)
        return function(*args, **kwargs)

    return noting
