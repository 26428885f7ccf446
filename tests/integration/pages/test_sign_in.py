"""The sign-in, its cookie, and the end of a login: who is signed in, and who is not."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pyotp
import pytest
from fastapi.testclient import TestClient

from app.core.security import create_page_token, read_access_token, read_page_token
from app.errors import InvalidToken
from tests.support.accounts import API, PASSWORD, bearer, login, register
from tests.support.audit import recorded
from tests.support.page_reader import SAME, Reader

LOOPBACK = "http://127.0.0.1:8000"


class TestSignIn:
    def test_over_https_the_cookie_belongs_to_this_host_alone(
        self, client: TestClient, account: dict[str, Any]
    ) -> None:  # fmt: skip
        answer = Reader(client).sign_in(account["username"], next="/tasks?q=status%3Afailed")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/tasks?q=status%3Afailed")
        name, _, rest = answer.headers["set-cookie"].partition("=")
        parts = {part.strip().lower() for part in rest.split(";")[1:]}
        assert name == "__Host-session"
        assert {"secure", "httponly", "samesite=lax", "path=/"} <= parts
        assert not any(part.startswith("domain") for part in parts)

    def test_over_plain_http_only_a_loopback_address_signs_in(
        self, client: TestClient, account: dict[str, Any]
    ) -> None:  # fmt: skip
        here = Reader(client, LOOPBACK)
        assert here.sign_in(account["username"]).headers["set-cookie"].startswith("session=")
        assert here.get("/tasks").status_code == 200
        for origin, headers in (("http://tasks.example.com", {}), (LOOPBACK, {"X-Forwarded-For": "192.0.2.1"})):
            elsewhere = Reader(client, origin)
            answer = elsewhere.post("/sign-in", SAME | headers, username=account["username"], password=PASSWORD)
            assert answer.status_code == 403
            assert "https is needed" in answer.text
            assert "set-cookie" not in answer.headers

    def test_a_wrong_password_is_told_and_leaves_the_name(self, client: TestClient, account: dict[str, Any]) -> None:
        answer = Reader(client).sign_in(account["username"], "wrong")
        assert answer.status_code == 401
        assert "The username or the password is wrong" in answer.text
        assert f'value="{account["username"]}"' in answer.text
        assert "/choices/language" in answer.text
        assert "set-cookie" not in answer.headers

    def test_a_second_factor_is_asked_for(self, client: TestClient, account: dict[str, Any]) -> None:
        headers = bearer(login(client, account["username"])["access_token"])
        secret = client.post(
            f"{API}/users/me/totp", json={"current_password": PASSWORD}, headers=headers
        ).json()["secret"]  # fmt: skip
        confirmed = client.post(
            f"{API}/users/me/totp/confirm", json={"otp": pyotp.TOTP(secret).now()}, headers=headers
        )  # fmt: skip
        code = confirmed.json()["recovery_codes"][0]
        browser = Reader(client)
        asked = browser.sign_in(account["username"])
        assert asked.status_code == 401
        assert 'name="otp"' in asked.text
        assert browser.sign_in(account["username"], otp="000000").status_code == 401
        assert browser.sign_in(account["username"], otp=code).status_code == 303

    def test_nobody_is_led_elsewhere(self, client: TestClient, account: dict[str, Any]) -> None:
        browser = Reader(client)
        for wanted in ("https://evil.example", "//evil.example", "/\\evil.example", "evil", "/a b", "/\n"):
            assert 'name="next" value="/"' in browser.get(f"/sign-in?{urlencode({'next': wanted})}").text
            assert browser.sign_in(account["username"], next=wanted).headers["location"] == "/ui/"

    def test_a_session_that_was_planted_is_not_taken_over(self, client: TestClient, account: dict[str, Any]) -> None:
        attacker = register(client)
        planted = Reader(client)
        planted.sign_in(attacker["username"])
        before = planted.cookies["__Host-session"]
        planted.sign_in(account["username"])
        assert planted.cookies["__Host-session"] != before
        assert account["username"] in planted.get("/account").text

    def test_after_the_sign_out_the_cookie_is_worth_nothing(self, reader: Reader) -> None:
        kept = reader.cookies["__Host-session"]
        answer = reader.post("/sign-out")
        assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
        assert "cache" in answer.headers["clear-site-data"]
        assert "__Host-session" not in reader.cookies
        answer = reader.get("/tasks", Cookie=f"__Host-session={kept}")
        assert answer.headers["location"] == "/ui/sign-in?next=/tasks"

    def test_a_login_that_has_ended_leads_to_the_sign_in_and_back(
        self, client: TestClient, reader: Reader, account: dict[str, Any]
    ) -> None:  # fmt: skip
        headers = bearer(login(client, account["username"])["access_token"])
        assert client.delete(f"{API}/auth/sessions", headers=headers).status_code == 204
        answer = reader.get("/tasks?q=status:failed")
        assert answer.status_code == 303
        assert answer.headers["location"] == "/ui/sign-in?next=/tasks%3Fq%3Dstatus%3Afailed"
        assert reader.post(f"/tasks/{uuid4()}/cancel").headers["location"] == "/ui/sign-in?next=/"


class TestTheCookie:
    def test_the_api_does_not_read_it(self, client: TestClient, reader: Reader) -> None:
        token = reader.cookies["__Host-session"]
        assert reader.request("GET", f"{API}/users/me", {}).status_code == 401
        assert client.get(f"{API}/users/me", headers=bearer(token)).status_code == 401
        with pytest.raises(InvalidToken):
            read_access_token(token)

    def test_the_pages_read_no_bearer_token(self, client: TestClient, account: dict[str, Any]) -> None:
        token = login(client, account["username"])["access_token"]
        browser = Reader(client)
        assert browser.get("/tasks", Authorization=f"Bearer {token}").status_code == 303
        assert browser.get("/tasks", Cookie=f"__Host-session={token}").status_code == 303
        with pytest.raises(InvalidToken):
            read_page_token(token)

    def test_a_name_of_the_other_scheme_is_not_read(self, reader: Reader) -> None:
        token = reader.cookies["__Host-session"]
        reader.cookies.clear()
        assert reader.get("/tasks", Cookie=f"session={token}").status_code == 303

    def test_it_names_its_own_login_alone(self, client: TestClient, reader: Reader) -> None:
        mine = read_page_token(reader.cookies["__Host-session"])
        others = read_access_token(login(client, register(client)["username"])["access_token"])
        forged = create_page_token(mine.user_id, others.session_id, datetime.now(UTC), mine.expires_at)
        assert reader.get("/tasks", Cookie=f"__Host-session={forged}").status_code == 303


class TestALoginThatIsReplaced:
    def test_ends_with_the_next_sign_in_of_its_browser(self, reader: Reader, account: dict[str, Any]) -> None:
        before = dict(reader.cookies)
        assert reader.sign_in(account["username"]).status_code == 303
        assert reader.get("/tasks").status_code == 200
        reader.cookies = before
        assert reader.get("/tasks").status_code == 303
        (record,) = recorded("logout", actor_id=None, object_id=account["id"])
        assert record.detail["why"] == "replaced"

    def test_stands_where_the_next_one_fails(self, reader: Reader, account: dict[str, Any]) -> None:
        assert reader.sign_in(account["username"], "wrong").status_code == 401
        assert reader.get("/tasks").status_code == 200
