"""The search of the pages, `status:failed type:import after:24h`, as filters of `GET /tasks/`.

It means what the pages of the service mean by it; a unit test compares both.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from task_service_client.cli.exits import Refused
from task_service_client.cli.language import t

_TOKEN = re.compile(r'(?:([a-z]+):)?(?:"((?:[^"\\]|\\.)*)"|(\S+))')
_AGO = re.compile(r"([0-9]{1,5})([mhd])")
_AGO_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_FINGERPRINT = re.compile("[0-9a-f]{32}")
STATUSES = ("pending", "running", "succeeded", "failed", "revoked")
PRIORITIES = ("low", "normal", "high", "critical")
REASONS = ("dependency", "schedule", "retry", "paused", "limit", "no_worker", "turn")


def _one_of(values: tuple[str, ...]) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in values:
            raise ValueError(t("one of {values}", values=", ".join(values)))
        return value

    return read


def _moment(value: str) -> str:
    """Return `24h` as the time so long ago, else a date or a time; without an offset it is in UTC."""
    try:
        if ago := _AGO.fullmatch(value):
            found = datetime.now(UTC) - timedelta(**{_AGO_UNITS[ago[2]]: int(ago[1])})
        else:
            found = datetime.fromisoformat(value.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        raise ValueError(t("a time such as 24h, 7d, 2026-11-30 or 2026-11-30T08:00Z")) from None


def _priority(value: str) -> str:
    """Return the priority; the service takes its numbers and `urgent` as well."""
    return _one_of(PRIORITIES)(
        {"urgent": PRIORITIES[-1], **dict(zip("1234", PRIORITIES, strict=True))}.get(value, value)
    )


def _fingerprint(value: str) -> str:
    if not _FINGERPRINT.fullmatch(value):
        raise ValueError(t("a fingerprint of `task-service errors`"))
    return value


def _id(value: str) -> str:
    try:
        return str(UUID(value))
    except ValueError:
        raise ValueError(t("an id")) from None


# The key of the search: the filter, how its value is read, whether a task may have several.
KEYS: dict[str, tuple[str, Callable[[str], str], bool]] = {
    "user": ("user_id", str, False),  # an id, `all`, or a name, which `Run.filters` looks up
    "status": ("status", _one_of(STATUSES), True),
    "type": ("task_type", str, False),
    "task": ("celery_task_name", str, False),
    "priority": ("priority", _priority, False),
    "queue": ("queue", str, False),
    "tag": ("tag", str, True),
    "name": ("name", str, False),
    "waiting": ("waiting_for", _one_of(REASONS), False),
    "limit": ("limit_name", str, False),
    "error": ("error", _fingerprint, False),
    "schedule": ("schedule_id", _id, False),
    "workflow": ("workflow_id", _id, False),
    "after": ("created_after", _moment, False),
    "before": ("created_before", _moment, False),
}


def parsed(text: str) -> dict[str, Any]:
    """Return the filters that a search means. Words without a key are a part of the name.

    Raises Refused for a part that means nothing, or contradicts another one.
    """
    filters: dict[str, Any] = {}
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        key, value = match[1], match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        if key is None:
            words.append(value)
        else:
            _take(filters, match[0], key, value)
    if words:
        _set(filters, "name", " ".join(words), " ".join(words))
    return filters


def _take(filters: dict[str, Any], whole: str, key: str, value: str) -> None:
    if key not in KEYS:
        raise Refused(
            t("{part}: there is no key {key}; the keys are {keys}", part=whole, key=key, keys=", ".join(KEYS))
        )
    name, read, is_list = KEYS[key]
    if key == "user" and value == "me":
        return  # what the server lists without this filter
    try:
        meant = read(value)
    except ValueError as error:
        raise Refused(t("{part}: the value is {wanted}", part=whole, wanted=error)) from None
    if is_list:
        filters.setdefault(name, []).append(meant)
    else:
        _set(filters, name, meant, whole)


def _set(filters: dict[str, Any], name: str, value: str, whole: str) -> None:
    if filters.setdefault(name, value) != value:
        raise Refused(t("{part}: a task has one of these, and another one is asked for", part=whole))
