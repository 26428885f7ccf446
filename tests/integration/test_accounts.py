"""Easy passwords, look-alike names, and floods of registrations, against a real PostgreSQL."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import httpx
import pytest
from starlette.testclient import TestClient

from app.core.config import ConfigurationError, get_settings
from app.core.security import hash_password
from app.db.session import SessionLocal
from app.errors import WeakPassword
from app.main import create_app
from app.services.accounts import login_throttle
from app.services.accounts.auth_service import check_first_admin_password
from app.services.user_service import user_service
from tests.support.accounts import API, PASSWORD, MakeUser, bearer, login, register, sign_up
from tests.support.services import Services
from tests.support.settings import settings, sql
from tests.support.task_client import module_client, shared_client
from tests.support.throttle import end_windows, forget_everybody
from tests.support.waiting import wait_for

shared = module_client()
PAIRS = 12


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    forget_everybody(shared)
    return shared


def assert_weak(answer: httpx.Response, field: str, kind: str, password: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (422, "weak_password"), answer.text
    (error,) = answer.json()["errors"]
    assert (error["loc"], error["type"]) == (["body", field], kind)
    assert "at least 15 characters" in error["msg"] or "Add another word or two" in error["msg"]
    assert error["msg"] in answer.json()["detail"]
    assert password.lower() not in answer.text.lower()


class TestEasyPasswords:
    def test_are_refused_wherever_one_is_set(self, client: httpx.Client, make_user: MakeUser) -> None:
        _, admin = make_user("admin")
        name, email = "anna-maria-smith", "AMaria.42@example.com"
        easy = [
            ("passwordpassword", "password_guessable"),
            ("Password1!", "password_too_short"),
            ("87654321", "password_too_short"),
            ("Anna-Maria-Smith1", "password_guessable"),
            ("amaria.42@Example.com", "password_guessable"),
        ]
        for password, kind in easy:
            assert_weak(sign_up(client, name, password, email=email), "password", kind, password)
            body = {"username": name, "email": email, "password": password}
            assert_weak(client.post(f"{API}/users/", headers=bearer(admin), json=body), "password", kind, password)
        assert sign_up(client, name, email=email).status_code == 201
        token = login(client, name)["access_token"]
        for password, kind in easy:
            change = {"current_password": PASSWORD, "new_password": password}
            answer = client.put(f"{API}/users/me/password", headers=bearer(token), json=change)
            assert_weak(answer, "new_password", kind, password)
        assert client.get(f"{API}/users/me", headers=bearer(token)).status_code == 200

    def test_the_first_administrator_has_none(self, client: httpx.Client) -> None:
        del client  # its database
        for name, password in (
            ("root", "password123"),
            ("root", "passwordpassword"),
            ("administrator", "Administrator1"),
        ):
            with SessionLocal() as db, pytest.raises(WeakPassword, match=r"^FIRST_ADMIN_PASSWORD: ") as refused:
                user_service.ensure_first_admin(db, name, password)
            assert password not in str(refused.value)

    def test_that_are_stored_already_still_log_in(self, client: httpx.Client) -> None:
        register(client, "anna")
        sql("UPDATE users SET password_hash = :stored", stored=hash_password("12345678"))
        token = login(client, "anna", "12345678")["access_token"]
        change = {"current_password": "12345678", "new_password": PASSWORD}
        assert client.put(f"{API}/users/me/password", headers=bearer(token), json=change).status_code == 204
        assert login(client, "anna")


class TestFirstAdministratorOfAStart:
    """A weak FIRST_ADMIN_PASSWORD is one line, and production does not start with it. The line does not show it."""

    PRODUCTION: ClassVar = {"APP_ENV": "production", "SECRET_KEY": "0123456789abcdef" * 4}

    @pytest.mark.parametrize("weak", ["passwordpassword", "Password1!"])
    def test_production_refuses_a_weak_one(self, weak: str) -> None:
        with settings({**self.PRODUCTION, "FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": weak}):
            for start in (create_app, lambda: check_first_admin_password(get_settings())):
                with pytest.raises(ConfigurationError, match="production refuses this FIRST_ADMIN_PASSWORD") as refused:
                    start()
                assert weak not in str(refused.value)
                assert "\n" not in str(refused.value)

    def test_production_starts_with_a_strong_one_or_none(self) -> None:
        given = {"FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": PASSWORD}
        for named in (given, *({name: value} for name, value in given.items())):
            with settings(self.PRODUCTION | named):
                create_app()

    def test_elsewhere_the_service_starts_without_that_user(
        self, services: Services, caplog: pytest.LogCaptureFixture
    ) -> None:
        weak = {"FIRST_ADMIN_USERNAME": "chief", "FIRST_ADMIN_PASSWORD": "passwordpassword"}
        with shared_client(services, **weak) as client:
            wait_for(lambda: "first administrator" in caplog.text, 30, "the line in the log")
            answer = client.post(f"{API}/auth/login", data={"username": "chief", "password": "passwordpassword"})
        assert answer.status_code == 401
        (line,) = [each.getMessage() for each in caplog.records if "FIRST_ADMIN" in each.getMessage()]
        assert line.startswith("the first administrator was not created: FIRST_ADMIN_PASSWORD: ")
        assert "passwordpassword" not in caplog.text


class TestLookAlikes:
    @pytest.fixture
    def client(self, client: TestClient) -> TestClient:
        """Where these two have registered."""
        for name in ("anna", "kate"):
            register(client, name)
        return client

    def test_addresses_that_look_like_others_are_refused(self, client: httpx.Client) -> None:
        for email in (
            "аnna@example.com",
            "ａnna@example.com",
            "an\u200bna@example.com",
            "anna@example.com\r\nBcc: x@example.com",
            "anna\r@example.com",
            "an\x00na@example.com",
            "anna\u3000@example.com",
            "用户@example.com",
            "anna@exa\u200dmple.com",
        ):
            answer = sign_up(client, "other", email=email)
            assert (email, answer.status_code, answer.json()["code"]) == (email, 422, "validation_error")
            assert answer.json()["errors"][0]["loc"] == ["body", "email"], email
            assert email.partition("@")[0] not in answer.text

    def test_spellings_of_one_address_are_one(self, client: httpx.Client) -> None:
        same = [
            "anna@EXAMPLE.com",
            "ANNA@ｅxample.com",
            "anna@example\u3002com",
            "anna@example.com\n",
            " anna@example.com",
        ]
        answers = {email: sign_up(client, "other", email=email).status_code for email in same}
        assert {email: status for email, status in answers.items() if status not in {409, 422}} == {}
        assert len(answers) == len(same)

    def test_a_domain_in_other_letters_has_one_spelling_that_looks_like_no_other(self, client: httpx.Client) -> None:
        made = sign_up(client, "bea", email="anna@Bücher.example.com")
        assert (made.status_code, made.json()["email"]) == (201, "anna@xn--bcher-kva.example.com")
        for same in ("anna@bücher.example.com", "anna@XN--BCHER-KVA.example.com", "anna@bu\u0308cher.example.com"):
            assert sign_up(client, "other", email=same).status_code == 409
        assert login(client, "anna@bücher.example.com")
        assert login(client, "anna@xn--bcher-kva.example.com")
        cyrillic = sign_up(client, "other", email="anna@ex\u0430mple.com")
        assert (cyrillic.status_code, cyrillic.json()["email"]) == (201, "anna@xn--exmple-4nf.com")

    def test_names_that_look_like_others_are_refused_at_registration_and_later(
        self, client: httpx.Client, token: str
    ) -> None:
        names = [
            "ab", ".dot", "a" * 65, "an na", "anna\x00", "a@b.cd", "ｂoss", "bоss", "bo\u200bss", "boss\n", "boss\r\n",
            "\nboss", "boss\u2028", "ſsss", "\u212aelvin",
        ]  # fmt: skip
        for name in names:
            later = client.patch(f"{API}/users/me", headers=bearer(token), json={"username": name})
            for answer in (sign_up(client, name, email="x@example.com"), later):
                assert (name, answer.status_code, answer.json()["code"]) == (name, 422, "validation_error")
                assert answer.json()["errors"][0]["loc"] == ["body", "username"], name

    def test_a_look_alike_does_not_log_in(self, client: httpx.Client) -> None:
        names = ["kate\n", "kаte", "ｋate", " kate", "\u212aate", "\u212aate@example.com"]
        answers = {
            name: client.post(f"{API}/auth/login", data={"username": name, "password": PASSWORD}).status_code
            for name in names
        }
        assert answers == dict.fromkeys(names, 401)
        assert login(client, "kate")

    def test_of_ten_spellings_at_once_one_is_registered(self, client: httpx.Client) -> None:
        names = ["emma", "Emma", "EMMA", "eMMa", "emmA"] * 2
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda name: sign_up(client, name).status_code, names))
        assert sorted(answers) == [201] + [409] * 9


class TestRegistrationLimit:
    @pytest.fixture(autouse=True)
    def _three(self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(get_settings(), "registrations_per_address", 3)

    def test_one_address_registers_so_many_in_a_window(self, client: TestClient, make_user: MakeUser) -> None:
        _, token = make_user("admin")
        assert [sign_up(client, f"anna{number}").status_code for number in range(4)] == [201, 201, 201, 429]
        answer = sign_up(client, "annabel")
        assert answer.json()["code"] == "too_many_requests"
        assert 0 < int(answer.headers["retry-after"]) <= 900
        forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
        body = {"username": "x-men", "email": "x@example.com", "password": PASSWORD}
        assert client.post(f"{API}/auth/register", json=body, headers=forged).status_code == 429
        # Logins are another matter, and so is what administrators do.
        assert login(client, "anna0")
        assert client.post(f"{API}/users/", headers=bearer(token), json=body).status_code == 201
        end_windows(client)
        assert sign_up(client, "annabel").status_code == 201

    def test_a_burst_gets_no_more_than_that(self, client: httpx.Client) -> None:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: sign_up(client, f"anna{number}").status_code, range(8)))
        assert sorted(answers) == [201] * 3 + [429] * 5

    def test_a_taken_name_counts_and_so_does_an_easy_password(self, client: httpx.Client) -> None:
        """What counts is the work, which is the same whatever comes of it."""
        assert [sign_up(client, "anna").status_code for _ in range(2)] == [201, 409]
        answers = [sign_up(client, "kate", "passwordpassword").status_code for _ in range(2)]
        assert answers == [422, 429]


class TestTime:
    def test_an_unknown_user_takes_as_long_as_a_wrong_password(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In turns, so that whatever else the machine does hits both; a noisy run is tried again."""
        monkeypatch.setattr(get_settings(), "login_attempts", 10_000)
        monkeypatch.setattr(login_throttle, "FAILURES_PER_ADDRESS", 10_000)
        register(client, "anna")
        ratios = []
        for _ in range(3):
            times: dict[str, list[float]] = {"anna": [], "nobody": []}
            for _ in range(PAIRS):
                for name, taken in times.items():
                    started = time.perf_counter()
                    answer = client.post(f"{API}/auth/login", data={"username": name, "password": "not the password"})
                    taken.append(time.perf_counter() - started)
                    assert answer.status_code == 401
            ratios.append(statistics.median(times["nobody"]) / statistics.median(times["anna"]))
            if 0.7 < ratios[-1] < 1.43:
                return
        raise AssertionError(f"unknown to known: {ratios}")
