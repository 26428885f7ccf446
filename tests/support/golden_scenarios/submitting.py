"""Creating tasks: alone, in batches, under keys, within quotas and limits."""

from typing import Any

import pytest

from app.core.ids import new_id
from app.db.session import SessionLocal
from app.errors import InvalidTask, LimitReached, UniqueKeyTaken
from app.schemas.task import TaskCreate
from app.services.task_service import task_service
from app.services.tasks import idempotency, quotas
from tests.support.golden_scenarios.stage import Stage, settle
from tests.support.settings import sql
from tests.support.task_client import BODY, TaskClient
from tests.support.tasks import new_user

LARGE = {"kwargs": {"text": "x" * 100_000}}
LATER = {"delay_seconds": 3600}
FETCH = {"celery_task_name": "app.tasks.common_tasks.fetch_url", "args": ["https://example.com"]}


def submits(stage: Stage) -> None:
    """One task by a login and by an API key, small and large, and what reads it back."""
    mine = stage.user()
    key = stage.call(mine, "POST", "/auth/api-keys", 201, json={"name": "k", "scopes": ["tasks:read", "tasks:write"]})
    by_key = TaskClient(stage.client, mine.user, key.json()["key"])
    created = [_create(stage, who, **more) for who in (mine, by_key) for more in ({}, LARGE, LATER)]
    stage.call(mine, "POST", "/tasks/batch", 201, json={"tasks": [BODY, BODY | LARGE]})
    for who in (mine, by_key, stage.user("admin")):
        for task_id in created[:2]:
            stage.call(who, "GET", f"/tasks/{task_id}")
            stage.call(who, "GET", f"/tasks/{task_id}?wait=0", headers={"If-None-Match": '"0"'})
    stage.call(mine, "GET", f"/tasks/{new_id()}", 404)
    with SessionLocal() as db:
        user = new_user(db)
        wanted = [TaskCreate(**BODY), TaskCreate(**BODY | LATER)]
        task_service.create_tasks(db, wanted, user, within_quota=True)
        task_service.create_tasks(db, wanted, user, commit=False)
        db.commit()
        with pytest.raises(InvalidTask):
            task_service.create_tasks(db, wanted, new_id())
        with pytest.MonkeyPatch.context() as patched:  # the sum of what is kept is read again
            patched.setattr(quotas, "STORED_SECONDS", 0)
            task_service.create_tasks(db, wanted, user, within_quota=True)
        tasks = task_service.create_tasks(db, wanted, user)
        assert [each.turn for each in tasks]  # read when it is asked for


def _create(stage: Stage, who: TaskClient | None, status: int = 201, **more: Any) -> str:
    headers = more.pop("headers", {})
    answer = stage.call(who, "POST", "/tasks/", status, json=BODY | more, headers=headers)
    return str(answer.json().get("id"))


def idempotency_keys(stage: Stage) -> None:
    """New, repeated, used for another request, and of a deleted task; alone and for a batch."""
    mine = stage.user()
    once, batch = {"Idempotency-Key": "once"}, {"Idempotency-Key": "batch"}
    task_id = _create(stage, mine, headers=once)
    assert _create(stage, mine, headers=once) == task_id
    _create(stage, mine, 422, name="another", headers=once)
    for _ in range(2):
        stage.call(mine, "POST", "/tasks/batch", 201, json={"tasks": [BODY, BODY]}, headers=batch)
    stage.call(mine, "DELETE", f"/tasks/{task_id}?force=true", 204)
    _create(stage, mine, 409, headers=once)
    for _ in range(2):
        _create(stage, mine, unique_key="a", headers={"Idempotency-Key": "with a unique key"})
    sql("UPDATE idempotency_keys SET created_at = created_at - interval '2 days'")
    _create(stage, mine, headers=once)
    with SessionLocal() as db:
        idempotency.prune(db)


def unique_keys_taken(stage: Stage) -> None:
    """A key that another task has: refused, that task, or that task replaced; alone, in a batch and by a retry."""
    mine = stage.user()
    held = _create(stage, mine, unique_key="a", **LATER)
    _create(stage, mine, 409, unique_key="a")
    assert _create(stage, mine, 200, unique_key="a", on_conflict="return") == held
    for more in (
        LATER | {"name": "later"},
        {"name": "now"},
        {"priority": "high"},
        {"tags": ["a"], "metadata": {"b": 1}},
    ):
        assert _create(stage, mine, 200, unique_key="a", on_conflict="replace", **more) == held
    _create(stage, mine, 409, unique_key="a", on_conflict="replace", **FETCH)
    _create(stage, mine, unique_key="b", **LATER)
    batch = [
        BODY | {"unique_key": key, "on_conflict": how}
        for key, how in (("a", "return"), ("b", "replace"), ("c", "reject"))
    ]
    stage.call(mine, "POST", "/tasks/batch", 201, json={"tasks": [*batch, BODY]})
    stage.call(mine, "POST", f"/tasks/{held}/cancel")
    stage.call(mine, "POST", f"/tasks/{held}/retry", 202)
    stage.call(mine, "POST", f"/tasks/{held}/cancel")
    stage.call(mine, "POST", f"/tasks/{held}/retry", 201, json={"name": "again", "unique_key": "a"})
    stage.call(mine, "POST", f"/tasks/{held}/retry", 409)
    user_id = mine.user["id"]
    with SessionLocal() as db:
        wanted = [TaskCreate(**BODY | {"unique_key": key}) for key in ("d", "e")]
        task_service.create_tasks(db, wanted, user_id)
        with pytest.raises(UniqueKeyTaken):
            task_service.create_tasks(db, wanted, user_id, commit=False)
        db.rollback()
        with pytest.MonkeyPatch.context() as patched:  # another transaction was faster: the look-up saw nothing yet
            patched.setattr("app.services.tasks.unique_keys.holders", lambda *_: {})
            with pytest.raises(UniqueKeyTaken):
                task_service.create_tasks(db, wanted, user_id)
    settle()


def limits_of_submits(stage: Stage) -> None:
    """Tasks that name a limit, by each answer to too many of them."""
    mine = stage.user()
    rate = {"count": 1, "period_seconds": 60}
    with SessionLocal() as db:
        task_service.put_limit(db, "waits", concurrency=1)
        task_service.put_limit(db, "rejects", concurrency=1, concurrency_per_key=1, on_excess="reject")
        task_service.put_limit(db, "rates", rate=rate, rate_per_key=rate, on_excess="reject")
        task_service.put_limit(db, "rates_of_keys", rate_per_key=rate, on_excess="reject")
        task_service.put_limit(db, "cancels", concurrency_per_key=1, on_excess="cancel_oldest")
    settle()
    for limit, second in (("waits", 201), ("rejects", 409), ("rates", 409), ("cancels", 201)):
        for status in (201, second):
            _create(stage, mine, status, limit=limit, limit_key="k")
    _create(stage, mine, 409, limit="rejects")
    _create(stage, mine, 422, limit="unknown")
    stage.call(mine, "POST", "/tasks/batch", 201, json={"tasks": [BODY, BODY | {"limit": "waits"}]})
    with SessionLocal() as db:
        wanted = TaskCreate(**BODY | {"limit": "waits", "unique_key": "a", "on_conflict": "replace"})
        for limit in ("waits", "cancels"):
            task_service.create_tasks(db, [wanted.model_copy(update={"limit": limit})], mine.user["id"])
        with pytest.raises(LimitReached):
            task_service.create_tasks(db, [TaskCreate(**BODY | {"limit": "rejects"})], mine.user["id"])
