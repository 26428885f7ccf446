"""Named points at which a process of the service dies, fails or waits; loaded with TASK_MODULES, told by FAILPOINTS.

FAILPOINTS is a JSON list. Of each point:

    at         "app.messaging.wakeups:publish", or "module:Class.method"
    when       "before" (the default) or "after" the call
    do         "kill" (SIGKILL), "raise:ValueError" (a builtin, or a dotted name), "wait:/path" (until the file exists)
    times      how many calls in one process act (1)
    once_file  a path: of all processes together, the one that makes this file acts, and no other

The file is made just before the point acts, so a test can wait for it. `failpoints(…)` makes the variables.
"""

import builtins
import functools
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MODULE = "tests.support.faults.failpoints"
VARIABLE = "FAILPOINTS"
NAP = 0.01


def failpoints(*points: dict[str, Any], modules: tuple[str, ...] = ("tests.support.ledger_tasks",)) -> dict[str, str]:
    """The environment of a part that is to have these points, and these task modules."""
    return {VARIABLE: json.dumps(points), "TASK_MODULES": json.dumps([*modules, MODULE])}


def install(points: list[dict[str, Any]]) -> None:
    """Wrap every function that is named, once for each of its points."""
    for point in points:
        _install(_Point(**point))


class _Point:
    def __init__(self, at: str, do: str, when: str = "before", times: int = 1, once_file: str | None = None) -> None:
        self.at, self.do, self.when, self.left, self.once_file = at, do, when, times, once_file

    def reached(self) -> None:
        if self.left > 0 and self._is_ours():
            self.left -= 1
            self._act()

    def _is_ours(self) -> bool:
        if self.once_file is None:
            return True
        try:
            Path(self.once_file).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _act(self) -> None:
        kind, _, argument = self.do.partition(":")
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif kind == "raise":
            raise _error(argument)(f"failpoint at {self.at}")
        elif kind == "wait":
            while not Path(argument).exists():
                time.sleep(NAP)
        else:
            raise ValueError(f"a failpoint cannot {self.do!r}")


def _error(name: str) -> type[BaseException]:
    module, _, attribute = name.rpartition(".")
    found = getattr(importlib.import_module(module) if module else builtins, attribute)
    assert issubclass(found, BaseException)
    return found


def _install(point: _Point) -> None:
    module_name, _, path = point.at.partition(":")
    owner: Any = importlib.import_module(module_name)
    *classes, name = path.split(".")
    for each in classes:
        owner = getattr(owner, each)
    raw = owner.__dict__[name]
    binding = type(raw) if isinstance(raw, classmethod | staticmethod) else None
    original = raw.__func__ if binding else raw
    wrapper = _wrapped(original, point)
    setattr(owner, name, binding(wrapper) if binding else wrapper)
    if not classes:
        _replace_everywhere(original, wrapper)


def _wrapped(original: Callable[..., Any], point: _Point) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if point.when == "before":
            point.reached()
        result = original(*args, **kwargs)
        if point.when == "after":
            point.reached()
        return result

    return wrapper


def _replace_everywhere(original: Any, wrapper: Any) -> None:
    """Whoever imported the function by name calls the wrapper as well."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("app."):
            continue
        for attribute, value in list(vars(module).items()):
            if value is original:
                setattr(module, attribute, wrapper)


if os.environ.get(VARIABLE):
    install(json.loads(os.environ[VARIABLE]))
