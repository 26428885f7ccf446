"""Constants of the application that a test sets, so that a bound is reached in the processes that it starts.

The module is loaded with TASK_MODULES, and BOUNDS tells it: a JSON object of names and values, by modules. `bounded(…)`
makes the variable, `process_environment` adds the module; in a test's own process `settings` sets the constants.
"""

import json
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

MODULE = "tests.support.bounds"
VARIABLE = "BOUNDS"


def bounded(values: Mapping[ModuleType | str, Mapping[str, Any]]) -> dict[str, str]:
    """The environment of a part whose modules are to have these values by their names.

    A module is named by its text where importing it would take memory in the process that measures.
    """
    names = {each if isinstance(each, str) else each.__name__: dict(named) for each, named in values.items()}
    return {VARIABLE: json.dumps(names)}


def bounds_in(environment: Mapping[str, str]) -> Iterator[tuple[ModuleType, str, Any]]:
    """Each module, name and value that the environment tells."""
    for module, named in json.loads(environment.get(VARIABLE, "{}")).items():
        for name, value in named.items():
            found = import_module(module)
            assert hasattr(found, name), f"{module} has no {name}"
            yield found, name, value


def with_bounds(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with this module where it tells bounds."""
    if VARIABLE not in environment:
        return dict(environment)
    given = environment.get("TASK_MODULES", "")
    modules = json.loads(given) if given.startswith("[") else [each for each in given.split(",") if each]
    return {**environment, "TASK_MODULES": json.dumps([*modules, MODULE])}


for _module, _name, _value in bounds_in(os.environ):
    setattr(_module, _name, _value)
