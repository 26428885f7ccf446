"""Users for tests, made as users are: through the API. Only an administrator's role is set in the database."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import httpx

API = "/api/v1"
PASSWORD = "correct horse battery staple 42"
OTHER_PASSWORD = "another good long password"
_numbers = itertools.count(1)

Promote = Callable[[str], None]
# The fixture `make_user`.
MakeUser = Callable[..., tuple[dict[str, Any], str]]


def sign_up(http: httpx.Client, username: str, password: str = PASSWORD, **fields: Any) -> httpx.Response:
    """The answer to a registration; `fields` change or add to its body."""
    body = {"username": username, "email": f"{username}@example.com", "password": password}
    return http.post(f"{API}/auth/register", json=body | fields)


def register(http: httpx.Client, username: str | None = None, password: str = PASSWORD) -> dict[str, Any]:
    """A new user with a name of its own; the answer's JSON."""
    answer = sign_up(http, username or f"user{next(_numbers)}", password)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def login(http: httpx.Client, username: str, password: str = PASSWORD) -> dict[str, Any]:
    """A pair of tokens: `access_token`, `refresh_token`, …"""
    answer = http.post(f"{API}/auth/login", data={"username": username, "password": password})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def make_user(http: httpx.Client, promote: Promote, role: str = "user") -> tuple[dict[str, Any], str]:
    """A registered, logged-in user of this role: (user, access token)."""
    user = register(http)
    if role == "admin":
        promote(user["id"])
        user["role"] = "admin"
    return user, login(http, user["username"])["access_token"]


def pages(http: httpx.Client, url: str, token: str, **params: Any) -> Iterator[httpx.Response]:
    """The pages of a list, by the link from each to the next one."""
    answer = http.get(url, params=params, headers=bearer(token))
    while True:
        assert answer.status_code == 200, answer.text
        yield answer
        if "next" not in answer.links:
            return
        answer = http.get(answer.links["next"]["url"], headers=bearer(token))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
