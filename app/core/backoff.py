"""How long to wait before the next attempt."""

import random


def backoff_seconds(base: float, failures: int, *, maximum: float = 600, jitter: bool = True) -> float:
    """Exponential back-off: `base`, twice that, four times, … at most `maximum` seconds.

    With jitter, anywhere between half of it and all of it, so that tasks that failed together do not return together.
    (Celery's own full jitter goes down to zero, which is no back-off at all; it also counts in whole seconds.)
    """
    delay: float = min(maximum, base * 2 ** min(failures, 32))
    return delay * random.uniform(0.5, 1.0) if jitter else delay  # noqa: S311 (not a secret)
