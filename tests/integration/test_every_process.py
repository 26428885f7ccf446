"""Two API processes in the midst of an exchange of SECRET_KEY, the second without a broker: what one of them ends is
worthless in the other at once. And while the database is away, no credentials are accepted."""

import base64
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, update

from app.launcher.ports import free_loopback_port
from app.models.auth import ThrottleCount
from tests.support import accounts
from tests.support.accounts import API, OTHER_PASSWORD, PASSWORD, bearer
from tests.support.databases import ENGINE
from tests.support.faults.proxy import TcpProxy
from tests.support.services import Services
from tests.support.stack import Stack
from tests.support.task_client import BODY
from tests.support.waiting import wait_for

OLD, NEW = "an-old-signing-key-0123456789abcdef0123", "the-new-signing-key-fedcba98765432100"


@dataclass
class Deployment:
    stack: Stack
    here: httpx.Client
    there: httpx.Client
    database: TcpProxy

    def user(self, role: str = "user") -> tuple[dict[str, Any], dict[str, Any]]:
        """A user and the tokens of a login."""
        user = accounts.register(self.here)
        if role == "admin":
            self.stack.promote(user["id"])
        return user, accounts.login(self.here, user["username"])

    def key(self, token: str, *scopes: str) -> dict[str, Any]:
        body = {"name": "machine", "scopes": scopes or ["tasks:read"]}
        return dict(self.here.post(f"{API}/auth/api-keys", headers=bearer(token), json=body).json())


@pytest.fixture(scope="module")
def both(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with (
        TcpProxy("127.0.0.1", services.database.port) as proxy,
        Stack(services, tmp_path_factory.mktemp("both"), SECRET_KEY=NEW, SECRET_KEY_PREVIOUS=OLD) as stack,
    ):
        if ENGINE != "sqlite":  # which has no server
            stack.settings["DATABASE_URL"] = proxy.through(stack.database_url)
        stack.server()
        nowhere = f"redis://127.0.0.1:{free_loopback_port()}/0"
        url = stack.another_server({"SECRET_KEY": OLD, "SECRET_KEY_PREVIOUS": NEW, "CELERY_BROKER_URL": nowhere})
        with httpx.Client(base_url=stack.url, timeout=30) as here, httpx.Client(base_url=url, timeout=30) as there:
            yield Deployment(stack, here, there, proxy)


def me(client: httpx.Client, token: str) -> int:
    return client.get(f"{API}/users/me", headers=bearer(token)).status_code


def refresh(client: httpx.Client, tokens: dict[str, Any]) -> httpx.Response:
    return client.post(f"{API}/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


def kid(token: str) -> str:
    head = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


class TestEnded:
    """The token is good in both, something happens in one, the other refuses at its next request."""

    def test_by_logout(self, both: Deployment) -> None:
        _, tokens = both.user()
        assert (me(both.here, tokens["access_token"]), me(both.there, tokens["access_token"])) == (200, 200)
        assert both.here.post(f"{API}/auth/logout", headers=bearer(tokens["access_token"])).status_code == 204
        assert (me(both.there, tokens["access_token"]), me(both.here, tokens["access_token"])) == (401, 401)
        assert refresh(both.there, tokens).status_code == 401

    def test_by_a_new_password(self, both: Deployment) -> None:
        user, tokens = both.user()
        elsewhere = accounts.login(both.there, user["username"])
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        path = f"{API}/users/me/password"
        assert both.there.put(path, headers=bearer(tokens["access_token"]), json=body).status_code == 204
        for token in (tokens["access_token"], elsewhere["access_token"]):
            assert (me(both.here, token), me(both.there, token)) == (401, 401)
        assert refresh(both.here, elsewhere).status_code == 401
        old = {"username": user["username"], "password": PASSWORD}
        assert both.here.post(f"{API}/auth/login", data=old).status_code == 401
        assert accounts.login(both.here, user["username"], OTHER_PASSWORD)

    @pytest.mark.parametrize("change", [{"role": "admin"}, {"is_active": False}])
    def test_by_an_administrator(self, both: Deployment, change: dict[str, Any]) -> None:
        (user, tokens), (_, admin) = both.user(), both.user("admin")
        key = both.key(tokens["access_token"])["key"]
        path, headers = f"{API}/users/{user['id']}", bearer(admin["access_token"])
        assert both.there.patch(path, headers=headers, json={"email": f"{user['id']}@example.com"}).status_code == 200
        assert me(both.here, tokens["access_token"]) == 200  # any other change leaves the logins open
        assert both.there.patch(path, headers=headers, json=change).status_code == 200
        assert (me(both.here, tokens["access_token"]), me(both.there, tokens["access_token"])) == (401, 401)
        left = 401 if "is_active" in change else 200
        assert (me(both.here, key), me(both.there, key)) == (left, left)

    def test_by_a_replayed_refresh_token(self, both: Deployment) -> None:
        user, first = both.user()
        other = accounts.login(both.here, user["username"])
        second = refresh(both.here, first).json()
        assert me(both.there, second["access_token"]) == 200
        replay = refresh(both.there, first)
        assert (replay.status_code, 'error="invalid_token"' in replay.headers["www-authenticate"]) == (401, True)
        assert (me(both.here, first["access_token"]), me(both.here, second["access_token"])) == (401, 401)
        assert refresh(both.here, second).status_code == 401
        assert me(both.here, other["access_token"]) == 200

    def test_a_revoked_key(self, both: Deployment) -> None:
        _, tokens = both.user()
        key = both.key(tokens["access_token"])
        assert (me(both.here, key["key"]), me(both.there, key["key"])) == (200, 200)
        path = f"{API}/auth/api-keys/{key['id']}"
        assert both.there.delete(path, headers=bearer(tokens["access_token"])).status_code == 204
        assert (me(both.here, key["key"]), me(both.there, key["key"])) == (401, 401)

    def test_a_demoted_administrators_key(self, both: Deployment) -> None:
        (boss, tokens), (_, chief) = both.user("admin"), both.user("admin")
        key = both.key(tokens["access_token"], "admin")["key"]
        assert both.there.get(f"{API}/users/", headers=bearer(key)).status_code == 200
        path = f"{API}/users/{boss['id']}"
        assert both.here.patch(path, headers=bearer(chief["access_token"]), json={"role": "user"}).status_code == 200
        assert both.there.get(f"{API}/users/", headers=bearer(key)).json()["code"] == "admin_only"


class TestShared:
    def test_each_believes_what_the_other_has_signed(self, both: Deployment) -> None:
        user, tokens = both.user()
        elsewhere = accounts.login(both.there, user["username"])
        assert kid(tokens["access_token"]) != kid(elsewhere["access_token"])
        assert (me(both.here, elsewhere["access_token"]), me(both.there, tokens["access_token"])) == (200, 200)
        # Refresh tokens know nothing of keys.
        answer = refresh(both.there, tokens)
        assert kid(answer.json()["access_token"]) == kid(elsewhere["access_token"])

    def test_of_ten_uses_of_a_refresh_token_in_both_at_most_one_succeeds(self, both: Deployment) -> None:
        _, tokens = both.user()
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda each: refresh(each, tokens).status_code, [both.here, both.there] * 5))
        assert answers.count(200) <= 1
        assert set(answers) <= {200, 401}

    def test_guesses_are_counted_together(self, both: Deployment) -> None:
        user, tokens = both.user()
        form = {"username": user["username"], "password": "not the password"}
        for each in [both.here, both.there] * 8:
            assert each.post(f"{API}/auth/login", data=form).status_code == 401
            both.stack.sql("UPDATE login_failures SET blocked_until = NULL")
        assert both.here.post(f"{API}/auth/login", data=form).status_code == 401
        for each in (both.here, both.there):
            answer = each.post(f"{API}/auth/login", data={**form, "password": PASSWORD})
            assert (answer.status_code, 60 <= int(answer.headers["retry-after"]) <= 128) == (429, True)
        assert me(both.there, tokens["access_token"]) == 200

    def test_an_address_where_the_user_signed_in_is_known_in_both(self, both: Deployment) -> None:
        """Although each signs with another key."""
        user, _ = both.user()
        accounts.login(both.there, user["username"])
        blocks = ThrottleCount.key.startswith("block:")
        form = {"username": "nobody", "password": "not the password"}
        assert both.here.post(f"{API}/auth/login", data=form).status_code == 401
        with both.stack.engine.begin() as db:
            db.execute(update(ThrottleCount).where(blocks).values(blocked_until=both.stack.now() + timedelta(hours=1)))
        try:
            assert both.here.post(f"{API}/auth/login", data={**form, "username": "no-one"}).status_code == 429
            for each in (both.here, both.there):
                accounts.login(each, user["username"])
        finally:
            with both.stack.engine.begin() as db:
                db.execute(delete(ThrottleCount).where(blocks))

    def test_a_task_is_accepted_without_a_broker_too(self, both: Deployment) -> None:
        _, tokens = both.user()
        key = both.key(tokens["access_token"], "tasks:write")["key"]
        assert both.there.post(f"{API}/tasks/", headers=bearer(key), json=BODY).status_code == 201


@pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no server")
class TestWithoutTheDatabase:
    @pytest.fixture
    def away(self, both: Deployment) -> Iterator[None]:
        yield
        both.database.heal()
        wait_for(lambda: both.here.get("/readyz").json().get("checks", {}).get("database") == "ok", 30, "the database")

    @pytest.mark.usefixtures("away")
    def test_no_credentials_are_accepted(self, both: Deployment) -> None:
        user, tokens = both.user("admin")
        key = both.key(tokens["access_token"], "tasks:read", "admin")["key"]
        assert (me(both.here, tokens["access_token"]), me(both.there, key)) == (200, 200)
        both.database.refuse()
        asked: list[Callable[[], httpx.Response]] = [
            lambda: both.here.get(f"{API}/users/me", headers=bearer(tokens["access_token"])),
            lambda: both.there.get(f"{API}/users/", headers=bearer(key)),
            lambda: both.there.get(f"{API}/tasks/types", headers=bearer(key)),  # needs no database itself
            lambda: refresh(both.here, tokens),
            lambda: both.here.post(f"{API}/auth/login", data={"username": user["username"], "password": PASSWORD}),
        ]
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(lambda ask: ask(), asked))
        assert [each.status_code for each in answers] == [503] * len(asked), [each.text for each in answers]
        assert {each.json()["code"] for each in answers} == {"database_unavailable"}
        # What shows by itself that it is no token needs no database to be refused.
        assert me(both.here, "tsk_no-key") == 401


class TestHostileHeaders:
    def raw(self, both: Deployment, *values: bytes) -> tuple[int, bytes]:
        """As bytes, past every client that would refuse to send them: the status and the head of the answer."""
        lines = b"".join(b"Authorization: " + value + b"\r\n" for value in values)
        with socket.create_connection(("127.0.0.1", both.stack.port), timeout=30) as connection:
            head = f"GET {API}/users/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n".encode()
            connection.sendall(head + lines + b"\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[0].lower()

    DEEP = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT","kid":' + b"[" * 1000 + b"]" * 1000 + b"}")

    @pytest.mark.parametrize(
        "value",
        [
            b"", b"Bearer", b"Bearer ", b"bearer x", b"Basic YTpi", b"Bearer \xff\xfe\x80", "Bearer töken".encode(),
            b"Bearer tsk_\xff", b"Bearer " + b"a" * 20_000, b"Bearer tsk_" + b"a" * 20_000, b"Bearer a.b.c",
            b"Bearer " + DEEP + b".e30." + b"A" * 43, b"Bearer null", b"Bearer ..", b"Bearer\tx", b"Bearer x, Bearer y",
        ],
        ids=lambda value: repr(value[:24]),
    )  # fmt: skip
    def test_are_401_with_a_challenge(self, both: Deployment, value: bytes) -> None:
        status, head = self.raw(both, value)
        assert (status, b"www-authenticate: bearer" in head) == (401, True), head

    @pytest.mark.parametrize("value", [b"Bearer a\x00b", b"Bearer a\rb"])
    def test_what_is_no_http_is_refused(self, both: Deployment, value: bytes) -> None:
        assert self.raw(both, value)[0] in {400, 401}

    def test_two_of_them_are_not_both_believed(self, both: Deployment) -> None:
        _, tokens = both.user()
        good = b"Bearer " + tokens["access_token"].encode()
        assert self.raw(both, good)[0] == 200
        assert self.raw(both, b"Bearer x", good)[0] == 400
        assert self.raw(both, good, b"Bearer x")[0] == 400
