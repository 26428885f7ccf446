"""Who guesses at passwords is slowed down, and the user hardly: logins from several addresses on a real PostgreSQL."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock
from typing import Any
from uuid import UUID

import httpx
import pytest
from starlette.testclient import TestClient
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.api.http import password_limits
from app.core import security
from app.core.config import get_settings
from app.core.security import verify_password
from app.db.session import SessionLocal
from app.errors import InvalidCredentials, TooManyRequests
from app.services.accounts import login_throttle
from app.services.accounts.auth_service import auth_service
from app.services.user_service import user_service
from tests.support.accounts import API, PASSWORD, bearer, login, register, sign_up
from tests.support.audit import recorded
from tests.support.services import Services
from tests.support.settings import make_app, on_new_database, sql
from tests.support.stack import Stack
from tests.support.task_client import without_the_request
from tests.support.throttle import end_waits, end_windows, forget_everybody, lengthen_first_wait
from tests.support.waiting import wait_for as wait_until

WRONG = "not the password at all"
HOME, ELSEWHERE, ATTACKER = "192.0.2.1", "198.51.100.7", "203.0.113.9"


@pytest.fixture(scope="module")
def client(services: Services) -> Iterator[TestClient]:
    """Takes the address of a client from X-Forwarded-For, as behind a proxy that is trusted."""
    with on_new_database(services):
        proxied: Any = ProxyHeadersMiddleware(make_app(), trusted_hosts="*")
        with TestClient(proxied, raise_server_exceptions=False) as started:
            yield started


@pytest.fixture(autouse=True)
def _nobody_yet(client: TestClient) -> None:
    forget_everybody(client)


@pytest.fixture
def anna(client: TestClient) -> dict[str, Any]:
    """A user, without the address from which the account was made."""
    user = register(client, "anna")
    sql("DELETE FROM login_blocks")
    return user


def attempt(client: httpx.Client, name: str, password: str = WRONG, *, address: str = ATTACKER) -> httpx.Response:
    data = {"username": name, "password": password}
    return client.post(f"{API}/auth/login", data=data, headers={"X-Forwarded-For": address})


def fail(client: TestClient, name: str, times: int, address: str = ATTACKER) -> None:
    """So many failures, with the waits between them left out."""
    for number in range(times):
        answer = attempt(client, name, address=address)
        assert answer.status_code == 401, (number, answer.text)
        end_waits(client)


def fail_from_everywhere(client: TestClient, name: str, times: int) -> None:
    for number in range(times):
        fail(client, name, 1, f"203.0.113.{number}")


def wait_of(answer: httpx.Response) -> int:
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests"), answer.text
    return int(answer.headers["retry-after"])


class TestOneAccountFromOneAddress:
    def test_waits_longer_with_each_failure_and_not_with_a_refusal(
        self, client: TestClient, anna: dict[str, Any]
    ) -> None:
        for name in ("nobody", anna["username"]):
            fail(client, name, 9)
            waits = []
            for _ in range(6):
                end_waits(client)
                assert attempt(client, name).status_code == 401
                waits.append(wait_of(attempt(client, name)))
            assert (name, waits) == (name, [1, 2, 4, 8, 16, 32])
            assert max(wait_of(attempt(client, name)) for _ in range(10)) == 32
        end_waits(client)
        assert attempt(client, anna["username"], PASSWORD).status_code == 200

    def test_the_user_signs_in_from_another_address(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengthen_first_wait(monkeypatch)
        fail(client, anna["username"], 9)
        attempt(client, anna["username"])
        wait_of(attempt(client, anna["username"], PASSWORD))
        for name in (anna["username"], anna["email"]):
            assert attempt(client, name, PASSWORD, address=HOME).status_code == 200
        wait_of(attempt(client, anna["email"], PASSWORD))

    def test_addresses_of_one_ipv6_network_are_one(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengthen_first_wait(monkeypatch)
        answers = [attempt(client, "anna", address=f"2001:db8:0:1::{number}").status_code for number in range(1, 12)]
        assert (answers, anna["username"]) == ([401] * 10 + [429], "anna")
        assert attempt(client, "anna", address="2001:db8:0:2::1").status_code == 401

    def test_a_refusal_is_answered_from_memory_until_its_wait_is_over(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(password_limits, "LONGEST_REFUSAL_SECONDS", 600)
        lengthen_first_wait(monkeypatch)
        fail(client, anna["username"], 9)
        assert attempt(client, anna["username"]).status_code == 401
        assert wait_of(attempt(client, anna["username"])) == 600
        sql("ALTER TABLE login_failures RENAME TO elsewhere")
        try:
            assert 1 <= wait_of(attempt(client, anna["username"], PASSWORD)) <= 600
            assert attempt(client, anna["email"], PASSWORD).status_code == 503
        finally:
            sql("ALTER TABLE elsewhere RENAME TO login_failures")

    def test_a_success_ends_the_row(self, client: TestClient, anna: dict[str, Any]) -> None:
        for _ in range(2):
            fail(client, anna["username"], 9)
            assert attempt(client, anna["username"], PASSWORD).status_code == 200

    def test_failures_are_forgotten_after_a_quiet_day(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengthen_first_wait(monkeypatch)
        fail(client, anna["username"], 10)
        end_windows(client, 25 * 3600)
        assert [attempt(client, anna["username"]).status_code for _ in range(11)] == [401] * 10 + [429]

    def test_parallel_guesses_get_no_more_answers_than_the_limit(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The right password among them is one of these answers."""
        lengthen_first_wait(monkeypatch)
        register(client, "anna")
        passwords = [WRONG] * 29
        passwords.insert(20, PASSWORD)
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(lambda each: attempt(client, "anna", each).status_code, passwords))
        assert answers.count(429) >= 10, answers
        assert answers.count(401) <= 10 + 10 * answers.count(200)

    @pytest.mark.parametrize("name", ["nobody", "anna"])
    def test_nor_do_those_of_many_processes(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        """Past the turns of one process: all guesses see the limit before it is reached."""
        lengthen_first_wait(monkeypatch)
        register(client, "anna")

        def guess(number: int) -> str:
            with SessionLocal() as db:
                try:
                    auth_service.login(db, name, f"{WRONG} {number}", ATTACKER)
                except (InvalidCredentials, TooManyRequests) as error:
                    return type(error).__name__
            return "nothing"

        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(guess, range(20)))
        assert sorted(answers) == ["InvalidCredentials"] * 10 + ["TooManyRequests"] * 10


class TestOneAccountFromEverywhere:
    def test_after_a_hundred_failures_in_a_row_only_known_addresses_are_free(
        self, client: TestClient, anna: dict[str, Any]
    ) -> None:
        name = anna["username"]
        assert attempt(client, name, PASSWORD, address=HOME).status_code == 200
        fail_from_everywhere(client, name, 99)
        assert attempt(client, name, address="203.0.113.200").status_code == 401
        assert wait_of(attempt(client, name, PASSWORD, address=ELSEWHERE)) == 1
        assert attempt(client, name, PASSWORD, address=HOME).status_code == 200
        # The user's success gives those who guess nothing back.
        wait_of(attempt(client, name, address="203.0.113.201"))
        end_waits(client)
        assert attempt(client, name, address="203.0.113.202").status_code == 401
        assert wait_of(attempt(client, name, address="203.0.113.203")) == 2
        assert [each.detail["failures"] for each in recorded("login.throttled", object_id=anna["id"])] == [100]

    @pytest.fixture
    def twelve(self, monkeypatch: pytest.MonkeyPatch) -> int:
        """In place of the hundred."""
        monkeypatch.setattr(login_throttle, "FAILURES_PER_ACCOUNT", 12)
        return 12

    def test_the_user_who_has_waited_makes_the_address_known(
        self, client: TestClient, anna: dict[str, Any], twelve: int
    ) -> None:
        name = anna["username"]
        fail_from_everywhere(client, name, twelve)
        assert attempt(client, name, PASSWORD, address=ELSEWHERE).status_code == 200
        assert attempt(client, name, address=ATTACKER).status_code == 401
        wait_of(attempt(client, name, PASSWORD, address=HOME))
        assert attempt(client, name, PASSWORD, address=ELSEWHERE).status_code == 200

    def test_a_success_in_between_makes_two_rows(self, client: TestClient, anna: dict[str, Any], twelve: int) -> None:
        fail_from_everywhere(client, anna["username"], twelve - 5)
        assert attempt(client, anna["username"], PASSWORD, address=HOME).status_code == 200
        fail_from_everywhere(client, anna["username"], twelve - 5)
        assert attempt(client, anna["username"], address=ATTACKER).status_code == 401

    def test_an_unknown_account_is_refused_alike(self, client: TestClient, anna: dict[str, Any], twelve: int) -> None:
        answers = []
        for name in (anna["username"], "nobody"):
            fail_from_everywhere(client, name, twelve - 1)
            answers.append(attempt(client, name, address=ELSEWHERE))
            answers.append(attempt(client, name, address=HOME))
        known, unknown = answers[:2], answers[2:]
        assert [each.status_code for each in known] == [401, 429]
        for one, other in zip(known, unknown, strict=True):
            assert (one.status_code, without_the_request(one)) == (other.status_code, without_the_request(other))
            assert one.headers.get("retry-after") == other.headers.get("retry-after")

    def test_a_known_address_outlives_a_rotation_of_the_key(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch, twelve: int
    ) -> None:
        assert attempt(client, anna["username"], PASSWORD, address=HOME).status_code == 200
        fail_from_everywhere(client, anna["username"], twelve)
        assert attempt(client, anna["username"], address=ATTACKER).status_code == 401
        settings = get_settings()
        monkeypatch.setitem(settings.__dict__, "accepted_keys", ["a-new-key" * 4, settings.signing_key])
        assert attempt(client, anna["username"], PASSWORD, address=HOME).status_code == 200

    def test_addresses_are_stored_as_digests(self, client: TestClient, anna: dict[str, Any]) -> None:
        attempt(client, anna["username"], PASSWORD, address=HOME)
        ((block,),) = sql("SELECT block FROM login_blocks")
        assert (len(bytes(block)), HOME.encode() in bytes(block)) == (32, False)


class TestOneAddress:
    @pytest.fixture(autouse=True)
    def _five(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(login_throttle, "FAILURES_PER_ADDRESS", 5)

    def test_its_failures_do_not_lock_out_who_signed_in_from_there(
        self, client: TestClient, anna: dict[str, Any]
    ) -> None:
        register(client, "bob")
        assert attempt(client, "anna", PASSWORD, address=HOME).status_code == 200
        for number in range(10):
            attempt(client, f"nobody{number}", address=HOME)
        assert [attempt(client, name, PASSWORD, address=HOME).status_code for name in ("anna", "bob")] == [200, 429]
        assert attempt(client, "bob", PASSWORD, address=ELSEWHERE).status_code == 200
        assert anna["username"] == "anna"

    def test_is_slowed_more_with_each_failure_until_its_window_is_over(self, client: TestClient) -> None:
        waits = []
        for number in range(4):
            fail(client, f"nobody{number}", 1)
        for number in range(4, 8):
            assert attempt(client, f"nobody{number}").status_code == 401
            waits.append(wait_of(attempt(client, "somebody")))
            end_waits(client)
        assert waits == [1, 2, 4, 8]
        end_windows(client)
        assert [attempt(client, f"person{number}").status_code for number in range(6)] == [401] * 5 + [429]

    def test_an_account_that_registered_there_is_known_there(self, client: TestClient) -> None:
        body = {"username": "carla", "email": "carla@example.com", "password": PASSWORD}
        headers = {"X-Forwarded-For": HOME}
        assert client.post(f"{API}/auth/register", json=body, headers=headers).status_code == 201
        for number in range(10):
            attempt(client, f"nobody{number}", address=HOME)
        assert attempt(client, "carla", PASSWORD, address=HOME).status_code == 200


class TestDeployments:
    """uvicorn takes the address from X-Forwarded-For if the peer is on this machine."""

    def test_a_restart_forgets_nothing(self, stack: Stack) -> None:
        user, _ = stack.make_user()
        with httpx.Client(base_url=stack.url, timeout=30) as client:
            for _ in range(16):
                assert attempt(client, user["username"]).status_code == 401
                stack.sql("UPDATE login_failures SET blocked_until = NULL")
            assert attempt(client, user["username"]).status_code == 401
        stack.server().kill()
        stack.server()
        with httpx.Client(base_url=stack.url, timeout=30) as client:
            assert 60 <= wait_of(attempt(client, user["username"], PASSWORD)) <= 128
            assert attempt(client, user["username"], PASSWORD, address=HOME).status_code == 200

    @pytest.mark.parametrize(("trusted", "lines"), [("10.1.2.3", 1), ("127.0.0.1", 0)])
    def test_production_tells_of_a_proxy_that_is_not_trusted(
        self, services: Services, tmp_path: Path, trusted: str, lines: int
    ) -> None:
        with Stack(services, tmp_path, APP_ENV="production") as other:
            part = other.server(options=["--forwarded-allow-ips", trusted])
            with httpx.Client(base_url=other.url, timeout=30) as client:
                for number in range(3):
                    assert attempt(client, f"nobody{number}").status_code == 401
            assert part.output().count("Name the proxy in FORWARDED_ALLOW_IPS") == lines


class TestSuccessfulLogins:
    def test_of_one_account_are_limited(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(login_throttle, "LOGINS_PER_ACCOUNT", 5)
        register(client, "anna")
        register(client, "bob")
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: attempt(client, "anna", PASSWORD), range(12)))
        assert sorted(each.status_code for each in answers) == [200] * 5 + [429] * 7
        assert all(0 < wait_of(each) <= 900 for each in answers if each.status_code == 429)
        assert attempt(client, "bob", PASSWORD).status_code == 200
        # A stranger does not learn from another address that the account is there.
        assert attempt(client, "anna", address=ELSEWHERE).status_code == 401
        wait_of(attempt(client, "anna", PASSWORD, address=ELSEWHERE))
        end_windows(client)
        assert attempt(client, "anna", PASSWORD).status_code == 200

    def test_of_one_address_are_limited_but_for_the_first_of_each_account(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(login_throttle, "LOGINS_PER_ADDRESS", 4)
        monkeypatch.setattr(get_settings(), "login_attempts", 2)
        for name in ("anna", "bob"):
            register(client, name)
        assert [attempt(client, "anna", PASSWORD).status_code for _ in range(5)] == [200] * 4 + [429]
        assert [attempt(client, "bob", PASSWORD).status_code for _ in range(3)] == [200] * 2 + [429]
        assert attempt(client, "anna", PASSWORD, address=ELSEWHERE).status_code == 200

    def test_refreshes_of_one_login_are_limited_and_the_token_stays_unused(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(login_throttle, "LOGINS_PER_ACCOUNT", 3)
        register(client, "anna")
        token, statuses = login(client, "anna")["refresh_token"], []
        for _ in range(4):
            answer = client.post(f"{API}/auth/refresh", json={"refresh_token": token})
            statuses.append(answer.status_code)
            token = answer.json().get("refresh_token", token)
        assert statuses == [200] * 3 + [429]
        end_windows(client)
        assert client.post(f"{API}/auth/refresh", json={"refresh_token": token}).status_code == 200


class TestHashing:
    def test_one_password_is_hashed_at_a_time_and_who_waits_holds_no_thread(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = login(client, anna["username"])["access_token"]
        may_end, lock, hashing, most = Event(), Lock(), 0, 0

        def slow(password: str, stored: str | None) -> tuple[bool, str | None]:
            nonlocal hashing, most
            with lock:
                hashing += 1
                most = max(most, hashing)
            assert may_end.wait(30)
            with lock:
                hashing -= 1
            return verify_password(password, stored)

        monkeypatch.setattr(security, "verify_password", slow)
        body = {"current_password": PASSWORD, "new_password": "a new password, longer"}
        with ThreadPoolExecutor(3 * get_settings().api_threads) as pool:
            logins = [pool.submit(attempt, client, anna["username"], PASSWORD) for _ in range(10)]
            change = pool.submit(client.put, f"{API}/users/me/password", headers=bearer(token), json=body)
            try:
                wait_until(lambda: hashing == 1, 30, "a password is hashed")
                for _ in range(5):
                    assert client.get(f"{API}/tasks/", headers=bearer(token)).status_code == 200
            finally:
                may_end.set()
            assert {each.result().status_code for each in logins} <= {200, 401}
            assert change.result().status_code in {204, 401}
        assert most == 1


class TestAReset:
    NEW = f"another {PASSWORD}"

    def reset(self, user: dict[str, Any]) -> None:
        with SessionLocal() as db:
            user_service.reset_password(db, UUID(user["id"]), self.NEW)

    def test_of_the_password_ends_the_waits_of_the_account_wherever_it_was_guessed(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(password_limits, "LONGEST_REFUSAL_SECONDS", 0)
        monkeypatch.setattr(login_throttle, "FAILURES_PER_ACCOUNT", 12)
        other = register(client, "other")
        for name in ("anna", "other"):
            fail(client, name, 10)
            fail_from_everywhere(client, name, 2)
        lengthen_first_wait(monkeypatch)
        for name, address in (("anna", ATTACKER), ("anna", ELSEWHERE), ("other", ATTACKER)):
            attempt(client, name, address=address)
            wait_of(attempt(client, name, PASSWORD, address=address))
        self.reset(anna)
        for name, address in ((anna["username"], ATTACKER), (anna["email"], ELSEWHERE)):
            assert attempt(client, name, self.NEW, address=address).status_code == 200
        wait_of(attempt(client, other["username"], PASSWORD))

    def test_ends_the_wait_of_who_is_asked_for_the_password_again(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengthen_first_wait(monkeypatch)
        token = attempt(client, anna["username"], PASSWORD, address=HOME).json()["access_token"]
        path, body = f"{API}/users/me/password", {"current_password": WRONG, "new_password": self.NEW}
        answers = [client.put(path, headers=bearer(token), json=body).status_code for _ in range(11)]
        assert answers == [403] * 10 + [429]
        self.reset(anna)
        token = attempt(client, anna["username"], self.NEW, address=HOME).json()["access_token"]
        body = {"current_password": self.NEW, "new_password": f"a third {PASSWORD}"}
        assert client.put(path, headers=bearer(token), json=body).status_code == 204


class TestPasswordChecks:
    def change(
        self, client: TestClient, token: str, current: str, new: str = "a new password, longer"
    ) -> httpx.Response:
        body = {"current_password": current, "new_password": new}
        return client.put(f"{API}/users/me/password", headers=bearer(token), json=body)

    def test_a_user_changes_the_password_while_others_guess_it(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(login_throttle, "FAILURES_PER_ACCOUNT", 30)
        token = attempt(client, anna["username"], PASSWORD, address=HOME).json()["access_token"]
        for address in (ATTACKER, HOME):
            for _ in range(12):
                attempt(client, anna["username"], address=address)
        fail_from_everywhere(client, anna["username"], 30)
        assert attempt(client, anna["username"], address="203.0.113.222").status_code == 401
        assert self.change(client, token, PASSWORD).status_code == 204

    def test_have_a_count_of_their_own(self, client: TestClient, anna: dict[str, Any]) -> None:
        token = login(client, anna["username"])["access_token"]
        assert [self.change(client, token, WRONG).status_code for _ in range(10)] == [403] * 10
        assert wait_of(self.change(client, token, PASSWORD)) == 1
        assert attempt(client, anna["username"], PASSWORD).status_code == 200
        end_waits(client)
        assert self.change(client, token, WRONG).status_code == 403
        assert wait_of(self.change(client, token, PASSWORD)) == 2

    def test_parallel_guesses_get_no_more_answers_than_the_limit(
        self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lengthen_first_wait(monkeypatch)
        token = login(client, anna["username"])["access_token"]
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: self.change(client, token, WRONG).status_code, range(20)))
        assert sorted(answers) == [403] * 10 + [429] * 10


class TestChanges:
    @pytest.fixture
    def token(self, client: TestClient, anna: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
        monkeypatch.setattr(login_throttle, "CHANGES_PER_USER", 3)
        return str(login(client, anna["username"])["access_token"])

    def change(self, client: TestClient, token: str, address: str = HOME, **fields: Any) -> httpx.Response:
        headers = {**bearer(token), "X-Forwarded-For": address}
        return client.patch(f"{API}/users/me", headers=headers, json=fields)

    def test_of_a_name_are_limited_whether_it_is_taken_or_not(
        self, client: TestClient, anna: dict[str, Any], token: str
    ) -> None:
        register(client, "bob")
        emails = ["bob@example.com", "free@example.com", "bob@example.com"]
        assert [self.change(client, token, email=email).status_code for email in emails] == [409, 200, 409]
        for email in ("bob@example.com", "other@example.com"):
            assert 0 < wait_of(self.change(client, token, email=email)) <= 900
        assert self.change(client, token).status_code == 200  # changes nothing
        taken = recorded("user.name_taken", object_id=anna["id"])
        assert [str(each.actor_id) for each in taken] == [anna["id"]] * 2
        assert len(recorded("user.profile_changed", object_id=anna["id"])) == 1

    def test_of_names_from_one_address_are_limited_too(
        self, client: TestClient, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(get_settings(), "registrations_per_address", 4)
        register(client, "bob")
        other = login(client, "bob")["access_token"]
        statuses = [
            self.change(client, each, email=f"mail{number}@example.com").status_code
            for number, each in enumerate((token, other, token, other, token))
        ]
        assert statuses == [200] * 4 + [429]
        assert self.change(client, token, ELSEWHERE, email="mail9@example.com").status_code == 200
        assert sign_up(client, "carla").status_code == 201  # has a count of its own

    def test_registrations_of_taken_names_are_recorded(self, client: TestClient, anna: dict[str, Any]) -> None:
        answer = client.post(
            f"{API}/auth/register",
            json={"username": anna["username"], "email": "other@example.com", "password": PASSWORD},
            headers={"X-Forwarded-For": ATTACKER},
        )
        assert answer.status_code == 409
        (record,) = recorded("user.name_taken", object_kind="address")
        assert (record.object_id, record.actor_id) == (ATTACKER, None)

    def test_new_keys_and_new_passwords_are_limited_each_by_itself(
        self, client: TestClient, anna: dict[str, Any], token: str
    ) -> None:
        def new_key(token: str) -> int:
            body = {"name": "machine", "scopes": ["tasks:read"]}
            return client.post(f"{API}/auth/api-keys", headers=bearer(token), json=body).status_code

        assert [new_key(token) for _ in range(4)] == [201] * 3 + [429]
        passwords, statuses = [PASSWORD, *(f"a long new password {number}" for number in range(4))], []
        for current, new in itertools.pairwise(passwords):
            token = login(client, anna["username"], current)["access_token"]
            body = {"current_password": current, "new_password": new}
            statuses.append(client.put(f"{API}/users/me/password", headers=bearer(token), json=body).status_code)
        assert statuses == [204] * 3 + [429]
        assert new_key(token) == 429
