"""Arguments by name, and the parameters that Python takes by place."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import pytest

from app.mcp.calls import arguments_by_place


def plain(a: int, *, b: int = 0) -> None: ...


def positional(a: int, b: int = 0, /, c: int = 0) -> None: ...


def several(a: int, *more: int, b: int = 0) -> None: ...


def anything(*args: int, **kwargs: int) -> None: ...


@pytest.mark.parametrize(
    ("body", "arguments", "args", "kwargs"),
    [
        (plain, {"a": 1, "b": 2}, [], {"a": 1, "b": 2}),
        (positional, {"c": 3, "b": 2, "a": 1}, [1, 2], {"c": 3}),
        (positional, {"a": 1, "c": 3}, [1], {"c": 3}),
        (positional, {"b": 2}, [], {"b": 2}),  # the check says that `a` is missing
        (several, {"a": 1, "more": [2, 3], "b": 4}, [1, 2, 3], {"b": 4}),
        (several, {"a": 1, "more": [], "b": 4}, [], {"a": 1, "b": 4}),
        (several, {"a": 1, "more": 2}, [], {"a": 1, "more": 2}),
        (several, {"more": [2]}, [], {"more": [2]}),
        (anything, {"args": [1, 2], "b": 3}, [1, 2], {"b": 3}),
    ],
)
def test_by_place(
    body: Callable[..., None], arguments: dict[str, Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    sent = dict(arguments)
    assert arguments_by_place(signature(body), arguments) == (args, kwargs)
    assert arguments == sent
