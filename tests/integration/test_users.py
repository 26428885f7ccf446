"""Users against a real PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from sqlalchemy.orm import Session

from app.db.session import SessionLocal
from app.errors import InvalidInput, UserExists
from app.models.task import TaskStatus
from app.services.user_service import user_service
from tests.support.accounts import API, OTHER_PASSWORD, PASSWORD, MakeUser, bearer, login, pages, register
from tests.support.services import Services
from tests.support.settings import sql
from tests.support.task_client import module_client, shared_client
from tests.support.tasks import new_task, task_in

client = module_client()


def call(client: httpx.Client, method: str, path: str, token: str, **options: Any) -> httpx.Response:
    return client.request(method, f"{API}/users{path}", headers=bearer(token), **options)


@pytest.fixture
def admin(make_user: MakeUser) -> str:
    """The access token of an administrator."""
    return make_user("admin")[1]


class TestMe:
    def test_shows_and_changes_the_profile(self, client: httpx.Client, user: dict[str, Any], token: str) -> None:
        assert call(client, "GET", "/me", token).json() == user
        changed = call(client, "PATCH", "/me", token, json={"email": "New@Example.com"})
        assert changed.status_code == 200
        assert changed.json()["username"] == user["username"]
        assert changed.json()["email"] == "New@example.com"
        assert changed.json()["updated_at"] > user["updated_at"]
        assert login(client, "NEW@example.com")

    def test_an_empty_change_changes_nothing(self, client: httpx.Client, user: dict[str, Any], token: str) -> None:
        assert call(client, "PATCH", "/me", token, json={}).json() == user

    @pytest.mark.parametrize(
        "body", [{"role": "admin"}, {"is_active": False}, {"id": "x"}, {"email": None}, {"username": None}]
    )
    def test_changes_nothing_else(
        self, client: httpx.Client, user: dict[str, Any], token: str, body: dict[str, Any]
    ) -> None:
        assert call(client, "PATCH", "/me", token, json=body).status_code == 422
        assert call(client, "GET", "/me", token).json() == user

    def test_a_taken_name_is_409(self, client: httpx.Client, make_user: MakeUser) -> None:
        other, _ = make_user()
        _, token = make_user()
        for body in ({"username": other["username"].upper()}, {"email": other["email"].upper()}):
            answer = call(client, "PATCH", "/me", token, json=body)
            assert (answer.status_code, answer.json()["code"]) == (409, "user_exists")


class TestPassword:
    def test_needs_the_current_one_and_limits_the_guesses(self, client: httpx.Client, token: str) -> None:
        body = {"current_password": "wrong wrong", "new_password": OTHER_PASSWORD}
        answers = [call(client, "PUT", "/me/password", token, json=body) for _ in range(11)]
        assert [each.status_code for each in answers] == [403] * 10 + [429]
        assert answers[0].json()["code"] == "wrong_password"
        assert call(client, "GET", "/me", token).status_code == 200

    @pytest.mark.parametrize("new", ["short", "x" * 1025, None, 12345678])
    def test_refuses_what_is_no_password(self, client: httpx.Client, token: str, new: object) -> None:
        body = {"current_password": PASSWORD, "new_password": new}
        answer = call(client, "PUT", "/me/password", token, json=body)
        assert answer.status_code == 422
        assert "input" not in answer.json()["errors"][0]


class TestAdministration:
    def test_creates_reads_changes_and_deletes(self, client: httpx.Client, admin: str) -> None:
        body = {"username": "bob", "email": "bob@example.com", "password": PASSWORD, "role": "admin"}
        created = call(client, "POST", "/", admin, json=body)
        assert (created.status_code, created.json()["role"]) == (201, "admin")
        path = f"/{created.json()['id']}"
        assert call(client, "GET", path, admin).json() == created.json()
        changed = call(client, "PATCH", path, admin, json={"username": "bobby", "role": "user"})
        assert (changed.json()["username"], changed.json()["role"]) == ("bobby", "user")
        assert call(client, "DELETE", path, admin).status_code == 204
        for method in ("GET", "PATCH", "DELETE"):
            gone = call(client, method, path, admin, **({"json": {}} if method == "PATCH" else {}))
            assert (gone.status_code, gone.json()["code"]) == (404, "user_not_found")

    def test_answers_without_the_slash_too(self, client: httpx.Client, admin: str) -> None:
        with_slash, without = call(client, "GET", "/", admin), call(client, "GET", "", admin)
        assert (with_slash.status_code, without.status_code) == (200, 200)
        assert with_slash.json() == without.json()
        assert not without.history

    def test_pages_by_cursor_and_by_skip(self, client: httpx.Client, admin: str) -> None:
        for _ in range(6):
            register(client)
        ids = [user["id"] for user in call(client, "GET", "/?limit=200", admin).json()]
        assert ids == sorted(ids, reverse=True)
        walked = list(pages(client, f"{API}/users/", admin, limit=3, skip=0))
        assert [user["id"] for page in walked for user in page.json()] == ids
        for url in (page.links["next"]["url"] for page in walked[:-1]):
            assert url.startswith("http://")
            assert "limit=3" in url
            assert "skip" not in url
        skipped = call(client, "GET", "/?limit=2&skip=3", admin).json()
        assert [user["id"] for user in skipped] == ids[3:5]

    @pytest.mark.parametrize(
        "query", ["cursor=x", "cursor=' OR 1=1", "limit=0", "limit=201", "skip=-1", f"skip={'9' * 5000}"]
    )
    def test_hostile_pages_are_422(self, client: httpx.Client, admin: str, query: str) -> None:
        assert call(client, "GET", f"/?{query}", admin).status_code == 422

    @pytest.mark.parametrize(
        "identifier", ["1", "9" * 5000, "null", "%27", "me.", "00000000-0000-0000-0000-00000000000g"]
    )
    def test_hostile_ids_are_422(self, client: httpx.Client, admin: str, identifier: str) -> None:
        assert call(client, "GET", f"/{identifier}", admin).status_code == 422

    def test_a_user_with_unfinished_tasks_stays(self, client: httpx.Client, make_user: MakeUser) -> None:
        _, admin = make_user("admin")
        user, _ = make_user()
        with SessionLocal() as db:
            new_task(db, user["id"])
        answer = call(client, "DELETE", f"/{user['id']}", admin)
        assert (answer.status_code, answer.json()["code"]) == (409, "user_has_tasks")

    def test_finished_tasks_and_logins_go_with_the_user(self, client: httpx.Client, make_user: MakeUser) -> None:
        _, admin = make_user("admin")
        user, token = make_user()
        with SessionLocal() as db:
            task_in(db, TaskStatus.SUCCEEDED, user["id"])
        assert call(client, "DELETE", f"/{user['id']}", admin).status_code == 204
        assert call(client, "GET", "/me", token).status_code == 401


class TestLastAdministrator:
    @pytest.fixture
    def client(self, services: Services) -> Iterator[httpx.Client]:
        """No administrators but those of the test."""
        with shared_client(services) as started:
            yield started

    @pytest.mark.parametrize(
        ("method", "body"), [("PATCH", {"role": "user"}), ("PATCH", {"is_active": False}), ("DELETE", None)]
    )
    def test_stays(self, client: httpx.Client, make_user: MakeUser, method: str, body: dict[str, Any] | None) -> None:
        user, admin = make_user("admin")
        idle, _ = make_user("admin")
        assert call(client, "PATCH", f"/{idle['id']}", admin, json={"is_active": False}).status_code == 200
        answer = call(client, method, f"/{user['id']}", admin, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
        assert call(client, "GET", "/me", admin).json()["role"] == "admin"

    @pytest.mark.parametrize("round_", range(5))
    def test_two_who_demote_each_other_leave_one(self, client: httpx.Client, make_user: MakeUser, round_: int) -> None:
        (first, first_token), (second, second_token) = make_user("admin"), make_user("admin")
        with ThreadPoolExecutor(2) as pool:
            answers = list(
                pool.map(
                    lambda pair: call(client, "PATCH", f"/{pair[0]}", pair[1], json={"role": "user"}).status_code,
                    [(first["id"], second_token), (second["id"], first_token)],
                )
            )
        assert answers.count(200) == 1
        assert set(answers) <= {200, 401, 403, 409}
        assert sql("SELECT count(*) FROM users WHERE role = 'admin' AND is_active") == [(1,)]


class TestFirstAdmin:
    def test_is_made_once_and_left_alone_then(self, db: Session) -> None:
        assert user_service.ensure_first_admin(db, "root", PASSWORD)
        assert not user_service.ensure_first_admin(db, "ROOT", OTHER_PASSWORD, "other@example.com")
        # Given before weak ones were refused: the service must go on starting.
        assert not user_service.ensure_first_admin(db, "root", "password123")
        user = user_service.list_users(db).items[0]
        assert (user.username, user.email, user.role) == ("root", "root@localhost", "admin")

    def test_says_which_setting_is_wrong(self, db: Session) -> None:
        with pytest.raises(InvalidInput, match=r"FIRST_ADMIN_PASSWORD: .*15 char") as refused:
            user_service.ensure_first_admin(db, "root", "short")
        assert "short" not in str(refused.value)

    def test_does_not_take_anothers_address(self, db: Session) -> None:
        user_service.create_user(db, "anna", "anna@example.com", PASSWORD)
        with pytest.raises(UserExists):
            user_service.ensure_first_admin(db, "root", PASSWORD, "ANNA@example.com")


class TestTransactions:
    def test_the_callers_transaction_survives_a_refusal(self, db: Session) -> None:
        user_service.create_user(db, "anna", "anna@example.com", PASSWORD)
        bob = user_service.create_user(db, "bob", "bob@example.com", PASSWORD, commit=False)
        with pytest.raises(UserExists):
            user_service.create_user(db, "ANNA", "x@example.com", PASSWORD, commit=False)
        with pytest.raises(UserExists):
            user_service.update_user(db, bob.id, {"username": "Anna"}, commit=False)
        db.commit()
        assert [user.username for user in user_service.list_users(db).items] == ["bob", "anna"]
