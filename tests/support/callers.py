"""Which functions of the edges call what has a rule, as the code says: by its syntax, and by the signatures.

The edges are what a request comes through: HTTP, the pages and MCP. What they call has its rules as parameters, such as
`owner` and `rights`, which Python code may leave out.
"""

import ast
import importlib
import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from app.services.batched.submitter import Submitter
from tests.support.sources import APP, app_files, text_of

EDGES = ("api", "web", "mcp")
# What limits a call to what its caller may do.
GUARDS = ("owner", "rights", "within_quota", "owns")
# What takes the caller, and no single guard.
SUBMITS = {name for name in vars(Submitter) if name.startswith("submit")}


class Call(NamedTuple):
    """A call of a function that has guards: from where, of what, and what it gives for each, as it is written."""

    caller: str
    called: str
    given: dict[str, str | None]


class _Finder(ast.NodeVisitor):
    def __init__(self, module: str, names: dict[str, Any]) -> None:
        self._names, self._place = names, [module.removeprefix("app.")]
        self.found: list[Call] = []

    def visit_FunctionDef(self, node: Any) -> None:
        self._place.append(node.name)
        self.generic_visit(node)
        self._place.pop()

    visit_AsyncFunctionDef = visit_ClassDef = visit_FunctionDef  # noqa: N815 (the names of `ast`)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in SUBMITS:  # its object is a dependency
            self.found.append(Call(".".join(self._place), f"Submitter.{node.func.attr}", {"rights": "a principal"}))
        elif (called := self._resolved(node.func)) is not None:
            self._note(called, node, [None, *node.args] if inspect.isclass(called) else node.args)
        for at, argument in enumerate(node.args):  # in_session(file_service.get_file, file_id, …)
            if (called := self._resolved(argument)) is not None and callable(called):
                self._note(called, node, [*self._sessions(called), *node.args[at + 1 :]])

    def _sessions(self, called: Any) -> list[None]:
        return [None] if "db" in inspect.signature(called).parameters else []

    def _note(self, called: Any, node: ast.Call, args: list[Any]) -> None:
        try:
            parameters = [*inspect.signature(called).parameters]
        except (TypeError, ValueError):
            return
        guards = [name for name in GUARDS if name in parameters]
        if not guards or not getattr(called, "__module__", "").startswith("app.") or inspect.isclass(called):
            return
        values = dict(zip(parameters, args, strict=False)) | {each.arg or "**": each.value for each in node.keywords}
        given = {name: None if values.get(name) is None else ast.unparse(values[name]) for name in guards}
        self.found.append(Call(".".join(self._place), called.__qualname__, given))

    def _resolved(self, node: ast.expr) -> Any:
        """What a name of the module stands for, and an attribute of such a name."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id)
        if isinstance(node, ast.Attribute) and (of := self._resolved(node.value)) is not None:
            return getattr(of, node.attr, None)
        return None


@cache
def guarded_calls() -> list[Call]:
    """Every call of the edges of a function that has guards."""
    return [each for path in app_files(*EDGES) for each in _calls_in(path)]


def _calls_in(path: Any) -> Iterator[Call]:
    module = ".".join(path.relative_to(APP.parent).with_suffix("").parts).removesuffix(".__init__")
    finder = _Finder(module, vars(importlib.import_module(module)))
    finder.visit(ast.parse(text_of(path)))
    yield from finder.found


def creators() -> set[tuple[str, str]]:
    """Who has tasks created or run again, and by which function."""
    return {(each.caller, each.called) for each in guarded_calls() if "rights" in each.given} - {
        (each.caller, each.called) for each in guarded_calls() if each.called == "types_for"
    }


def builders_of(name: str) -> set[str]:
    """The functions below the edges that call what has this name."""
    found = set()
    for path in [each for each in app_files() if f"{name}(" in text_of(each)]:
        module = ".".join(path.relative_to(APP).with_suffix("").parts)
        for node in ast.walk(ast.parse(text_of(path))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
                if any(isinstance(each.func, ast.Name) and each.func.id == name for each in calls):
                    found.add(f"{module}.{node.name}")
    return found
