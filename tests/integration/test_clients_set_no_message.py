"""A client says which task and with what; how the message looks that brings it to a worker is none of its business."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.catalogue import catalogue
from app.celery_app import celery_app
from tests.support.services import Services
from tests.support.task_client import BODY, TASKS, TaskClient, shared_client

# What `apply_async` takes, what Celery writes into headers, and what a row keeps for itself.
MESSAGE = (
    "celery_id", "task_id", "queue", "exchange", "routing_key", "headers", "serializer", "compression", "link",
    "link_error", "callbacks", "errbacks", "chain", "chord", "group", "group_id", "root_id", "parent_id", "reply_to",
    "eta", "countdown", "expires", "time_limit", "soft_time_limit", "retries", "shadow", "ignore_result", "producer",
    "connection", "add_to_parent", "stamped_headers", "immutable", "options", "task_record", "task_generation", "task_signature",
    "generation", "dispatch_at", "claim_id", "attempt", "worker", "status", "user_id", "id",
)  # fmt: skip
WITHOUT_SENSE = ("celery.chord_unlock", "celery.starmap", "celery.group", "celery.backend_cleanup", "os.system", "")


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[httpx.Client]:
    with shared_client(services) as shared:
        yield shared


@pytest.mark.parametrize("field", MESSAGE)
@pytest.mark.parametrize("value", ["x", None], ids=["named", "null"])
def test_no_field_of_a_message_is_a_clients(tasks: TaskClient, field: str, value: Any) -> None:
    answer = tasks.post(body=BODY | {field: value})
    assert answer.status_code == 422, answer.text
    assert [(error["loc"], error["type"]) for error in answer.json()["errors"]] == [
        (["body", field], "extra_forbidden")
    ]


@pytest.mark.parametrize("name", WITHOUT_SENSE)
def test_only_tasks_of_the_catalogue_can_be_created(tasks: TaskClient, name: str) -> None:
    assert tasks.post(body=BODY | {"celery_task_name": name}).status_code == 422


def test_none_of_celerys_own_tasks_is_in_the_catalogue() -> None:
    ours = catalogue()
    assert [name for name in ours if name.startswith("celery.")] == []
    assert celery_app.tasks.keys() - ours.keys() >= {"celery.starmap", "celery.chord_unlock"}


@pytest.mark.parametrize("kind", ["uuid", "datetime", "decimal", "bytes", "no-such"])
def test_what_kombu_would_decode_comes_back_as_it_was_sent(tasks: TaskClient, kind: str) -> None:
    """`__type__` means nothing to us: arguments are not in the message."""
    sent = {"__type__": kind, "__value__": "x"}
    answer = tasks.post(body=BODY | {"kwargs": {"note": sent}, "metadata": {"note": sent}})
    assert answer.status_code == 201, answer.text
    read = tasks.http.get(TASKS + answer.json()["id"], headers=tasks.headers).json()
    assert json.loads(json.dumps([read["kwargs"]["note"], read["metadata"]["note"]])) == [sent, sent]
