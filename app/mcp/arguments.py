"""The arguments of a tool have names; some parameters of a Python function have none."""

from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any


def by_place(signature: Signature, arguments: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return `args` and `kwargs` of a task with these arguments.

    Parameters that Python takes by position alone, and `*args`, stand in `args`; what cannot stand there, because one
    before it is missing, stays in `kwargs`, and the check of the parameters names it.
    """
    kwargs = dict(arguments)
    several = next((p.name for p in signature.parameters.values() if p.kind is p.VAR_POSITIONAL), None)
    more = kwargs.get(several) if several is not None else None
    has_more = isinstance(more, list) and bool(more)
    placed = {Parameter.POSITIONAL_ONLY, *([Parameter.POSITIONAL_OR_KEYWORD] if has_more else ())}
    args: list[Any] = []
    for each in signature.parameters.values():
        if each.kind not in placed:
            continue
        if each.name not in kwargs:
            return args, kwargs
        args.append(kwargs.pop(each.name))
    if several is not None and isinstance(more, list):
        args += more
        del kwargs[several]
    return args, kwargs
