"""The second factor, against a real PostgreSQL: one-time codes, recovery codes, their removal, the keys of the service."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pyotp
import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.__main__ import main
from app.core.config import get_settings
from app.core.security import hash_password
from app.db.session import SessionLocal
from app.ddl.clock import NOW
from app.errors import SecondFactorRequired
from app.services.accounts import login_throttle
from app.services.accounts.auth_service import auth_service
from app.services.user_service import user_service
from tests.support.accounts import API, PASSWORD, MakeUser, bearer, login
from tests.support.audit import recorded
from tests.support.lock_waits import await_lock_waits
from tests.support.second_factors import TOTP, begin, present_code, set_up, unused_code, wrong_code
from tests.support.services import SECRET_KEY, Services
from tests.support.settings import settings, sql
from tests.support.spelling import spelled
from tests.support.task_client import module_client, shared_client
from tests.support.throttle import forget_everybody, prolong_waits
from tests.support.waiting import wait_for

shared = module_client()
WRONG = "not the password at all"
NEW_KEY = "fedcba9876543210" * 4


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    forget_everybody(shared)
    return shared


def attempt(client: httpx.Client, username: str, otp: str | None = None, password: str = PASSWORD) -> httpx.Response:
    code = {} if otp is None else {"otp": otp}
    return client.post(f"{API}/auth/login", data={"username": username, "password": password, **code})


def told(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def removal(client: httpx.Client, token: str, otp: str, password: str = PASSWORD) -> httpx.Response:
    body = {"current_password": password, "otp": otp}
    return client.request("DELETE", TOTP, headers=bearer(token), json=body)


def confirmation(client: httpx.Client, token: str, otp: str) -> httpx.Response:
    return client.post(f"{TOTP}/confirm", headers=bearer(token), json={"otp": otp})


def _now() -> int:
    with SessionLocal() as db:
        return int(db.execute(select(NOW)).scalar_one().timestamp())


REQUIRED = (401, "second_factor_required")


class Account:
    """A user with a second factor in force, and one login."""

    def __init__(self, client: httpx.Client, user: dict[str, Any], token: str) -> None:
        self.client, self.name, self.id, self.token = client, user["username"], user["id"], token
        self.secret, self.recovery_codes = set_up(client, token)

    def attempt(self, otp: str | None = None, password: str = PASSWORD) -> httpx.Response:
        return attempt(self.client, self.name, otp, password)

    def code(self) -> str:
        return unused_code(self.secret)

    def wrong(self) -> str:
        return wrong_code(self.secret)


def log_in(account: Account, otp: str) -> bool:
    """As any process does, without waiting for a turn in that of the API."""
    with SessionLocal() as db:
        try:
            auth_service.login(db, account.name, PASSWORD, "192.0.2.1", otp)
        except SecondFactorRequired:
            return False
    return True


def at_once(account: Account, otp: str, table: str) -> list[bool]:
    """Three logins of three processes with one code, which all have found it good before one of them uses it."""
    with SessionLocal() as db, ThreadPoolExecutor(3) as pool:
        db.execute(spelled(f"SELECT 1 FROM {table} FOR UPDATE"))
        logins = [pool.submit(log_in, account, otp) for _ in range(3)]
        await_lock_waits(len(logins), "logins that wait for the row")
        db.commit()
        return [each.result() for each in logins]


@pytest.fixture
def account(client: httpx.Client, user: dict[str, Any], token: str) -> Account:
    return Account(client, user, token)


class TestSettingUp:
    def test_it_is_in_force_once_confirmed(self, client: httpx.Client, user: dict[str, Any], token: str) -> None:
        answer = client.post(TOTP, headers=bearer(token), json={"current_password": PASSWORD})
        assert answer.status_code == 201
        assert answer.headers["cache-control"] == "no-store"
        made = answer.json()
        assert made.keys() == {"secret", "uri"}
        assert isinstance(otp := pyotp.parse_uri(made["uri"]), pyotp.TOTP)
        assert otp.now() == present_code(made["secret"])
        assert user["username"] in made["uri"]
        assert attempt(client, user["username"]).status_code == 200
        assert told(confirmation(client, token, wrong_code(made["secret"]))) == (403, "wrong_otp")
        assert attempt(client, user["username"]).status_code == 200
        confirmed = confirmation(client, token, present_code(made["secret"]))
        assert confirmed.status_code == 200
        assert confirmed.json().keys() == {"recovery_codes"}
        assert len(set(confirmed.json()["recovery_codes"])) == 10
        assert told(attempt(client, user["username"])) == REQUIRED
        assert attempt(client, user["username"], unused_code(made["secret"])).status_code == 200

    def test_needs_the_password_and_limits_the_guesses(self, client: httpx.Client, token: str) -> None:
        body = {"current_password": WRONG}
        assert {told(client.post(TOTP, headers=bearer(token), json=body)) for _ in range(10)} == {
            (403, "wrong_password")
        }
        prolong_waits()
        assert client.post(TOTP, headers=bearer(token), json=body).status_code == 429
        assert sql("SELECT count(*) FROM second_factors") == [(0,)]

    def test_another_secret_replaces_one_that_was_not_confirmed(self, client: httpx.Client, token: str) -> None:
        first, second = begin(client, token), begin(client, token)
        assert first != second
        assert told(confirmation(client, token, present_code(first))) == (403, "wrong_otp")
        assert confirmation(client, token, present_code(second)).status_code == 200

    def test_is_begun_a_limited_number_of_times(
        self, client: httpx.Client, token: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each time adds a record to the audit, which is kept."""
        monkeypatch.setattr(login_throttle, "CHANGES_PER_USER", 2)
        body = {"current_password": PASSWORD}
        answers = [client.post(TOTP, headers=bearer(token), json=body).status_code for _ in range(3)]
        assert answers == [201, 201, 429]

    def test_one_that_is_in_force_is_neither_replaced_nor_confirmed_again(self, account: Account) -> None:
        again = account.client.post(TOTP, headers=bearer(account.token), json={"current_password": PASSWORD})
        assert told(again) == (409, "second_factor_set")
        assert told(confirmation(account.client, account.token, account.code())) == (409, "second_factor_set")
        assert account.attempt(account.code()).status_code == 200

    def test_without_one_there_is_nothing_to_confirm_or_remove(self, client: httpx.Client, token: str) -> None:
        assert told(confirmation(client, token, "000000")) == (404, "second_factor_not_found")
        begin(client, token)
        assert told(removal(client, token, "000000")) == (404, "second_factor_not_found")

    def test_guesses_at_the_confirmation_are_limited(self, client: httpx.Client, token: str) -> None:
        secret = begin(client, token)
        assert {told(confirmation(client, token, wrong_code(secret))) for _ in range(10)} == {(403, "wrong_otp")}
        prolong_waits()
        refused = confirmation(client, token, present_code(secret))
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        # The password is another matter, and so is a new secret, whose codes are limited together with the old one's.
        assert confirmation(client, token, present_code(begin(client, token))).status_code == 429

    def test_ends_the_logins_that_a_password_was_enough_for(
        self, client: httpx.Client, user: dict[str, Any], token: str
    ) -> None:
        other = login(client, user["username"])["access_token"]
        body = {"name": "machine", "scopes": ["tasks:read"]}
        key = client.post(f"{API}/auth/api-keys", headers=bearer(token), json=body).json()["key"]
        set_up(client, token)
        answers = [client.get(f"{API}/users/me", headers=bearer(each)).status_code for each in (token, other, key)]
        assert answers == [200, 401, 200]

    def test_is_off_where_the_key_would_be_gone_with_the_process(self, services: Services) -> None:
        with shared_client(services, SECRET_KEY="") as client:
            with SessionLocal() as db:
                user_service.create_user(db, "anna", "anna@example.com", PASSWORD)
            token = login(client, "anna")["access_token"]
            answer = client.post(TOTP, headers=bearer(token), json={"current_password": PASSWORD})
        assert told(answer) == (409, "second_factor_off")
        assert "SECRET_KEY" in answer.json()["detail"]


class TestLogin:
    def test_without_a_code_or_with_a_wrong_one_asks_for_one(self, account: Account) -> None:
        for otp in (None, "", "   ", account.wrong(), "1", "x" * 64, "密码"):
            answer = account.attempt(otp)
            assert told(answer) == REQUIRED, otp
            assert answer.headers["www-authenticate"] == "Bearer"
        assert account.attempt(f" {(code := account.code())[:3]} {code[3:]} ").status_code == 200

    def test_a_wrong_password_does_not_tell_that_there_is_one(self, account: Account) -> None:
        for otp in (None, account.wrong(), account.code()):
            assert told(account.attempt(otp, WRONG)) == (401, "invalid_credentials")
        assert account.attempt(present_code(account.secret)).status_code == 200  # not used up

    def test_a_code_is_good_once(self, account: Account) -> None:
        assert told(account.attempt(present_code(account.secret))) == REQUIRED  # it confirmed the second factor
        code = account.code()
        assert account.attempt(code).status_code == 200
        assert told(account.attempt(code)) == REQUIRED
        assert told(removal(account.client, account.token, code)) == (403, "wrong_otp")

    def test_a_code_is_good_for_one_of_many_at_once(self, account: Account) -> None:
        assert sorted(at_once(account, account.code(), "second_factors")) == [False, False, True]

    def test_codes_of_another_time_are_wrong(self, account: Account) -> None:
        totp, now = pyotp.TOTP(account.secret), _now()
        for seconds in (-120, -90, 90, 120):
            sql("UPDATE second_factors SET last_step = NULL")
            assert told(account.attempt(totp.at(now + seconds))) == REQUIRED, seconds

    def test_a_code_of_anothers_authenticator_is_wrong(self, account: Account, make_user: MakeUser) -> None:
        other = Account(account.client, *make_user())
        assert told(account.attempt(other.code())) == REQUIRED
        assert told(account.attempt(other.recovery_codes[0])) == REQUIRED

    def test_a_wrong_code_counts_as_a_failure(self, account: Account) -> None:
        assert [account.attempt(account.wrong()).status_code for _ in range(10)] == [401] * 10
        prolong_waits()
        assert account.attempt(account.code()).status_code == 429

    def test_a_missing_code_neither_counts_nor_forgets(self, account: Account) -> None:
        assert [account.attempt().status_code for _ in range(12)] == [401] * 12
        assert [account.attempt(account.wrong()).status_code for _ in range(9)] == [401] * 9
        assert told(account.attempt()) == REQUIRED
        assert told(account.attempt(account.wrong())) == REQUIRED
        prolong_waits()
        assert account.attempt().status_code == 429

    def test_missing_codes_count_as_logins(self, account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
        """The right password costs a hash each time, with or without a code."""
        monkeypatch.setattr(login_throttle, "LOGINS_PER_ACCOUNT", 3)
        assert [account.attempt().status_code for _ in range(3)] == [401] * 3
        prolong_waits()
        assert account.attempt().status_code == 429

    def test_that_waits_for_a_second_factor_being_set_needs_it(
        self, client: httpx.Client, user: dict[str, Any], token: str
    ) -> None:
        """The password has been found right, and the code that nobody asked for is looked for after the commit."""
        begin(client, token)
        with SessionLocal() as db, ThreadPoolExecutor(1) as pool:
            db.execute(spelled("SELECT 1 FROM users WHERE id = :id FOR UPDATE", {"id": user["id"]}))
            db.execute(spelled("UPDATE second_factors SET confirmed_at = now()"))
            waiting = pool.submit(attempt, client, user["username"])
            await_lock_waits(1, "a waiting login")
            db.commit()
            assert told(waiting.result()) == REQUIRED


class TestRecoveryCodes:
    def test_each_is_good_once(self, account: Account) -> None:
        first, second = account.recovery_codes[:2]
        assert account.attempt(first).status_code == 200
        assert told(account.attempt(first)) == REQUIRED
        assert account.attempt(second.upper().replace("-", " ")).status_code == 200
        assert sql("SELECT count(*) FROM recovery_codes") == [(8,)]

    def test_is_good_for_one_of_many_at_once(self, account: Account) -> None:
        assert sorted(at_once(account, account.recovery_codes[0], "recovery_codes")) == [False, False, True]

    def test_are_stored_as_digests_and_the_secret_encrypted(self, account: Account) -> None:
        stored = sql("SELECT digest FROM recovery_codes")
        assert len(stored) == 10
        assert all(len(digest) == 32 for (digest,) in stored)
        ((secret,),) = sql("SELECT secret FROM second_factors")
        assert account.secret.encode() not in bytes(secret)


class TestRemoval:
    def test_needs_the_password_and_a_code(self, account: Account) -> None:
        assert told(removal(account.client, account.token, account.code(), WRONG)) == (403, "wrong_password")
        assert told(removal(account.client, account.token, account.wrong())) == (403, "wrong_otp")
        assert told(account.attempt()) == REQUIRED
        assert removal(account.client, account.token, account.code()).status_code == 204
        assert account.attempt().status_code == 200
        assert sql("SELECT count(*) FROM recovery_codes") == [(0,)]
        assert Account(account.client, {"username": account.name, "id": account.id}, account.token)

    def test_takes_a_recovery_code(self, account: Account) -> None:
        assert removal(account.client, account.token, account.recovery_codes[0]).status_code == 204

    def test_limits_the_guesses_whatever_the_password(self, account: Account) -> None:
        answers = [removal(account.client, account.token, account.wrong()).status_code for _ in range(10)]
        assert answers == [403] * 10
        prolong_waits()
        assert removal(account.client, account.token, account.recovery_codes[0]).status_code == 429
        assert account.attempt(account.code()).status_code == 200  # a login is another matter

    def test_by_an_administrator_ends_the_logins_of_a_lost_device(self, account: Account, make_user: MakeUser) -> None:
        _, admin = make_user("admin")
        path = f"{API}/users/{account.id}/totp"
        assert account.client.delete(path, headers=bearer(admin)).status_code == 204
        assert account.client.get(f"{API}/users/me", headers=bearer(account.token)).status_code == 401
        assert account.attempt().status_code == 200
        assert told(account.client.delete(path, headers=bearer(admin))) == (404, "second_factor_not_found")
        nobody = f"{API}/users/{UUID(int=1)}/totp"
        assert told(account.client.delete(nobody, headers=bearer(admin))) == (404, "user_not_found")

    def test_goes_with_its_user(self, account: Account) -> None:
        with SessionLocal() as db:
            user_service.delete_user(db, UUID(account.id))
        assert sql("SELECT count(*) FROM second_factors") == [(0,)]


class TestKeys:
    """SECRET_KEY encrypts the secrets; see docs/repair.md."""

    @pytest.fixture(autouse=True)
    def _quickly(self, account: Account) -> None:
        """A hash of the test's own process is as good."""
        sql("UPDATE users SET password_hash = :stored", stored=hash_password(PASSWORD))

    @contextmanager
    def with_keys(self, key: str, *previous: str) -> Iterator[None]:
        url = get_settings().database_url
        assert url is not None
        database = {"DATABASE_URL": url.get_secret_value()}
        with settings({**database, "SECRET_KEY": key, "SECRET_KEY_PREVIOUS": ",".join(previous)}):
            yield

    def test_a_former_key_still_reads_and_what_it_wrote_can_be_renewed(
        self, account: Account, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with self.with_keys(NEW_KEY, SECRET_KEY):
            assert log_in(account, account.code())
            assert (main(["renew-encryption"]), main(["renew-encryption"])) == (0, 0)
            assert capsys.readouterr().out == "1\n0\n"
            assert log_in(account, account.code())
        with self.with_keys(NEW_KEY):
            assert log_in(account, account.code())

    def test_the_api_renews_it_at_its_start(self, account: Account, caplog: pytest.LogCaptureFixture) -> None:
        from app.main import create_app

        caplog.set_level("INFO")
        with self.with_keys(NEW_KEY, SECRET_KEY), TestClient(create_app()):
            wait_for(lambda: "1 secrets in the database" in caplog.text, 30, "the line in the log")
        with self.with_keys(NEW_KEY):
            assert log_in(account, account.code())

    def test_with_a_lost_key_recovery_codes_still_help(
        self, account: Account, caplog: pytest.LogCaptureFixture
    ) -> None:
        with self.with_keys(NEW_KEY):
            assert not log_in(account, account.code())
            assert "cannot be decrypted" in caplog.text
            assert "SECRET_KEY_PREVIOUS" in caplog.text
            assert account.secret not in caplog.text
            assert log_in(account, account.recovery_codes[0])


class TestAudit:
    def test_tells_what_has_happened_and_no_code(self, account: Account, make_user: MakeUser) -> None:
        admin, admin_token = make_user("admin")
        account.attempt(wrong := account.wrong())
        account.attempt(account.recovery_codes[0])
        removal(account.client, account.token, account.recovery_codes[1])
        set_up(account.client, account.token)
        account.client.delete(f"{API}/users/{account.id}/totp", headers=bearer(admin_token))
        found = [
            (record.event, record.detail)
            for record in recorded(object_id=account.id)
            if record.event.startswith(("second_factor", "recovery_code", "login.failed"))
        ]
        assert found == [
            ("second_factor.begun", {}),
            ("second_factor.set", {}),
            ("login.failed", {"why": "wrong one-time code"}),
            ("recovery_code.used", {"left": 9}),
            ("recovery_code.used", {"left": 8}),
            ("second_factor.removed", {}),
            ("second_factor.begun", {}),
            ("second_factor.set", {}),
            ("second_factor.reset", {}),
        ]
        actors = {str(record.actor_id) for record in recorded("second_factor.reset", object_id=account.id)}
        assert actors == {admin["id"]}
        (used, _) = recorded("recovery_code.used", object_id=account.id)
        assert str(used.actor_id) == account.id
        told_of = str([(record.object_id, record.detail, record.actor_name) for record in recorded()])
        for secret in (wrong, account.secret, *account.recovery_codes):
            assert secret not in told_of
