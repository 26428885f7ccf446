"""A user's logins: which there are, and ending them, against a real PostgreSQL."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from tests.support.accounts import API, bearer, login
from tests.support.task_client import module_client, without_the_request

client = module_client()

MakeUser = Callable[..., tuple[dict[str, Any], str]]
SESSIONS = f"{API}/auth/sessions"


def listed(client: httpx.Client, token: str) -> list[dict[str, Any]]:
    answer = client.get(SESSIONS, headers=bearer(token))
    assert answer.status_code == 200, answer.text
    return list(answer.json())


def stands(client: httpx.Client, login: dict[str, Any]) -> bool:
    return client.get(f"{API}/users/me", headers=bearer(login["access_token"])).status_code == 200


class TestListing:
    def test_shows_ones_own_newest_first_and_marks_this_one(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, first = make_user()
        make_user()
        second = login(client, user["username"])["access_token"]
        assert [each["current"] for each in listed(client, second)] == [True, False]
        assert [each["current"] for each in listed(client, first)] == [False, True]
        assert listed(client, first)[0].keys() == {"id", "created_at", "refreshed_at", "expires_at", "current"}

    def test_tells_when_it_was_refreshed(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, _ = make_user()
        opened = login(client, user["username"])
        fresh = client.post(f"{API}/auth/refresh", json={"refresh_token": opened["refresh_token"]}).json()
        newest = listed(client, fresh["access_token"])[0]
        assert newest["refreshed_at"] > newest["created_at"]

    def test_leaves_out_what_has_ended(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        other = login(client, user["username"])["access_token"]
        client.post(f"{API}/auth/logout", headers=bearer(other))
        assert [each["current"] for each in listed(client, token)] == [True]


class TestEnding:
    def test_one_takes_both_of_its_tokens(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        lost = login(client, user["username"])
        (session,) = (each["id"] for each in listed(client, lost["access_token"]) if each["current"])
        answers = [client.delete(f"{SESSIONS}/{session}", headers=bearer(token)).status_code for _ in range(2)]
        assert answers == [204, 404]
        assert not stands(client, lost)
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
        assert [stands(client, each) for each in (*others, mine, bystander)] == [False, False, True, True]

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
        assert stands(client, opened)
