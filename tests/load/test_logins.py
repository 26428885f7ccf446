"""Log-in: hashing passwords and refusing guesses leaves the requests of others alone."""

import pytest

from app.services.accounts import login_throttle
from tests.load.duel import BOUND, BUSY_BOUND, Duel
from tests.load.greedy import Side
from tests.performance.wire import Request
from tests.support.accounts import API, PASSWORD
from tests.support.bounds import bounded

SETTINGS = bounded({login_throttle: {"LOGINS_PER_ACCOUNT": 10**9, "LOGINS_PER_ADDRESS": 10**9}})
CONNECTIONS = 16
GUESSERS = 4
FORM = "application/x-www-form-urlencoded"


async def logs_in(side: Side) -> None:
    """Logs in with the right password, or tries a wrong one, without a pause."""
    body = f"username={side.given['name']}&password={side.given['password'].replace(' ', '+')}".encode()
    await side.repeat(Request("POST", f"{API}/auth/login", body, FORM), side.given["connections"])


@pytest.mark.parametrize("path", ["/tasks/", pytest.param("", marks=pytest.mark.full)])
def test_valid_logins_leave_others_alone(duel: Duel, path: str) -> None:
    request = duel.modest_request("GET", API + path) if path else duel.modest_get()
    name = duel.greedy.get(f"{API}/users/me").json()["username"]
    seen = duel.compare(logs_in, request, name=name, password=PASSWORD, connections=CONNECTIONS)
    assert set(seen.taken) == {"200"}, str(seen)
    assert seen.ratio <= BOUND, str(seen)


@pytest.mark.full
def test_guesses_leave_others_alone(duel: Duel) -> None:
    request = duel.modest_request("GET", f"{API}/tasks/")
    seen = duel.compare(logs_in, request, name="nobody", password="a guess", connections=GUESSERS, bound=BUSY_BOUND)
    assert seen.taken["401"] < seen.taken["429"], str(seen)
    assert seen.ratio <= BUSY_BOUND, str(seen)
