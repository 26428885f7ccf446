"""How much of the audit one user may cause: so many recorded deeds a minute and a day, and the next one is refused.

A record is never left out: what exceeds the limit is not done. Each process counts for itself, in memory, so N
processes together admit up to N times the limits, and a restart begins anew. A deed counts when it is recorded, whether
or not its transaction commits.
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from app.core.config import Settings
from app.errors import TooManyDeeds
from app.models.api_key import ApiKeyEvent
from app.models.audit import AuditEvent

MINUTE, DAY = 60, 86_400
# The longest unused ones are forgotten first.
MAX_CALLERS = 10_000
# Closed routes, asked without a login or key: the callers are address blocks, named with this in front.
ANONYMOUS, ANONYMOUS_PER_MINUTE = "address ", 120

# Recorded whatever was before: something else limits their number, and a refusal would do harm.
NEVER_REFUSED = frozenset(
    {
        # The throttle of logins limits these; they count a guess, and end what a thief may use.
        AuditEvent.LOGIN_FAILED,
        AuditEvent.LOGIN_THROTTLED,
        # Once for each login.
        AuditEvent.TOKEN_REPLAYED,
        AuditEvent.LOGOUT,
        AuditEvent.SESSION_ENDED,
        # Once for each key; its use, once a minute.
        ApiKeyEvent.REVOKED,
        ApiKeyEvent.USED,
        # Counted before the answer, which is sent before the record is written.
        AuditEvent.ACCESS_DENIED,
        # Once a window.
        AuditEvent.DEEDS_THROTTLED,
        AuditEvent.AUDIT_PRUNED,
    }
)


@dataclass(slots=True)
class _Window:
    """The deeds of one caller since the window began."""

    seconds: int
    name: str
    ends_at: float = 0.0
    deeds: int = 0
    refused: bool = False


class DeedLimits:
    """Admits deeds of callers within AUDITED_DEEDS_PER_MINUTE and AUDITED_DEEDS_PER_DAY. One for each process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # Apart: of blocks of addresses anybody may have many, and none of them may have a user's count forgotten.
        self._users: OrderedDict[str, tuple[_Window, _Window]] = OrderedDict()
        self._strangers: OrderedDict[str, tuple[_Window, _Window]] = OrderedDict()

    def admit(self, caller: str, settings: Settings) -> None:
        """Count a deed of this caller: a user's id, or ANONYMOUS and an address block.

        Raises TooManyDeeds, and then counts nothing. The first refusal of a window is marked to be recorded.
        """
        minute, day = settings.audited_deeds_per_minute, settings.audited_deeds_per_day
        if caller.startswith(ANONYMOUS):
            minute = min(minute, ANONYMOUS_PER_MINUTE) if minute else ANONYMOUS_PER_MINUTE
        with self._lock:
            now = self._clock()
            windows = self._windows(caller)
            for window, limit in zip(windows, (minute, day), strict=True):
                if now >= window.ends_at:
                    window.ends_at, window.deeds, window.refused = now + window.seconds, 0, False
                if limit and window.deeds >= limit:
                    raise self._refusal(window, limit, now)
            for window in windows:
                window.deeds += 1

    def _windows(self, caller: str) -> tuple[_Window, _Window]:
        callers = self._strangers if caller.startswith(ANONYMOUS) else self._users
        windows = callers.setdefault(caller, (_Window(MINUTE, "a minute"), _Window(DAY, "a day")))
        callers.move_to_end(caller)
        if len(callers) > MAX_CALLERS:
            callers.popitem(last=False)
        return windows

    def _refusal(self, window: _Window, limit: int, now: float) -> TooManyDeeds:
        first, window.refused = not window.refused, True
        seconds = max(1, math.ceil(window.ends_at - now))
        return TooManyDeeds(f"{limit} recorded actions {window.name}", retry_after=seconds, limit=limit, first=first)


deed_limits = DeedLimits()
