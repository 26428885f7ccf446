"""Logins against a real PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from argon2 import PasswordHasher
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.core import security
from app.db.session import SessionLocal
from app.errors import InvalidCredentials
from app.services.accounts.auth_service import auth_service
from app.services.user_service import user_service
from tests.support.accounts import API, PASSWORD, MakeUser, bearer, login, register, sign_up
from tests.support.retention import forget
from tests.support.settings import sql
from tests.support.spelling import spelled
from tests.support.task_client import module_client, without_the_request
from tests.support.throttle import forget_everybody

client = module_client()
SESSIONS = f"{API}/auth/sessions"
WRONG = "not the password at all"


@pytest.fixture(autouse=True)
def _nobody_yet(client: TestClient) -> None:
    forget_everybody(client)


def me(client: httpx.Client, token: str) -> httpx.Response:
    return client.get(f"{API}/users/me", headers=bearer(token))


def stands(client: httpx.Client, token: str) -> bool:
    return me(client, token).status_code == 200


def attempt(client: httpx.Client, username: str, password: str = WRONG) -> httpx.Response:
    return client.post(f"{API}/auth/login", data={"username": username, "password": password})


def refresh(client: httpx.Client, token: str) -> httpx.Response:
    return client.post(f"{API}/auth/refresh", json={"refresh_token": token})


class TestRegistration:
    def test_makes_an_ordinary_user_and_tells_nothing_secret(self, client: httpx.Client) -> None:
        answer = sign_up(client, "Anna", email="Anna@Example.com")
        assert answer.status_code == 201
        user = answer.json()
        assert user.keys() == {"id", "username", "email", "role", "is_active", "created_at", "updated_at"}
        assert (user["username"], user["role"], user["is_active"]) == ("Anna", "user", True)
        assert user["created_at"].endswith("Z")
        assert answer.headers["cache-control"] == "no-store"

    def test_refuses_a_taken_name_or_address_whatever_its_case(self, client: httpx.Client) -> None:
        register(client, "anna")
        for username, email in (("ANNA", "other@example.com"), ("other", "ANNA@example.COM")):
            answer = sign_up(client, username, email=email)
            assert (answer.status_code, answer.json()["code"]) == (409, "user_exists"), (username, email)

    def test_takes_no_field_that_it_does_not_name(self, client: httpx.Client) -> None:
        for name, value in {"role": "admin", "is_active": True, "id": 1, "password_hash": "x"}.items():
            answer = sign_up(client, "anna", **{name: value})
            assert answer.status_code == 422, name
            nearest = ", did you mean password" if name == "password_hash" else ""
            told = {"loc": ["body", name], "msg": f"unknown field{nearest}", "type": "extra_forbidden"}
            assert answer.json()["errors"] == [told]

    def test_takes_passwords_as_they_are(self, client: httpx.Client) -> None:
        passwords = [
            "pass\x00word, and more",
            "我喜欢在早上喝一杯热咖啡然后去上班",
            "\U0001f600 eats purple horses " * 40,
        ]
        for number, password in enumerate(passwords):
            register(client, f"anna{number}", password)
            assert login(client, f"anna{number}", password)["token_type"] == "bearer"


class TestLogin:
    def test_by_name_or_address_whatever_its_case(self, client: httpx.Client) -> None:
        register(client, "anna")
        for name in ("anna", "ANNA", "anna@example.com", "Anna@EXAMPLE.com"):
            tokens = login(client, name)
            assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
            assert tokens["expires_in"] == 900
            assert me(client, tokens["access_token"]).json()["username"] == "anna"

    def test_unknown_user_wrong_password_and_inactive_user_look_the_same(self, client: httpx.Client) -> None:
        register(client, "anna")
        register(client, "idle")
        sql("UPDATE users SET is_active = false WHERE username = 'idle'")
        answers = [
            attempt(client, "anna"),
            attempt(client, "nobody"),
            attempt(client, "idle", PASSWORD),
            attempt(client, "an\x00na"),
            attempt(client, "anna", "x" * 10_000),
        ]
        bodies = [{k: v for k, v in each.json().items() if k != "request_id"} for each in answers]
        assert [each.status_code for each in answers] == [401] * len(answers)
        assert all(body == bodies[0] for body in bodies)
        assert {each.headers["www-authenticate"] for each in answers} == {"Bearer"}

    def test_too_many_failures_of_one_account_are_429_and_leave_open_logins_alone(
        self, client: httpx.Client, user: dict[str, Any], token: str
    ) -> None:
        names = [user["username"], user["email"]] * 5
        assert [attempt(client, name).status_code for name in names] == [401] * 10
        refused = attempt(client, user["username"], PASSWORD)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert int(refused.headers["retry-after"]) == 1
        forged = {"username": user["username"], "password": PASSWORD}
        headers = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        assert client.post(f"{API}/auth/login", data=forged, headers=headers).status_code == 429
        assert me(client, token).status_code == 200

    def test_many_right_logins_at_once_are_not_throttled(self, client: httpx.Client, user: dict[str, Any]) -> None:
        with ThreadPoolExecutor(16) as pool:
            answers = pool.map(lambda _: attempt(client, user["username"], PASSWORD).status_code, range(24))
            assert set(answers) == {200}

    def test_renews_a_hash_of_weaker_parameters(self, client: httpx.Client) -> None:
        register(client, "anna")
        weak = PasswordHasher(memory_cost=1024, time_cost=1).hash(PASSWORD)
        sql("UPDATE users SET password_hash = :weak", weak=weak)
        login(client, "anna")
        ((renewed,),) = sql("SELECT password_hash FROM users")
        assert renewed != weak
        parameters = 3  # `$argon2id$v=19$m=…,t=…,p=…$salt$hash`
        assert renewed.split("$")[parameters] == security.hash_password("x").split("$")[parameters]
        login(client, "anna")


class TestRefresh:
    def test_gives_a_new_pair(self, client: httpx.Client, user: dict[str, Any]) -> None:
        first = login(client, user["username"])
        second = refresh(client, first["refresh_token"])
        assert second.status_code == 200
        assert second.json()["refresh_token"] != first["refresh_token"]
        assert me(client, second.json()["access_token"]).status_code == 200
        assert refresh(client, second.json()["refresh_token"]).status_code == 200

    def test_neither_kind_of_token_stands_for_the_other(
        self, client: httpx.Client, user: dict[str, Any], token: str
    ) -> None:
        assert refresh(client, token).status_code in {401, 422}
        assert me(client, login(client, user["username"])["refresh_token"]).status_code == 401

    def test_is_stored_as_a_digest_only(self, client: httpx.Client, user: dict[str, Any]) -> None:
        token = login(client, user["username"])["refresh_token"]
        stored = [bytes(digest) for (digest,) in sql("SELECT digest FROM refresh_tokens")]
        assert security.refresh_token_digest(token) in stored
        assert all(token.encode() not in digest for digest in stored)

    def test_ends_with_the_login(self, client: httpx.Client, user: dict[str, Any]) -> None:
        tokens = login(client, user["username"])
        sql("UPDATE login_sessions SET expires_at = clock_timestamp() - interval '1 second'")
        assert refresh(client, tokens["refresh_token"]).status_code == 401
        assert me(client, tokens["access_token"]).status_code == 401


def listed(client: httpx.Client, token: str) -> list[dict[str, Any]]:
    answer = client.get(SESSIONS, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    return list(answer.json())


class TestListOfLogins:
    def test_shows_ones_own_newest_first_and_marks_this_one(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, first = make_user()
        make_user()
        second = login(client, user["username"])["access_token"]
        assert [each["current"] for each in listed(client, second)] == [True, False]
        assert [each["current"] for each in listed(client, first)] == [False, True]
        assert listed(client, first)[0].keys() == {
            *("id", "created_at", "refreshed_at", "expires_at", "address", "user_agent", "current")
        }

    def test_tells_when_it_was_refreshed(self, client: httpx.Client, user: dict[str, Any]) -> None:
        opened = login(client, user["username"])
        fresh = client.post(f"{API}/auth/refresh", json={"refresh_token": opened["refresh_token"]}).json()
        newest = listed(client, fresh["access_token"])[0]
        assert newest["refreshed_at"] > newest["created_at"]

    def test_leaves_out_what_has_ended(self, client: httpx.Client, user: dict[str, Any], token: str) -> None:
        other = login(client, user["username"])["access_token"]
        client.post(f"{API}/auth/logout", headers=bearer(other))
        assert [each["current"] for each in listed(client, token)] == [True]


class TestEndingALogin:
    def test_one_takes_both_of_its_tokens(self, client: httpx.Client, user: dict[str, Any], token: str) -> None:
        lost = login(client, user["username"])
        (session,) = (each["id"] for each in listed(client, lost["access_token"]) if each["current"])
        answers = [client.delete(f"{SESSIONS}/{session}", headers=bearer(token)).status_code for _ in range(2)]
        assert answers == [204, 404]
        assert not stands(client, lost["access_token"])
        again = client.post(f"{API}/auth/refresh", json={"refresh_token": lost["refresh_token"]})
        assert again.status_code == 401
        assert len(listed(client, token)) == 1

    def test_all_others_leaves_this_one_and_other_users(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, _ = make_user()
        stranger, _ = make_user()
        bystander = login(client, stranger["username"])
        others = [login(client, user["username"]) for _ in range(2)]
        mine = login(client, user["username"])
        assert client.delete(SESSIONS, headers=bearer(mine["access_token"])).status_code == 204
        assert [stands(client, each["access_token"]) for each in (*others, mine, bystander)] == [
            False,
            False,
            True,
            True,
        ]

    def test_another_users_looks_unknown_and_stands(self, client: httpx.Client, make_user: MakeUser) -> None:
        owner, _ = make_user()
        opened = login(client, owner["username"])
        _, token = make_user()
        foreign, unknown = (
            client.delete(f"{SESSIONS}/{each}", headers=bearer(token))
            for each in (listed(client, opened["access_token"])[0]["id"], str(uuid4()))
        )
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert without_the_request(foreign) == without_the_request(unknown)
        assert stands(client, opened["access_token"])


class TestPurge:
    def test_removes_logins_that_ended_long_ago_and_old_counts(self, client: httpx.Client) -> None:
        del client  # its database
        with SessionLocal() as db:
            user_service.create_user(db, "anna", "anna@example.com", PASSWORD)
            tokens = [auth_service.login(db, "anna", PASSWORD, "192.0.2.1") for _ in range(2)]
            with pytest.raises(InvalidCredentials):
                auth_service.login(db, "anna", WRONG, "192.0.2.1")
            old = security.refresh_token_digest(tokens[0].refresh_token)
            ended = "UPDATE login_sessions SET expires_at = clock_timestamp() - interval '31 days'"
            db.execute(
                spelled(f"{ended} WHERE id = (SELECT session_id FROM refresh_tokens WHERE digest = :old)", {"old": old})
            )
            assert self.purged(db) == (1, 0, 0)
            assert db.scalar(text("SELECT count(*) FROM refresh_tokens")) == 1
            counts = db.scalar(text("SELECT count(*) FROM login_failures"))
            db.execute(spelled("UPDATE login_failures SET window_started_at = window_started_at - interval '1 hour'"))
            assert self.purged(db) == (0, 0, 0)
            db.execute(spelled("UPDATE login_failures SET window_started_at = window_started_at - interval '1 day'"))
            db.execute(spelled("UPDATE login_blocks SET signed_in_at = signed_in_at - interval '31 days'"))
            assert self.purged(db) == (0, counts, 1)

    @staticmethod
    def purged(db: Session) -> tuple[int, ...]:
        return tuple(forget(db, table) for table in ("login_sessions", "login_failures", "login_blocks"))
