"""API keys against a real PostgreSQL: made, listed, revoked; what becomes of them when their owner changes."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core.config import get_settings
from app.core.security import api_key_digest, new_api_key
from app.db.session import SessionLocal
from app.models.auth import ApiKey, Scope
from app.services.accounts.api_keys import api_key_service
from app.services.user_service import user_service
from tests.support.accounts import API, OTHER_PASSWORD, PASSWORD, MakeUser, bearer, login, pages
from tests.support.databases import ENGINE
from tests.support.retention import forget
from tests.support.settings import sql
from tests.support.spelling import spelled
from tests.support.statements import statements
from tests.support.task_client import module_client, without_the_request

client = module_client()
KEYS = f"{API}/auth/api-keys"
READ = ["tasks:read"]
IN_AN_HOUR = timedelta(hours=1)


def make(client: httpx.Client, token: str, **fields: Any) -> httpx.Response:
    return client.post(KEYS, headers=bearer(token), json={"name": "machine", "scopes": READ} | fields)


def new_key(client: httpx.Client, token: str, **fields: Any) -> dict[str, Any]:
    answer = make(client, token, **fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def works(client: httpx.Client, key: str) -> bool:
    """Whether the key is believed at all; a 401 must say what is the matter."""
    answer = client.get(f"{API}/users/me", headers=bearer(key))
    if answer.status_code == 401:
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    return answer.status_code == 200


class TestCreating:
    def test_shows_the_key_once_and_keeps_a_digest(
        self, client: httpx.Client, user: dict[str, Any], token: str
    ) -> None:
        answer = make(client, token, name="nightly import", scopes=["tasks:write", "tasks:read", "tasks:read"])
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        made = answer.json()
        key = made.pop("key")
        assert made["name"] == "nightly import"
        assert made["scopes"] == ["tasks:read", "tasks:write"]
        assert key.startswith(made["prefix"] + "_")
        assert made["id"][14] == "7"  # the version
        assert [made[name] for name in ("expires_at", "last_used_at", "revoked_at")] == [None] * 3
        assert client.get(KEYS, headers=bearer(token)).json() == [made]
        assert client.get(f"{KEYS}/{made['id']}", headers=bearer(token)).json() == made
        (stored,) = sql("SELECT * FROM api_keys WHERE id = :id", id=made["id"])
        assert bytes(stored.digest) == api_key_digest(key)
        assert key not in repr([bytes(value) if isinstance(value, memoryview) else value for value in stored])
        assert client.get(f"{API}/users/me", headers=bearer(key)).json() == user

    def test_refuses_what_makes_no_key(self, client: httpx.Client, token: str) -> None:
        bodies: list[dict[str, Any]] = [
            {},
            {"name": "x"},
            {"scopes": READ},
            {"name": "", "scopes": READ},
            {"name": "x" * 201, "scopes": READ},
            {"name": "a\x00b", "scopes": READ},
            {"name": "x", "scopes": []},
            {"name": "x", "scopes": ["everything"]},
            {"name": "x", "scopes": "tasks:read"},
            {"name": "x", "scopes": READ * 21},
            {"name": "x", "scopes": READ, "expires_at": "2020-01-01T00:00:00Z"},
            {"name": "x", "scopes": READ, "expires_at": "2999-01-01T00:00:00"},
            {"name": "x", "scopes": READ, "user_id": "01890000-0000-7000-8000-000000000000"},
            {"name": "x", "scopes": READ, "digest": "x"},
        ]
        for body in bodies:
            answer = client.post(KEYS, headers=bearer(token), json=body)
            assert (body, answer.status_code, answer.json()["code"]) == (body, 422, "validation_error")
            assert answer.json()["errors"][0]["loc"][0] == "body", body
        assert client.get(KEYS, headers=bearer(token)).json() == []

    def test_only_administrators_get_the_scope_admin(self, client: httpx.Client, make_user: MakeUser) -> None:
        (_, user), (_, admin) = make_user(), make_user("admin")
        answer = make(client, user, scopes=["admin"])
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
        assert make(client, admin, scopes=["admin"]).status_code == 201

    def test_so_many_and_no_more_even_at_once(
        self, client: httpx.Client, make_user: MakeUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "api_keys_per_user", 3)
        (_, token), (_, other) = make_user(), make_user()
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: make(client, token), range(8)))
        assert sorted(each.status_code for each in answers) == [201] * 3 + [409] * 5
        assert {each.json()["code"] for each in answers if each.status_code == 409} == {"api_key_limit"}
        assert make(client, other).status_code == 201
        first, second, _ = [each.json()["id"] for each in answers if each.status_code == 201]
        client.delete(f"{KEYS}/{first}", headers=bearer(token))
        assert make(client, token).status_code == 201
        assert make(client, token).status_code == 409
        sql("UPDATE api_keys SET expires_at = clock_timestamp() WHERE id = :id", id=second)
        assert make(client, token).status_code == 201


class TestListing:
    def test_pages_newest_first(self, client: httpx.Client, token: str) -> None:
        made = [new_key(client, token, name=f"key {number}")["id"] for number in range(5)]
        seen = [key["id"] for page in pages(client, KEYS, token, limit=2) for key in page.json()]
        assert seen == made[::-1]
        skipped = client.get(KEYS, params={"limit": 2, "skip": 1}, headers=bearer(token)).json()
        assert [key["id"] for key in skipped] == made[::-1][1:3]

    def test_a_hostile_cursor_is_422(self, client: httpx.Client, token: str) -> None:
        answer = client.get(KEYS, params={"cursor": "' OR 1=1"}, headers=bearer(token))
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_cursor")

    @pytest.mark.parametrize("method", ["GET", "DELETE"])
    @pytest.mark.parametrize("role", ["user", "admin"])
    def test_anothers_key_answers_as_one_that_does_not_exist(
        self, client: httpx.Client, make_user: MakeUser, method: str, role: str
    ) -> None:
        (_, owner), (_, other) = make_user(), make_user(role)
        key = new_key(client, owner)
        hidden, unknown = (
            client.request(method, f"{KEYS}/{key_id}", headers=bearer(other)) for key_id in (key["id"], uuid4())
        )
        assert (hidden.status_code, hidden.json()["code"]) == (404, "api_key_not_found")
        assert without_the_request(hidden) == without_the_request(unknown)
        assert works(client, key["key"])
        assert client.get(KEYS, headers=bearer(other)).json() == []


class TestRevoking:
    def test_ends_the_key_at_once_and_shows_it_as_revoked(self, client: httpx.Client, token: str) -> None:
        key, kept = new_key(client, token), new_key(client, token)
        path = f"{KEYS}/{key['id']}"
        answer = client.delete(path, headers=bearer(token))
        assert (answer.status_code, answer.content) == (204, b"")
        assert not works(client, key["key"])
        assert works(client, kept["key"])
        revoked_at = client.get(path, headers=bearer(token)).json()["revoked_at"]
        assert revoked_at
        assert client.delete(path, headers=bearer(token)).status_code == 204
        assert client.get(path, headers=bearer(token)).json()["revoked_at"] == revoked_at
        assert [each["revoked_at"] for each in client.get(KEYS, headers=bearer(token)).json()] == [None, revoked_at]

    def test_the_databases_clock_ends_a_key(self, client: httpx.Client, token: str) -> None:
        until = (datetime.now(UTC) + IN_AN_HOUR).isoformat()
        key = new_key(client, token, expires_at=until)["key"]
        assert works(client, key)
        sql("UPDATE api_keys SET expires_at = clock_timestamp()")
        assert not works(client, key)

    def test_ended_ones_are_removed_after_a_while(self, db: Session) -> None:
        user = user_service.create_user(db, "anna", "anna@example.com", PASSWORD)
        for name in ("revoked", "expired", "fresh", "endless"):
            made = api_key_service.create_key(db, user.id, name, [Scope.TASKS_READ])
            if name in {"revoked", "fresh"}:
                api_key_service.revoke_key(db, user.id, made.row.id)
        long_ago = "clock_timestamp() - interval '31 days'"
        db.execute(spelled(f"UPDATE api_keys SET revoked_at = {long_ago} WHERE name = 'revoked'"))
        db.execute(spelled(f"UPDATE api_keys SET expires_at = {long_ago} WHERE name = 'expired'"))
        assert forget(db, "api_keys") == 2
        assert set(db.scalars(text("SELECT name FROM api_keys"))) == {"fresh", "endless"}


class TestPresenting:
    def test_what_is_no_key_is_401(self, client: httpx.Client, token: str) -> None:
        key = new_key(client, token)["key"]
        for wrong in (new_api_key(), key[:-1], key + "x", key.swapcase(), "tsk_", "tsk_" + "x" * 5000, key + "\x00"):
            assert not works(client, wrong)
        assert client.get(f"{API}/users/me", params={"access_token": key}).status_code == 401
        assert client.get(f"{API}/users/me", headers={"X-API-Key": key}).status_code == 401
        assert client.post(f"{API}/auth/refresh", json={"refresh_token": key}).status_code == 401

    def test_the_digest_is_no_key(self, client: httpx.Client, token: str) -> None:
        """Whoever reads the table has nothing to send."""
        key = new_key(client, token)
        digest = api_key_digest(key["key"])
        for stolen in (digest.hex(), f"{key['prefix']}_{digest.hex()}"):
            assert not works(client, stolen)

    def test_its_use_is_noted_at_most_once_a_minute(self, client: httpx.Client, token: str) -> None:
        made = new_key(client, token)
        seen = "last_used_at, xmin::text" if ENGINE == "postgresql" else "last_used_at"

        def use_and_look() -> Any:
            assert works(client, made["key"])
            return sql(f"SELECT {seen} FROM api_keys WHERE id = :id", id=made["id"])[0]

        first = use_and_look()
        assert first.last_used_at is not None
        assert all(use_and_look() == first for _ in range(5))
        sql("UPDATE api_keys SET last_used_at = last_used_at - interval '61 seconds'")
        assert use_and_look().last_used_at > first.last_used_at

    @pytest.mark.skipif(ENGINE == "sqlite", reason="SQLite has no locks of rows")
    def test_its_use_waits_for_no_lock_of_the_row(self, client: httpx.Client, token: str) -> None:
        made = new_key(client, token)
        with SessionLocal() as db:
            db.execute(spelled("SELECT 1 FROM api_keys FOR UPDATE"))
            assert works(client, made["key"])
            assert db.scalar(select(ApiKey.last_used_at).where(ApiKey.id == made["id"])) is None
            db.rollback()

    def test_costs_one_query_a_request(self, client: httpx.Client, token: str) -> None:
        key = new_key(client, token, scopes=["tasks:read"])["key"]
        assert works(client, key)  # notes the use
        for path in ("", "count", "types", str(uuid4())):
            with statements() as sent:
                client.get(f"{API}/tasks/{path}", headers=bearer(key))
            assert len([each for each in sent if "api_keys" in each]) == 1, (path, sent)


class TestTheOwner:
    """What the owner loses, their keys lose at once."""

    def test_a_demoted_administrators_key_is_a_users(self, client: httpx.Client, make_user: MakeUser) -> None:
        (boss, admin), (_, chief) = make_user("admin"), make_user("admin")
        key = new_key(client, admin, scopes=["tasks:read", "admin"])["key"]
        assert client.get(f"{API}/users/", headers=bearer(key)).status_code == 200
        demoted = client.patch(f"{API}/users/{boss['id']}", headers=bearer(chief), json={"role": "user"})
        assert demoted.status_code == 200
        for path in (f"{API}/users/", f"{API}/tasks/?user_id=all"):
            answer = client.get(path, headers=bearer(key))
            assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")
        assert client.get(f"{API}/tasks/", headers=bearer(key)).status_code == 200

    def test_a_deactivated_owners_keys_stop_until_they_are_active_again(
        self, client: httpx.Client, make_user: MakeUser
    ) -> None:
        (user, token), (_, admin) = make_user(), make_user("admin")
        key = new_key(client, token)["key"]
        path = f"{API}/users/{user['id']}"
        client.patch(path, headers=bearer(admin), json={"is_active": False})
        assert not works(client, key)
        client.patch(path, headers=bearer(admin), json={"is_active": True})
        assert works(client, key)

    def test_a_deleted_owners_keys_are_gone(self, client: httpx.Client, make_user: MakeUser) -> None:
        (user, token), (_, admin) = make_user(), make_user("admin")
        key = new_key(client, token)["key"]
        assert client.delete(f"{API}/users/{user['id']}", headers=bearer(admin)).status_code == 204
        assert not works(client, key)
        assert sql("SELECT 1 FROM api_keys WHERE user_id = :id", id=user["id"]) == []

    @pytest.mark.parametrize("revoke", [False, True])
    def test_keys_outlive_a_new_password_unless_that_is_not_wanted(
        self, client: httpx.Client, user: dict[str, Any], token: str, revoke: bool
    ) -> None:
        key = new_key(client, token)["key"]
        body = {"current_password": PASSWORD, "new_password": OTHER_PASSWORD}
        body |= {"revoke_api_keys": True} if revoke else {}
        assert client.put(f"{API}/users/me/password", headers=bearer(token), json=body).status_code == 204
        assert works(client, key) is not revoke
        again = login(client, user["username"], OTHER_PASSWORD)["access_token"]
        assert client.post(f"{API}/auth/logout", headers=bearer(again)).status_code == 204
        assert works(client, key) is not revoke

    def test_no_key_is_made_for_a_user_deactivated_meanwhile(self, db: Session) -> None:
        user = user_service.create_user(db, "anna", "anna@example.com", PASSWORD)
        user_service.update_user(db, user.id, {"is_active": False})
        with pytest.raises(Exception, match="The user does not exist"):
            api_key_service.create_key(db, user.id, "late", [Scope.TASKS_READ])
