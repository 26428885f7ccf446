"""What deliveries say of their endpoints: since when nothing gets through, and which are disabled for it."""

import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.ddl.clock import NOW
from app.models.webhook import DisabledReason, WebhookEndpoint, WebhookEvent
from app.services import audit
from app.services.webhooks import dropping, endpoints
from app.services.webhooks.outcomes import Ended
from app.services.webhooks.sending import Outcome

logger = logging.getLogger(__name__)

# Nothing got through for so long, and one has just failed: the endpoint is disabled.
FAILING_FOR = timedelta(days=5)

# An endpoint, and when it was changed last: what was sent before a change says nothing of what it is now.
_State = tuple[UUID, datetime]


def note(db: Session, ended: Collection[Ended]) -> None:
    """Note what these deliveries say of their endpoints, as far as these are unchanged since they were taken.

    Nearly always that is nothing new, and no row is locked.
    """
    said: dict[_State, list[Outcome]] = {}
    for taken, outcome in ended:
        if taken.endpoint_id is not None and taken.endpoint_at is not None:
            said.setdefault((taken.endpoint_id, taken.endpoint_at), []).append(outcome)
    if not said:
        return
    with transaction(db):
        news = _news(db, said)
        if news:
            for state, values in _news(db, {each: said[each] for each in news}, lock=True).items():
                _write(db, state, values)


def _news(db: Session, said: dict[_State, list[Outcome]], *, lock: bool = False) -> dict[_State, dict[str, Any]]:
    """What is to be written of these endpoints; `lock` has them stay so until the transaction ends."""
    row = WebhookEndpoint
    found = (
        sa.select(row.id, row.updated_at, row.failing_since, NOW.label("now"))
        .where(row.id.in_({endpoint_id for endpoint_id, _ in said}), row.enabled)
        .order_by(row.id)
    )
    rows = db.execute(found.with_for_update() if lock else found).all()
    news = {(each.id, each.updated_at): _news_of(each, said.get((each.id, each.updated_at), ())) for each in rows}
    return {state: values for state, values in news.items() if values}


def _news_of(row: Any, outcomes: Collection[Outcome]) -> dict[str, Any]:
    if any(each.is_gone for each in outcomes):
        return _disabled(DisabledReason.GONE)
    if any(each.succeeded for each in outcomes):
        return {} if row.failing_since is None else {"failing_since": None}
    if not outcomes:
        return {}
    if row.failing_since is None:
        return {"failing_since": NOW}
    return _disabled(DisabledReason.FAILING) if row.failing_since < row.now - FAILING_FOR else {}


def _disabled(reason: DisabledReason) -> dict[str, Any]:
    values = {"enabled": False, "disabled_at": NOW, "disabled_reason": reason.value, "updated_at": NOW}
    return values | {"failing_since": sa.func.coalesce(WebhookEndpoint.failing_since, NOW)}


def _write(db: Session, state: _State, values: dict[str, Any]) -> None:
    """Write this of an endpoint; where it is disabled by it, the audit says so, and what is queued is not sent.

    The user's tasks stay followed until the user disables or deletes the endpoint: then the user's row is locked.
    """
    row, endpoint_id = WebhookEndpoint, state[0]
    written = sa.update(row).where(row.id == endpoint_id).values(values)
    db.execute(written.execution_options(synchronize_session=False))
    if reason := values.get("disabled_reason"):
        disabled = endpoints.find(db, None, endpoint_id)
        dropping.close_lane(db, disabled)
        owner = disabled.user_id
        subject = endpoints.subject_of(disabled)
        audit.record(db, WebhookEvent.DISABLED, subject, actor=None, reason=reason, owner=str(owner))
        logger.warning("webhooks: endpoint %s of user %s is disabled: %s", endpoint_id, owner, reason)
