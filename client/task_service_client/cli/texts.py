"""Values as people read them: times, durations, sizes, and texts that may come from strangers."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from task_service_client.cli.language import t

# What a terminal would obey: C0 and C1 without tab and line feed, and what turns the direction of writing.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
# Of these, what JSON may hold as it is (RFC 8259, section 7).
_UNESCAPED = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
KIB = 1024


def safe(text: str) -> str:
    """Return the text without characters that steer a terminal."""
    return _CONTROL.sub("�", text)


def as_json(value: Any, **options: Any) -> str:
    """Return a value as JSON without characters that steer a terminal: they are escaped. `options` are json.dumps'."""
    written = json.dumps(value, ensure_ascii=False, **options)
    return _UNESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", written)


def one_line(text: str) -> str:
    return safe(" ".join(text.split()))


def moment(value: str) -> datetime:
    """Return a time of an answer (RFC 3339)."""
    return datetime.fromisoformat(value)


def ago(value: str, now: datetime | None = None) -> str:
    """Return how long ago a time was: `12s`, `5m`, `3h`, `8d`; of one to come, `in 5m`."""
    seconds = _age(value, now)
    return short(seconds) if seconds >= 0 else t("in {duration}", duration=short(-seconds))


def since(value: str, now: datetime | None = None) -> str:
    """Return the same as a phrase: `5m ago`."""
    seconds = _age(value, now)
    return t("{duration} ago", duration=short(seconds)) if seconds >= 0 else ago(value, now)


def _age(value: str, now: datetime | None) -> float:
    return ((now or datetime.now(UTC)) - moment(value)).total_seconds()


def short(seconds: float) -> str:
    """Return a duration in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: `0:07`, `1:02:03`."""
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def local(value: str) -> str:
    """Return a time in the zone of this machine, in the form that `after:` takes."""
    return moment(value).astimezone().isoformat(timespec="seconds")


def size(count: float) -> str:
    """Return a number of bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < KIB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= KIB
    return f"{count:.1f} TiB"


def compact(value: Any) -> str:
    """Return a value in one line: texts as they are, nothing for null and what is empty, JSON for all else."""
    if value is None or value in ([], {}):
        return ""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ",".join(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
