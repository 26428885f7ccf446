"""The page of one's own account: password, second factor, logins, API keys."""

import re
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import pyotp
import pytest
from fastapi.testclient import TestClient

from tests.support.accounts import API, PASSWORD, bearer, login, register
from tests.support.page_reader import SAME, Reader, heading, signed_in, wrong
from tests.support.settings import sql

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"


@pytest.fixture
def account(client: TestClient) -> dict[str, Any]:
    """One that has no login yet."""
    return register(client)


def begin(reader: Reader) -> str:
    """Return the page with the new secret."""
    answer = reader.post("/account/second-factor", current_password=PASSWORD)
    assert answer.status_code == 200, answer.text
    return answer.text


def secret_of(page: str) -> str:
    (secret,) = re.findall(r'name="secret" value="([A-Z2-7]+)"', page)
    return str(secret)


def confirm(reader: Reader, secret: str) -> list[str]:
    """Return the recovery codes."""
    answer = reader.post("/account/second-factor/confirm", secret=secret, otp=pyotp.TOTP(secret).now())
    assert answer.status_code == 200, answer.text
    (codes,) = re.findall(r"<textarea[^>]*readonly[^>]*>(.*?)</textarea>", answer.text, re.DOTALL)
    return str(codes).split()


class TestTheSecondFactor:
    def test_is_set_up_by_a_picture_or_a_text_and_a_code(
        self, client: TestClient, reader: Reader, account: dict[str, Any]
    ) -> None:  # fmt: skip
        page = begin(reader)
        secret = secret_of(page)
        assert " ".join(re.findall("....", secret)) in page
        (picture,) = re.findall(r'<img class="code" src="data:image/svg\+xml;charset=utf-8,([^"]*)"', page)
        assert unquote(picture).startswith("<svg ")
        assert secret not in unquote(picture)  # it is drawn
        codes = confirm(reader, secret)
        assert len(codes) == len(set(codes)) == 10
        shown = reader.get("/account").text
        assert "10 recovery codes left" in shown
        assert not any(code in shown for code in codes)
        browser = Reader(client)
        assert browser.sign_in(account["username"]).status_code == 401
        assert browser.sign_in(account["username"], otp=codes[0]).status_code == 303
        assert "9 recovery codes left" in reader.get("/account").text

    def test_is_not_in_force_before_the_code(self, client: TestClient, reader: Reader, account: dict[str, Any]) -> None:
        begin(reader)
        assert 'action="/ui/account/second-factor"' in reader.get("/account").text
        assert Reader(client).sign_in(account["username"]).status_code == 303

    def test_keeps_its_picture_after_a_wrong_code(self, reader: Reader) -> None:
        page = begin(reader)
        for otp in ("000000", ""):
            again = reader.post("/account/second-factor/confirm", secret=secret_of(page), otp=otp)
            assert again.status_code in {403, 422}
            assert wrong(again.text).keys() == {"otp"}
            assert re.findall(r'src="data:[^"]*"', again.text) == re.findall(r'src="data:[^"]*"', page)
        assert len(confirm(reader, secret_of(page))) == 10

    def test_draws_no_secret_that_is_none(self, reader: Reader) -> None:
        begin(reader)
        refused = reader.post("/account/second-factor/confirm", secret="<script>", otp="000000")
        assert (refused.status_code, "<script>" in refused.text.partition("</head>")[2]) == (422, False)

    def test_needs_the_password(self, reader: Reader) -> None:
        refused = reader.post("/account/second-factor", current_password="wrong")
        assert (refused.status_code, wrong(refused.text)) == (
            403, {"factor_current_password": "The current password is wrong"},
        )  # fmt: skip

    def test_is_turned_off_by_the_password_and_a_code(self, client: TestClient, reader: Reader) -> None:
        codes = confirm(reader, secret_of(begin(reader)))
        typed = {"current_password": PASSWORD, "otp": codes[0]}
        for changed, field in (({"otp": "000000"}, "otp"), ({"current_password": "wrong"}, "current_password")):
            refused = reader.post("/account/second-factor/remove", **typed | changed)
            assert (refused.status_code, [*wrong(refused.text)]) == (403, [f"factor_{field}"])
            assert "<details open>" in refused.text
        done = reader.post("/account/second-factor/remove", **typed)
        assert (done.status_code, done.headers["location"]) == (303, "/ui/account")
        assert "The second factor is off" in reader.get("/account").text

    def test_is_not_replaced_while_it_is_in_force(self, reader: Reader) -> None:
        confirm(reader, secret_of(begin(reader)))
        refused = reader.post("/account/second-factor", current_password=PASSWORD)
        assert (refused.status_code, "A second factor is in force: remove it first" in refused.text) == (409, True)
        assert "data:image" not in refused.text


class TestLogins:
    def test_tell_the_browser_and_the_address(self, client: TestClient, account: dict[str, Any]) -> None:
        browser = Reader(client)
        answer = browser.post(
            "/sign-in", SAME | {"User-Agent": FIREFOX}, username=account["username"], password=PASSWORD
        )
        assert answer.status_code == 303
        login(client, account["username"])
        shown = browser.get("/account").text.partition("Logins")[2]
        assert "Firefox on Linux" in shown
        assert f'title="{FIREFOX}"' in shown
        assert "testclient" in shown  # the other one, by the API; and the address of both

    def test_are_told_by_the_api_as_well(self, client: TestClient, account: dict[str, Any]) -> None:
        token = login(client, account["username"])["access_token"]
        (listed,) = client.get(f"{API}/auth/sessions", headers=bearer(token)).json()
        assert (listed["address"], listed["user_agent"]) == ("testclient", "testclient")

    def test_keep_no_more_of_a_client_than_is_shown(self, client: TestClient, account: dict[str, Any]) -> None:
        form = {"username": account["username"], "password": PASSWORD}
        agents = ("a" * 5000, "<script>alert(1)</script>", "tab\there", "")
        for agent in agents:
            answer = client.post(f"{API}/auth/login", data=form, headers={"User-Agent": agent})
            assert answer.status_code == 200
        stored = sql("SELECT user_agent FROM login_sessions ORDER BY created_at DESC LIMIT 4")
        assert [each for (each,) in stored] == [None, "tabhere", "<script>alert(1)</script>", "a" * 256]
        assert "<script>alert" not in signed_in(client, account).get("/account").text


class TestThePassword:
    @pytest.mark.parametrize(
        ("typed", "status", "field"),
        [
            ({"current_password": "wrong", "new_password": "a much better password"}, 403, "current_password"),
            ({"current_password": PASSWORD, "new_password": "short"}, 422, "new_password"),
            ({"current_password": PASSWORD, "new_password": "x" * 2000}, 422, "new_password"),
        ],
    )
    def test_is_refused_at_the_field(self, reader: Reader, typed: dict[str, str], status: int, field: str) -> None:
        answer = reader.post("/account/password", **typed)
        assert (answer.status_code, [*wrong(answer.text)]) == (status, [field])
        assert not any(value in answer.text for value in (PASSWORD, typed["new_password"]))


class TestAKey:
    def create(self, reader: Reader, **form: Any) -> httpx.Response:
        return reader.post("/account/api-keys", **{"name": "nightly", "scopes": ["tasks:read"], "days": "90"} | form)

    def test_expires_when_it_was_said(self, client: TestClient, reader: Reader, account: dict[str, Any]) -> None:
        assert self.create(reader, days="7").status_code == 422  # and no key that never expires
        for days in ("90", ""):
            made = self.create(reader, name=f"key of {days or 'no'} days", days=days)
            assert made.status_code == 200
            assert len(re.findall(r"<pre[^>]*>tsk_[\w-]+</pre>", made.text)) == 1
        headers = bearer(login(client, account["username"])["access_token"])
        last, first = client.get(f"{API}/auth/api-keys", headers=headers).json()
        assert last["expires_at"] is None
        until, since = (datetime.fromisoformat(first[name]) for name in ("expires_at", "created_at"))
        assert (until - since + timedelta(minutes=1)).days == 90

    def test_that_is_refused_keeps_what_was_typed(self, reader: Reader) -> None:
        refused = self.create(reader, name="kept", scopes=[], days="365")
        assert (refused.status_code, 'id="scopes-error"' in refused.text) == (422, True)
        assert 'value="kept"' in refused.text
        assert '<option value="365" selected>' in refused.text
        refused = self.create(reader, name="", scopes=["tasks:write"])
        assert (refused.status_code, [*wrong(refused.text)]) == (422, ["name"])
        assert 'value="tasks:write" checked' in refused.text
        refused = self.create(reader, scopes=["admin"])
        assert (refused.status_code, 'id="scopes-error"' in refused.text) == (403, True)

    def test_says_when_it_was_used_and_that_it_is_over(self, client: TestClient, reader: Reader) -> None:
        key = re.findall(r"<pre[^>]*>(tsk_[\w-]+)</pre>", self.create(reader).text)[0]
        assert client.get(f"{API}/tasks/count", headers=bearer(key)).status_code == 200
        shown = reader.get("/account").text
        assert shown.partition("API keys")[2].count("data-age") == 3  # created, used, expires
        sql("UPDATE api_keys SET expires_at = clock_timestamp() - interval '1 day'")
        assert "Expired" in reader.get("/account").text

    def test_is_offered_with_what_its_scopes_mean(self, reader: Reader) -> None:
        shown = reader.get("/account").text
        assert "create, change, cancel, retry and delete your tasks" in shown
        assert "manage users" not in shown
        assert heading(shown)
