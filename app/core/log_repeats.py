"""Bounds how often an API process logs the same warning. Strangers cause some: malformed requests, for example."""

import logging
import time

ALLOWED = 20
WINDOW_SECONDS = 60.0
# Messages that are remembered. Their texts are the program's, so there are far fewer.
_MAX_MESSAGES = 1000


class _Seen:
    def __init__(self, until: float) -> None:
        self.until = until
        self.count = self.hidden = 0


class RepeatFilter(logging.Filter):
    """Lets each warning or error of the same logger and text, whatever its arguments, through ALLOWED times a minute.

    The last one that passes says that more are not shown, and the first one afterwards how many. No lock: records of
    two threads at the same moment may be counted as one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[tuple[str, str], _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record. Adds to its message what is not shown."""
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, str(record.msg)), time.monotonic()
        seen = self._seen.get(key)
        if seen is None or now >= seen.until:
            hidden = seen.hidden if seen else 0
            if len(self._seen) >= _MAX_MESSAGES:
                self._seen.clear()
            seen = self._seen[key] = _Seen(now + WINDOW_SECONDS)
            if hidden:
                _add(record, f"{hidden} more like this were not shown")
        seen.count += 1
        if seen.count > ALLOWED:
            seen.hidden += 1
            return False
        if seen.count == ALLOWED:
            _add(record, f"more like this are not shown for {WINDOW_SECONDS:.0f} s")
        return True


def _add(record: logging.LogRecord, remark: str) -> None:
    record.msg, record.args = f"{record.getMessage()} ({remark})", None
    record.__dict__.pop("color_message", None)  # uvicorn would log it instead of the message
