"""The webhooks of workflows: one event for each end."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models.webhook import WebhookDelivery
from app.services.execution import ends
from app.services.task_service import task_service
from app.services.workflows import dependents
from app.services.workflows.service import workflow_service
from tests.support.settings import settings
from tests.support.tasks import ERROR, claim_next, new_user
from tests.support.webhooks import ALLOWED, endpoint
from tests.support.workflows import settle, sleep

EVENTS = [f"workflow.{how}" for how in ("succeeded", "failed", "revoked")]


def told(db: Session) -> list[dict[str, Any]]:
    """The bodies that are recorded, in their order."""
    found = select(WebhookDelivery).where(WebhookDelivery.type.in_(EVENTS)).order_by(WebhookDelivery.id)
    return [json.loads(each.body or b"") for each in db.scalars(found)]


def end(db: Session, ending: ends.Ending) -> None:
    (claimed,) = claim_next(db)
    assert ends.end_attempt(db, claimed.id, claimed.attempt, ending)
    db.commit()
    settle(db)


@pytest.fixture(autouse=True)
def _released() -> Iterator[None]:
    yield
    assert dependents.flush_releases(10)


@pytest.fixture(autouse=True)
def _allowed(db: Session) -> Iterator[None]:
    """Requests may go to this machine."""
    del db
    with settings(ALLOWED):
        yield


class TestEnds:
    def test_are_told_once_each_with_the_workflow_as_get_shows_it(self, db: Session) -> None:
        user = new_user(db)
        endpoint(db, user, events=EVENTS)
        made = task_service.create_workflow(db, "two", [sleep("a"), sleep("b", "a")], user_id=user)
        end(db, ends.succeeded(1))
        assert told(db) == []
        end(db, ends.failed(ERROR))
        (event,) = told(db)
        shown = workflow_service.get_workflow(db, made.id)
        assert (event["type"], event["data"]) == ("workflow.failed", shown.model_dump(mode="json"))
        settle(db)
        workflow_service.retry_workflow(db, made.id)
        end(db, ends.succeeded(1))
        assert [each["type"] for each in told(db)] == ["workflow.failed", "workflow.succeeded"]
        assert dependents.flush_releases(10)

    def test_that_is_not_noted_yet_is_told_before_a_retry(self, db: Session) -> None:
        user = new_user(db)
        endpoint(db, user, events=EVENTS)
        made = task_service.create_workflow(db, "one", [sleep("a")], user_id=user)
        (claimed,) = claim_next(db)
        assert ends.end_attempt(db, claimed.id, claimed.attempt, ends.failed(ERROR))
        db.commit()
        task_service.retry_task(db, claimed.id)
        settle(db)
        assert [each["type"] for each in told(db)] == ["workflow.failed"]
        assert workflow_service.get_workflow(db, made.id).status == "running"

    def test_of_a_cancellation_is_told_in_its_transaction(self, db: Session) -> None:
        user = new_user(db)
        endpoint(db, user, events=EVENTS)
        made = task_service.create_workflow(db, "one", [sleep("a")], user_id=user)
        workflow_service.cancel_workflow(db, made.id)
        settle(db)
        assert [each["type"] for each in told(db)] == ["workflow.revoked"]
        assert dependents.flush_releases(10)

    def test_are_not_told_to_an_endpoint_with_a_filter(self, db: Session) -> None:
        user: UUID = new_user(db)
        endpoint(db, user, events=EVENTS, filter={"tag": "x"})
        task_service.create_workflow(db, "one", [sleep("a", tags=["x"])], user_id=user)
        end(db, ends.succeeded(1))
        assert told(db) == []
        assert dependents.flush_releases(10)
