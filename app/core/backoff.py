"""The delay before the next attempt."""

import random


def backoff_seconds(base: float, failures: int, *, maximum: float = 600, jitter: bool = True) -> float:
    """Return the exponential back-off in seconds: `base` doubled for each failure, at most `maximum`.

    With jitter, between half of it and all of it, so that tasks that failed together do not return together. Celery's
    own jitter may shorten the delay to zero, and counts whole seconds.
    """
    delay: float = min(maximum, base * 2 ** min(failures, 32))
    return delay * random.uniform(0.5, 1.0) if jitter else delay  # noqa: S311 (not a secret)
