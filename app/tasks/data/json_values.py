"""Values of columns as JSON: nothing that JSON has not, and nothing that a reader of JSON would round."""

import datetime as dt
import math
from typing import Any

# I-JSON (RFC 7493): a reader may take every number for one of 64 bits with a fraction, which holds these integers.
EXACT = range(-(2**53) + 1, 2**53)
MAX_CHARACTERS = 200


def json_value(value: Any) -> Any:
    """Return the value as JSON.

    Dates and times are text of ISO 8601, a timestamp with an offset in UTC. Integers beyond 2**53 and decimals are text
    with all digits. Infinity is text, NaN is null. Text is cut after MAX_CHARACTERS.
    """
    match value:
        case None | bool():
            return value
        case int() if value in EXACT:
            return value
        case float():
            return _of_float(value)
        case dt.datetime(tzinfo=zone) if zone is not None:
            text = value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
        case dt.date():
            text = value.isoformat()
        case _:
            text = str(value)
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 1]}…"


def _of_float(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
