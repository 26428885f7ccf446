"""When a delivery that has failed is tried again: over three days, the second attempt within a minute."""

import random

MINUTE, HOUR, DAY = 60, 3600, 86_400
# Seconds after each failed attempt: 71.6 hours in all.
DELAYS = (10, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 20 * HOUR)
MAX_RETRY_AFTER = float(DAY)
# From the first attempt to the last one, whatever the receiver asks for.
LASTS = 3.0 * DAY


def delay_after(tries: int, retry_after: float | None, elapsed: float = 0.0) -> float | None:
    """Return the seconds to wait after the failed attempt number `tries`; None: it was the last one.

    The receiver's `retry_after`, which the caller has bounded by MAX_RETRY_AFTER, makes it longer and never shorter.
    Otherwise up to a tenth is added or taken, so that what failed together does not return together. `elapsed`: the
    seconds since the first attempt. None is made later than LASTS after it, nor earlier than the receiver asks for.
    """
    left, asked = LASTS - elapsed, retry_after or 0.0
    if tries > len(DELAYS) or left <= 0 or asked > left:
        return None
    delay: float = DELAYS[tries - 1] * random.uniform(0.9, 1.1)  # noqa: S311 (not a secret)
    return min(max(delay, asked), left)
