"""Packages of tests/requirements.txt and programs that a test may find missing: requirements.txt alone is enough to run the others."""

import shutil
from importlib.util import find_spec
from typing import Any

import pytest


def needs(module: str) -> pytest.MarkDecorator:
    """Skips a test where the module is not installed."""
    return pytest.mark.skipif(find_spec(module.partition(".")[0]) is None, reason=_reason(module))


def imported(module: str) -> Any:
    """The module; skips the running test where it is not installed."""
    return pytest.importorskip(module, reason=_reason(module))


def needs_program(name: str) -> pytest.MarkDecorator:
    """Skips a test where the program is not on the PATH."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"there is no {name} on this machine")


def _reason(module: str) -> str:
    return f"{module.partition('.')[0]} is not installed: pip install -r tests/requirements.txt"
