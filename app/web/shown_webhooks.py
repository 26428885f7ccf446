"""Endpoints and deliveries as the pages show them: what is well, and how the receivers answered."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from urllib.parse import urlsplit

from app.core import drawing
from app.models.webhook import DisabledReason, WebhookEndpoint
from app.schemas.webhook import DeliveryRead
from app.web.responses import JSONTexts, ShownJSON

COLUMNS = 50
FILTERS = ("task_type", "tag", "celery_task_name")


@dataclass(frozen=True)
class Health:
    """Whether an endpoint gets what it should: `well`, `failing`, `gone`, `disabled` (by its owner), and since when.

    `gave_up`: the service has disabled it, since nothing got through for days.
    """

    kind: str
    since: datetime | None = None

    @property
    def is_trouble(self) -> bool:
        return self.kind in {"failing", "gone", "gave_up"}


def health_of(endpoint: WebhookEndpoint) -> Health:
    """Return how an endpoint is, by what its deliveries have left in its row."""
    if not endpoint.enabled:
        kinds = {DisabledReason.GONE.value: "gone", DisabledReason.FAILING.value: "gave_up"}
        return Health(kinds.get(endpoint.disabled_reason or "", "disabled"), endpoint.disabled_at)
    if endpoint.failing_since:
        return Health("failing", endpoint.failing_since)
    return Health("well")


def last_error(deliveries: Iterable[DeliveryRead]) -> str | None:
    """Return why the last of the attempts of these deliveries failed that did."""
    failed = [attempt for each in deliveries for attempt in each.attempts if attempt.error]
    return max(failed, key=lambda attempt: attempt.at).error if failed else None


@dataclass(frozen=True)
class Latencies:
    """How long the newest attempts took: the bars by time, oldest first, and the numbers in seconds."""

    bars: Sequence[drawing.Bar]
    number: int
    median: float
    longest: float


def latencies_of(deliveries: Iterable[DeliveryRead]) -> Latencies | None:
    """Return the picture of the attempts of these deliveries; None without any."""
    found = sorted((attempt for each in deliveries for attempt in each.attempts), key=lambda attempt: attempt.at)
    if not found:
        return None
    seconds = [attempt.latency_seconds for attempt in found]
    # In milliseconds, of which each has one at least: it can be seen.
    sizes = [(max(round(each.latency_seconds * 1000), 1), each.error is None) for each in found]
    few = [0] * (COLUMNS - len(sizes))  # few attempts are not drawn as few broad bars
    parts = {kind: [*few, *(size if well is got else 0 for size, well in sizes)] for kind, got in _KINDS}
    return Latencies(drawing.columns(parts), len(found), median(seconds), max(seconds))


_KINDS = (("succeeded", True), ("failed", False))


def name_of(url: str) -> str:
    """Return the URL without scheme and query, as a short name of the receiver."""
    parts = urlsplit(url)
    return (parts.netloc + parts.path).rstrip("/") or url


def shown_body(body: bytes | None) -> ShownJSON | None:
    """Return the body as indented JSON, in the bounds of a page; None before the first attempt has made it."""
    return None if body is None else JSONTexts().show(json.loads(body))
