"""Hypothesis as the unit tests use it. Where it is not installed, a property is skipped and its module still runs."""

from typing import Any, Self

from tests.support.amounts import amount
from tests.support.tools import needs

try:
    from hypothesis import HealthCheck, example, given, settings, strategies as st
except ModuleNotFoundError:

    class _Absent:
        """Takes the place of any strategy and setting: they are built while a module is imported."""

        def __getattr__(self, _name: str) -> Self:
            return self

        def __call__(self, *_args: Any, **_kwargs: Any) -> Self:
            return self

        __or__ = __call__

    def given(*_args: Any, **_kwargs: Any) -> Any:  # type: ignore[no-redef]
        return needs("hypothesis")

    def example(*_args: Any, **_kwargs: Any) -> Any:  # type: ignore[no-redef]
        return lambda test: test

    def settings(*_args: Any, **_kwargs: Any) -> Any:  # type: ignore[no-redef]
        return lambda test: test

    def load_profile() -> None:
        """Do nothing."""

    HealthCheck = st = _Absent()
else:

    def load_profile() -> None:
        """Give each property its examples, a fifth by day, and all time: 0.2 s for one tells of a busy machine alone."""
        settings.register_profile("unhurried", settings(), deadline=None, max_examples=amount(day=20, night=100))
        settings.load_profile("unhurried")


# Any value of JSON, of a few levels.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)

__all__ = ["JSON", "HealthCheck", "example", "given", "settings", "st"]
