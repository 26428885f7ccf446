"""Whoever loses a right while a request waits gets no answer by it: not after `?wait=`, nor after a wait for a thread."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

from app.core import fair_threads
from app.db.session import SessionLocal
from app.models import ApiKey
from app.models.auth import LoginSession
from app.services.accounts.sessions import session_service
from app.services.task_service import task_service
from app.services.user_service import user_service
from tests.support.accounts import API, PASSWORD, MakeUser, bearer
from tests.support.task_client import TASKS, TaskClient, is_waited_for, module_client, task_client
from tests.support.waiting import wait_for

client = module_client(API_THREADS="1")
SECONDS = 30
IN_A_THREAD = f"{TASKS}?skip=0"  # without `skip` such a page is read together with others


def log_out(caller: TaskClient, admin: TaskClient) -> None:
    assert caller.http.post(f"{API}/auth/logout", headers=caller.headers).status_code == 204


def change_the_password(caller: TaskClient, admin: TaskClient) -> None:
    passwords = {"current_password": PASSWORD, "new_password": f"{PASSWORD} another"}
    answer = caller.http.put(f"{API}/users/me/password", json=passwords, headers=caller.headers)
    assert answer.status_code == 204, answer.text


def be_deactivated(caller: TaskClient, admin: TaskClient) -> None:
    administer(caller, admin, is_active=False)


def get_another_role(caller: TaskClient, admin: TaskClient) -> None:
    administer(caller, admin, role="user" if caller.user["role"] == "admin" else "admin")


def let_the_login_expire(caller: TaskClient, admin: TaskClient) -> None:
    with SessionLocal.begin() as db:
        login = update(LoginSession).where(LoginSession.user_id == UUID(caller.user["id"]))
        db.execute(login.values(expires_at=LoginSession.created_at))


def administer(caller: TaskClient, admin: TaskClient, **changes: Any) -> None:
    answer = admin.http.patch(f"{API}/users/{caller.user['id']}", json=changes, headers=admin.headers)
    assert answer.status_code == 200, answer.text


class Waiting:
    """A request with `?wait=` for a task of somebody, which has been let in and now waits."""

    def __init__(self, caller: TaskClient, task_id: str, token: str = "") -> None:
        self.caller, self.task_id = caller, task_id
        headers = bearer(token or caller.token)
        self._pool = ThreadPoolExecutor(1)
        self._answer: Future[httpx.Response] = self._pool.submit(
            caller.http.get, f"{TASKS}{task_id}", params={"wait": SECONDS}, headers=headers
        )
        wait_for(lambda: is_waited_for(caller.http, task_id), SECONDS, "the request to wait")

    def answer(self) -> httpx.Response:
        """The answer, once the task has ended."""
        with SessionLocal() as db:
            task_service.cancel(db, UUID(self.task_id))
        answer = self._answer.result(SECONDS)
        self._pool.shutdown()
        return answer


class TestAWaitForATask:
    @pytest.mark.parametrize(
        "lose",
        [log_out, change_the_password, be_deactivated, get_another_role, let_the_login_expire],
        ids=lambda lose: str(lose.__name__),
    )
    def test_ends_with_401_for_a_login_that_has_ended(
        self, tasks: TaskClient, admin: TaskClient, lose: Callable[[TaskClient, TaskClient], None]
    ) -> None:
        waiting = Waiting(tasks, tasks.create(delay_seconds=3600)["id"])
        lose(tasks, admin)
        answer = waiting.answer()
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")
        assert answer.headers["www-authenticate"].startswith("Bearer")

    def test_ends_with_401_for_an_api_key_that_was_revoked(self, tasks: TaskClient) -> None:
        key = new_key(tasks)
        waiting = Waiting(tasks, tasks.create(delay_seconds=3600)["id"], key["key"])
        assert tasks.http.delete(f"{API}/auth/api-keys/{key['id']}", headers=tasks.headers).status_code == 204
        assert waiting.answer().status_code == 401

    def test_ends_with_401_for_an_api_key_of_a_user_who_was_deactivated(
        self, tasks: TaskClient, admin: TaskClient
    ) -> None:
        waiting = Waiting(tasks, tasks.create(delay_seconds=3600)["id"], new_key(tasks)["key"])
        be_deactivated(tasks, admin)
        assert waiting.answer().status_code == 401

    def test_ends_with_404_for_an_api_key_of_a_former_administrator(
        self, client: httpx.Client, make_user: MakeUser, tasks: TaskClient, admin: TaskClient
    ) -> None:
        former = task_client(client, make_user, "admin")
        key = new_key(former, scopes=["tasks:read", "admin"])["key"]
        task_id = tasks.create(delay_seconds=3600)["id"]
        waiting = Waiting(former, task_id, key)
        get_another_role(former, admin)
        answer = waiting.answer()
        assert (answer.status_code, answer.json()["code"]) == (404, "task_not_found")

    def test_ends_with_the_task_for_whoever_kept_the_right(self, tasks: TaskClient) -> None:
        answer = Waiting(tasks, tasks.create(delay_seconds=3600)["id"]).answer()
        assert (answer.status_code, answer.json()["status"]) == (200, "revoked")


class TestAWaitForAThread:
    @pytest.fixture
    def held(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Both threads, until the test sets the event."""
        monkeypatch.setattr(fair_threads, "LOOK_SECONDS", 0.01)
        gate = threading.Event()
        assert client.portal is not None
        run = client.app_state["threads"].run
        holding = [client.portal.start_task_soon(run, user, gate.wait) for user in ("another", "a third")]
        yield gate
        gate.set()
        for each in holding:
            each.result(SECONDS)

    @pytest.fixture
    def former(self, client: httpx.Client, make_user: MakeUser, admin: TaskClient) -> TaskClient:
        """One of two administrators: the last one keeps the role."""
        return task_client(client, make_user, "admin")

    @pytest.fixture
    def by_new_key(self, former: TaskClient) -> TaskClient:
        """The same, by an API key, which a new role does not end."""
        return TaskClient(former.http, former.user, new_key(former, scopes=["tasks:read", "admin"])["key"])

    @pytest.fixture
    def by_key(self, by_new_key: TaskClient) -> TaskClient:
        """The same, its first use noted."""
        assert by_new_key.get().status_code == 200
        return by_new_key

    def list_meanwhile(
        self, caller: TaskClient, held: threading.Event, lose: Callable[[], None], path: str = IN_A_THREAD
    ) -> httpx.Response:
        threads = caller.http.app_state["threads"]  # type: ignore[attr-defined]
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(caller.http.get, path, headers=caller.headers)
            wait_for(lambda: threads.waiting, SECONDS, "the request to wait for a thread")
            held.wait(0.1)  # longer than LOOK_SECONDS: it has waited long
            try:
                lose()
            finally:
                held.set()
            return answer.result(SECONDS)

    def test_ends_with_401_for_a_login_that_has_ended(self, tasks: TaskClient, held: threading.Event) -> None:
        def lose() -> None:
            with SessionLocal() as db:
                session_service.end_other_sessions(db, UUID(tasks.user["id"]), None)

        assert self.list_meanwhile(tasks, held, lose).status_code == 401

    def test_ends_with_401_for_another_role(self, former: TaskClient, held: threading.Event) -> None:
        assert self.list_meanwhile(former, held, lambda: demote(former)).status_code == 401

    def test_ends_with_401_for_another_highest_priority(self, tasks: TaskClient, held: threading.Event) -> None:
        """Else a batch that has waited would have priorities that its user may no longer give."""

        def lose() -> None:
            with SessionLocal() as db:
                user_service.update_user(db, UUID(tasks.user["id"]), {"max_priority": "low"})

        assert self.list_meanwhile(tasks, held, lose).status_code == 401

    def test_ends_with_401_for_an_api_key_of_a_former_administrator(
        self, by_key: TaskClient, held: threading.Event
    ) -> None:
        assert self.list_meanwhile(by_key, held, lambda: demote(by_key)).status_code == 401

    def test_needs_no_second_thread_where_the_use_of_a_key_is_to_be_noted_again(
        self, client: TestClient, by_key: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would hang: the thread that it has waited for is the only one."""
        monkeypatch.setattr(fair_threads, "LOOK_SECONDS", 0.01)
        gates = [threading.Event(), threading.Event()]
        assert client.portal is not None
        run = client.app_state["threads"].run
        holding = [client.portal.start_task_soon(run, str(at), gate.wait) for at, gate in enumerate(gates)]
        with ThreadPoolExecutor(1) as pool:
            try:
                answer = pool.submit(by_key.get, skip=0)
                wait_for(lambda: client.app_state["threads"].waiting, SECONDS, "the request to wait for a thread")
                gates[0].wait(0.1)  # longer than LOOK_SECONDS: it has waited long
                with SessionLocal.begin() as db:
                    db.execute(update(ApiKey).values(last_used_at=ApiKey.created_at - timedelta(hours=1)))
                gates[0].set()
                assert answer.result(SECONDS).status_code == 200
            finally:
                for gate in gates:
                    gate.set()
        for each in holding:
            each.result(SECONDS)

    def test_for_the_note_of_a_first_use_ends_with_the_rights_of_then(
        self, by_new_key: TaskClient, held: threading.Event
    ) -> None:
        answer = self.list_meanwhile(by_new_key, held, lambda: demote(by_new_key), f"{API}/users/")
        assert answer.status_code == 403

    def test_ends_with_the_list_for_whoever_kept_the_right(self, tasks: TaskClient, held: threading.Event) -> None:
        assert self.list_meanwhile(tasks, held, lambda: None).json() == []


def demote(caller: TaskClient) -> None:
    with SessionLocal() as db:
        user_service.update_user(db, UUID(caller.user["id"]), {"role": "user"})


def new_key(caller: TaskClient, scopes: list[str] | None = None) -> dict[str, Any]:
    body = {"name": "x", "scopes": scopes or ["tasks:read"]}
    answer = caller.http.post(f"{API}/auth/api-keys", json=body, headers=caller.headers)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())
