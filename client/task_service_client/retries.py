"""When a request is sent again, and after how long."""

import math
import random
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from task_service_client.errors import ApiError

ATTEMPTS = 6
FIRST_SECONDS, MOST_SECONDS = 0.25, 8.0
# A server that asks for more is believed, and its answer given to the caller.
MOST_RETRY_AFTER_SECONDS = 60.0
TOO_MANY, UNAVAILABLE = 429, 503
# A proxy got no answer of the server, which may have done what was asked.
OF_PROXIES = (502, 504)
IN_FLIGHT = "idempotency_key_in_flight"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110 §10.2.3), which may be a date; None without one."""
    said = headers.get("retry-after")
    if said is None:
        return None
    try:
        seconds = float(said)
        return max(0.0, seconds) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def backoff(attempt: int) -> float:
    """Return the seconds before the next attempt: doubled each time, with half of it by chance."""
    seconds: float = min(MOST_SECONDS, FIRST_SECONDS * 2**attempt)
    return seconds * random.uniform(0.5, 1)  # noqa: S311 (no secret)


def delay_of(answer: ApiError, attempt: int, *, is_repeatable: bool) -> float | None:
    """Return the seconds after which this answer is worth another attempt; None where it is the answer."""
    status, asked = answer.status, answer.retry_after
    is_of_proxy = status in OF_PROXIES or (status == UNAVAILABLE and not answer.is_of_service)
    if is_of_proxy and not is_repeatable:
        return None
    if not is_of_proxy and status not in (TOO_MANY, UNAVAILABLE) and answer.code != IN_FLIGHT:
        return None
    if asked is None:
        return backoff(attempt) if status != TOO_MANY else None
    return asked + random.uniform(0, 0.25) if asked <= MOST_RETRY_AFTER_SECONDS else None  # noqa: S311 (no secret)
