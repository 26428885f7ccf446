"""A user's logins: which there are, and ending them, against a real PostgreSQL."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx

from tests.support.accounts import API, PASSWORD, bearer

MakeUser = Callable[..., tuple[dict[str, Any], str]]
SESSIONS = f"{API}/auth/sessions"


def log_in(client: httpx.Client, user: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(f"{API}/auth/login", data={"username": user["username"], "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


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
        second = log_in(client, user)["access_token"]
        assert [each["current"] for each in listed(client, second)] == [True, False]
        assert [each["current"] for each in listed(client, first)] == [False, True]
        assert listed(client, first)[0].keys() == {"id", "created_at", "refreshed_at", "expires_at", "current"}

    def test_tells_when_it_was_refreshed(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, _ = make_user()
        login = log_in(client, user)
        fresh = client.post(f"{API}/auth/refresh", json={"refresh_token": login["refresh_token"]}).json()
        newest = listed(client, fresh["access_token"])[0]
        assert newest["refreshed_at"] > newest["created_at"]

    def test_leaves_out_what_has_ended(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        other = log_in(client, user)["access_token"]
        client.post(f"{API}/auth/logout", headers=bearer(other))
        assert [each["current"] for each in listed(client, token)] == [True]


class TestEnding:
    def test_one_takes_both_of_its_tokens(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        lost = log_in(client, user)
        (session,) = (each["id"] for each in listed(client, lost["access_token"]) if each["current"])
        assert client.delete(f"{SESSIONS}/{session}", headers=bearer(token)).status_code == 204
        assert not stands(client, lost)
        again = client.post(f"{API}/auth/refresh", json={"refresh_token": lost["refresh_token"]})
        assert again.status_code == 401
        assert len(listed(client, token)) == 1

    def test_all_others_leaves_this_one_and_other_users(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, _ = make_user()
        stranger, _ = make_user()
        bystander = log_in(client, stranger)
        others = [log_in(client, user) for _ in range(2)]
        mine = log_in(client, user)
        assert client.delete(SESSIONS, headers=bearer(mine["access_token"])).status_code == 204
        assert [stands(client, each) for each in (*others, mine, bystander)] == [False, False, True, True]

    def test_somebody_elses_looks_unknown_and_stands(self, client: httpx.Client, make_user: MakeUser) -> None:
        owner, _ = make_user()
        login = log_in(client, owner)
        _, token = make_user()
        foreign, unknown = (
            client.delete(f"{SESSIONS}/{each}", headers=bearer(token))
            for each in (listed(client, login["access_token"])[0]["id"], str(uuid4()))
        )
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        differing = {key for key in foreign.json() if foreign.json()[key] != unknown.json()[key]}
        assert differing == {"instance", "request_id"}
        assert stands(client, login)

    def test_one_that_has_ended_is_unknown(self, client: httpx.Client, make_user: MakeUser) -> None:
        user, token = make_user()
        login = log_in(client, user)
        (session,) = (each["id"] for each in listed(client, login["access_token"]) if each["current"])
        answers = [client.delete(f"{SESSIONS}/{session}", headers=bearer(token)).status_code for _ in range(2)]
        assert answers == [204, 404]
