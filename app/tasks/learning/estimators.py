"""What each training with scikit-learn shares: checked choices, counted warnings, one core. No polars."""

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`.

    Needed because a plain `.delay()` skips the signature's check.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value!r}")


class Warned:
    """Collects the warnings of scikit-learn, with the number of times that each came."""

    def __init__(self) -> None:
        # By category and message.
        self.counted: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def collecting(self) -> Iterator[None]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        self.counted.update((warning.category.__name__, str(warning.message)) for warning in caught)

    def texts(self) -> list[str]:
        return [
            f"{category}: {message}" + (f" ({count} times)" if count > 1 else "")
            for (category, message), count in self.counted.items()
        ]


def one_core() -> Any:
    """Limit BLAS and OpenMP to one core, because a worker slot is one core. They ignore `n_jobs`."""
    # Only libraries that are loaded are limited. Two threads on one free core took ten times as long as one.
    import sklearn.ensemble
    import sklearn.linear_model  # noqa: F401 - see above
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    return threadpool_limits(limits=1)
