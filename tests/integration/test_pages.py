"""The pages at `/ui/` over HTTP: who may see and do what, and what no other site can make a reader do."""

import html
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import httpx
import pyotp
import pytest
from fastapi.testclient import TestClient

from app.core.config import get_settings
from app.core.security import create_page_token, read_access_token, read_page_token
from app.db.session import SessionLocal
from app.errors import InvalidToken
from app.live import queries
from app.models.task import Task
from app.services.audit import audit_service as audit_module, recording
from app.services.audit.deeds import DeedLimits
from app.web.json_shown import MAX_BYTES
from tests.support.accounts import API, PASSWORD, MakeUser, bearer, login, register
from tests.support.audit import recorded
from tests.support.services import Services
from tests.support.settings import settings
from tests.support.task_client import BODY, TaskClient, module_client, shared_client, task_client
from tests.support.throttle import forget_everybody

shared = module_client(WEB_UI="true")
HTTPS, LOOPBACK = "https://tasks.example.com", "http://127.0.0.1:8000"
SAME = {"Sec-Fetch-Site": "same-origin"}
PAGES = ("/", "/tasks", "/new", "/errors", "/queues", "/queues/default", "/limits", "/account")
OF_ADMINS = ("/users", "/audit")


class Reader:
    """A browser without JavaScript: keeps cookies, follows no redirect, sends what browsers send with forms."""

    def __init__(self, client: TestClient, origin: str = HTTPS) -> None:
        self._client, self.origin = client, origin
        self.cookies: dict[str, str] = {}

    def request(self, method: str, path: str, headers: dict[str, str], **options: Any) -> httpx.Response:
        if self.cookies:
            headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **headers}
        self._client.cookies.clear()
        answer = self._client.request(method, self.origin + path, headers=headers, follow_redirects=False, **options)
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.request("GET", f"/ui{path}", headers)

    def post(self, path: str, headers: dict[str, str] | None = None, **form: Any) -> httpx.Response:
        return self.request("POST", f"/ui{path}", SAME if headers is None else headers, data=form)

    @contextmanager
    def stream(self, path: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The tasks that its events show, as they come."""
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        self._client.cookies.clear()
        with self._client.stream("GET", f"{self.origin}/ui{path}", headers=headers) as answer:
            assert answer.status_code == 200
            yield (json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))

    def sign_in(self, username: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        return self.post("/sign-in", username=username, password=password, **more)


@pytest.fixture
def client(shared: TestClient) -> TestClient:
    forget_everybody(shared)
    return shared


@pytest.fixture
def account(client: TestClient) -> dict[str, Any]:
    return register(client)


@pytest.fixture
def reader(client: TestClient, account: dict[str, Any]) -> Reader:
    """Signed in over https."""
    found = Reader(client)
    assert found.sign_in(account["username"]).status_code == 303
    return found


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


class TestOtherSites:
    def test_a_form_of_another_site_changes_nothing(self, reader: Reader) -> None:
        for headers in (
            {},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"},
            {"Origin": HTTPS, "Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Sec-Fetch-Site": "none"},
        ):
            for path in ("/new", f"/tasks/{uuid4()}/cancel", "/sign-out", "/sign-in", "/choices/theme"):
                answer = reader.post(path, headers, name="x", celery_task_name="x", value="dark")
                assert answer.status_code == 403, (path, headers)
        assert reader.get("/tasks").status_code == 200  # still signed in

    def test_a_form_of_the_pages_works(self, reader: Reader) -> None:
        for headers in ({"Origin": HTTPS}, SAME, {"Origin": HTTPS, **SAME}):
            assert reader.post("/choices/theme", headers, value="dark").status_code == 303

    def test_no_page_can_be_framed_or_kept_or_load_from_elsewhere(self, reader: Reader) -> None:
        for path in (*PAGES, "/sign-in", f"/tasks/{uuid4()}"):
            headers = reader.get(path).headers
            policy = headers["content-security-policy"]
            assert "frame-ancestors 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-frame-options"] == "DENY"


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


class TestARefusal:
    def test_names_who_is_signed_in(self, reader: Reader, account: dict[str, Any]) -> None:
        assert reader.post("/new", {"Origin": "https://evil.example"}).status_code == 403
        (record,) = recorded("access.denied", actor_id=UUID(account["id"]))
        assert record.detail["code"] == "cross_origin"

    def test_of_what_another_site_sends_costs_the_one_who_is_signed_in_nothing(
        self, reader: Reader, account: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It counts for the address: their own changes are not refused for it."""
        limits = DeedLimits()
        for module in (recording, audit_module):
            monkeypatch.setattr(module, "deed_limits", limits)
        monkeypatch.setattr(get_settings(), "audited_deeds_per_minute", 5)
        forged = [reader.post("/new", {"Origin": "https://evil.example"}).status_code for _ in range(8)]
        assert forged == [403] * 5 + [429] * 3
        assert len(recorded("access.denied", actor_id=UUID(account["id"]))) == 5
        assert recorded("deeds.throttled", actor_id=UUID(account["id"])) == []
        assert reader.get("/users").status_code == 403

    def test_of_nobody_is_not_recorded(self, client: TestClient) -> None:
        before = len(recorded("access.denied"))
        assert Reader(client).post("/sign-out", {}).status_code == 403
        assert len(recorded("access.denied")) == before


class TestLargeJson:
    def test_a_page_shows_so_much_of_it_and_says_where_the_rest_is(self, reader: Reader, client: TestClient) -> None:
        """Each value is indented by its depth: of 180 KB there were 11 MB."""
        value: Any = [1] * 20_000
        for _ in range(60):
            value = [value]
        task_id = self.create(reader, value)
        page = reader.get(f"/tasks/{task_id}")
        assert len(page.text) < 2 * MAX_BYTES
        assert f'href="/ui/tasks/{task_id}/task.json" download' in page.text
        whole = reader.get(f"/tasks/{task_id}/task.json").json()
        assert (whole["kwargs"]["x"], whole["id"]) == (value, task_id)
        assert reader.get(f"/tasks/{task_id}").status_code == 200

    def test_what_fits_is_whole(self, reader: Reader) -> None:
        page = reader.get(f"/tasks/{self.create(reader, ['<b>', {'a': 'é'}])}").text
        assert "Cut here" not in page
        assert "&#34;a&#34;: &#34;é&#34;" in page

    @staticmethod
    def create(reader: Reader, value: Any) -> str:
        body = BODY | {"args": [0.1], "kwargs": {"x": value}}
        answer = reader.post("/new", celery_task_name=body["celery_task_name"], by="json", json=json.dumps(body))
        assert answer.status_code == 303, answer.text[:300]
        return answer.headers["location"].rpartition("/")[2]


class TestUnknownParameters:
    def test_are_ignored_and_the_page_says_so(self, reader: Reader) -> None:
        page = reader.get("/tasks?status=failed&q=x&<b>=1").text
        told = "<code><bdi>status</bdi></code> <code><bdi>&lt;b&gt;</bdi></code>"
        assert f"Ignored, since this page has no such parameter: {told}" in page
        assert "Ignored" not in reader.get("/tasks?q=x").text

    def test_are_no_text_that_a_stranger_puts_on_the_sign_in_page(self, client: TestClient) -> None:
        assert "Ignored" not in Reader(client).get("/sign-in?Your+account+is+locked:+call+555=1").text


class TestRights:
    def test_nobody_sees_a_page_without_signing_in(self, client: TestClient) -> None:
        for path in (*PAGES, *OF_ADMINS, f"/tasks/{uuid4()}", "/events"):
            assert Reader(client).get(path).status_code == 303, path

    def test_another_users_task_does_not_exist(self, tasks: TaskClient, reader: Reader) -> None:
        task = tasks.create()
        for answer in (
            reader.get(f"/tasks/{task['id']}"),
            reader.get(f"/tasks/{task['id']}/events"),
            *(reader.post(f"/tasks/{task['id']}/{deed}") for deed in ("cancel", "retry", "delete")),
        ):
            assert answer.status_code == 404
            assert task["name"] not in answer.text
        assert task["id"] not in reader.get("/tasks").text
        assert tasks.get(task["id"]).json()["status"] == "pending"

    def test_the_overview_shows_what_runs_of_the_readers_own(
        self, tasks: TaskClient, client: TestClient, reader: Reader
    ) -> None:
        running, owner = tasks.task_in("running"), Reader(client)
        owner.sign_in(tasks.user["username"])
        assert (listed(owner.get("/").text), listed(reader.get("/").text)) == ([running], [])

    def test_a_form_creates_no_task_that_is_kept_for_others(self, reader: Reader) -> None:
        form = {"celery_task_name": "app.tasks.common_tasks.fetch_url", "name": "x", "task_type": "x"}
        form["kwargs.url"] = "https://example.com/"
        with settings({"OUTBOUND_USERS": "role:admin"}):
            refused = reader.post("/new", **form)
            assert (refused.status_code, "You may not create" in refused.text) == (403, True)
            assert listed(reader.get("/tasks").text) == []
        assert reader.post("/new", **form).status_code == 303

    def test_a_stream_of_rows_tells_nothing_of_another_users_tasks(
        self, tasks: TaskClient, client: TestClient, make_user: MakeUser
    ) -> None:
        browser = Reader(client)
        browser.sign_in(tasks.user["username"])
        theirs, mine = task_client(client, make_user).create()["id"], tasks.create()["id"]
        with browser.stream(f"/events?id={theirs}&id={mine}") as states:
            told = [next(states)]
            tasks.post(f"{mine}/cancel")
            while told[-1]["status"] != "revoked":  # behind what the stream begins with
                told.append(next(states))
        assert {state["id"] for state in told} == {mine}

    def test_a_stream_of_rows_follows_those_that_its_reader_may_see(self, tasks: TaskClient) -> None:
        task, unknown = UUID(tasks.create()["id"]), uuid4()
        owner = UUID(tasks.get(str(task)).json()["user_id"])
        assert queries.seen_by(owner, [task, unknown]) == queries.seen_by(None, [task, unknown]) == [task]
        assert queries.seen_by(uuid4(), [task]) == []

    def test_ordinary_users_do_not_administrate(self, reader: Reader) -> None:
        for path in OF_ADMINS:
            assert reader.get(path).status_code == 403
        for path in ("/queues/default/pause", "/queues/default/resume", "/workers/w@h/drain", f"/users/{uuid4()}"):
            assert reader.post(path, reason="x", role="admin").status_code == 403, path
        assert "Users" not in reader.get("/").text


class TestTasks:
    def test_from_the_form_to_its_end(self, reader: Reader) -> None:
        form = {"celery_task_name": "app.tasks.common_tasks.long_running_task", "name": "a <b>bold</b> name"}
        created = reader.post("/new", **form, task_type="manual", **{"kwargs.duration": "5"})
        assert created.status_code == 303, created.text
        path = created.headers["location"].removeprefix("/ui")
        shown = reader.get(path).text
        assert "<h1><bdi>a &lt;b&gt;bold&lt;/b&gt; name</bdi></h1>" in shown
        assert 'data-status="pending"' in shown
        assert 'data-status="pending"' in shown
        assert deeds(shown) == ["cancel"]
        assert reader.post(f"{path}/cancel", confirmed="true").status_code == 303
        shown = reader.get(path).text
        assert 'data-status="revoked"' in shown
        assert deeds(shown) == ["change", "retry", "delete"]
        assert reader.post(f"{path}/retry").status_code == 303
        assert reader.post(f"{path}/delete", confirmed="true").status_code == 409
        assert reader.post(f"{path}/cancel", confirmed="true").status_code == 303
        assert reader.post(f"{path}/delete", confirmed="true").headers["location"] == "/ui/tasks"
        assert reader.get(path).status_code == 404

    def test_an_ended_task_is_repeated_with_changes(self, tasks: TaskClient, client: TestClient) -> None:
        browser = Reader(client)
        browser.sign_in(tasks.user["username"])
        kwargs = {"duration": 3, "steps": 7}
        old = tasks.create(name="old", args=[], kwargs=kwargs, tags=["a", "b"], delay_seconds=600, max_attempts=5)
        path = f"/tasks/{old['id']}"
        assert deeds(browser.get(path).text) == ["run-now", "cancel"]
        assert browser.post(f"{path}/change", celery_task_name=old["celery_task_name"]).status_code == 409
        assert browser.post(f"{path}/run-now").status_code == 303
        assert deeds(browser.get(path).text) == ["cancel"]
        browser.post(f"{path}/cancel", confirmed="true")
        form = browser.get(f"{path}/change").text
        for shown in ('value="3"', 'value="7"', 'value="a, b"', 'value="old"'):
            assert shown in form, shown
        changed = {"name": "new", "task_type": "t", "kwargs.duration": "0", "kwargs.steps": "7"}
        answer = browser.post(f"{path}/change", celery_task_name=old["celery_task_name"], **changed)
        assert answer.status_code == 303, answer.text
        new = tasks.get(answer.headers["location"].rpartition("/")[2]).json()
        assert (new["name"], new["retry_of"], new["kwargs"]["duration"]) == ("new", old["id"], 0)
        assert (new["tags"], new["delay_seconds"], new["max_attempts"]) == ([], None, 1)  # as they were left: empty

    def test_what_the_form_cannot_say_is_repeated_by_json_with_its_secrets(
        self, tasks: TaskClient, client: TestClient
    ) -> None:
        browser = Reader(client)
        browser.sign_in(tasks.user["username"])
        kwargs = {"duration": 3, "customer": "ACME", "password": "hunter2"}
        old = tasks.create(name="old", args=[], kwargs=kwargs, delay_seconds=600)
        browser.post(f"/tasks/{old['id']}/cancel", confirmed="true")
        form = browser.get(f"/tasks/{old['id']}/change").text
        assert "stays as JSON" in form
        assert "<code>kwargs.customer</code>" in form
        assert 'name="kwargs.' not in form
        assert "hunter2" not in form
        typed = html.unescape(re.search('<textarea id="json"[^>]*>(.*?)</textarea>', form, re.DOTALL)[1])  # type: ignore[index]
        changed = json.loads(typed)
        changed["kwargs"]["customer"] = "another"
        answer = browser.post(
            f"/tasks/{old['id']}/change", by="json", celery_task_name=old["celery_task_name"], json=json.dumps(changed)
        )
        assert answer.status_code == 303, answer.text
        new = UUID(answer.headers["location"].rpartition("/")[2])
        with SessionLocal() as db:
            assert db.get_one(Task, new).kwargs == {**kwargs, "customer": "another"}

    def test_a_refused_user_is_told_beside_the_form(self, client: TestClient, make_user: MakeUser) -> None:
        browser = Reader(client)
        account, _ = make_user("admin")
        browser.sign_in(account["username"])
        for form in (
            {"username": account["username"], "email": "b@example.com", "password": PASSWORD},
            {"username": "another", "email": "b@example.com", "password": "password1"},
        ):
            answer = browser.post("/users", **form)
            assert answer.status_code in {409, 422}
            assert "New user" in answer.text

    def test_what_is_wrong_with_a_form_is_told_and_nothing_typed_is_lost(self, reader: Reader) -> None:
        form = {"celery_task_name": "app.tasks.common_tasks.long_running_task", "name": "kept", "task_type": "manual"}
        answer = reader.post("/new", **form, **{"kwargs.duration": "soon", "kwargs.steps": "7"})
        assert answer.status_code == 422
        assert "duration" in answer.text
        assert 'value="kept"' in answer.text
        assert 'value="7"' in answer.text
        answer = reader.post("/new", by="json", celery_task_name="x", json='{"name": ')
        assert answer.status_code == 422
        assert "{&#34;name&#34;:" in answer.text

    def test_a_search_lists_what_it_counts(self, tasks: TaskClient, client: TestClient) -> None:
        browser = Reader(client)
        assert browser.sign_in(tasks.user["username"]).status_code == 303
        first, second = tasks.create(tags=["a b"]), tasks.create()
        assert tasks.post(f"{second['id']}/cancel").status_code == 200
        assert listed(browser.get("/tasks").text) == [second["id"], first["id"]]
        for search, found in (("status:revoked", second), ('tag:"a b"', first)):
            assert listed(browser.get(f"/tasks?q={search}").text) == [found["id"]]
        assert "Not understood" in browser.get("/tasks?q=status:x").text

    def test_a_page_speaks_the_readers_language(self, reader: Reader) -> None:
        assert "还没有任务" in reader.get("/tasks", **{"Accept-Language": "zh-CN"}).text
        assert reader.post("/choices/language", value="zh", next="/tasks").headers["location"] == "/ui/tasks"
        assert '<html lang="zh"' in reader.get("/tasks").text
        reader.post("/choices/language", value="xx")
        assert '<html lang="zh"' in reader.get("/tasks").text


class TestErrorsInChinese:
    """Everything that a page of an error says is in the reader's language, but for codes and what was sent."""

    ID = "0190a2b4-0000-7000-8000-000000000000"

    @pytest.mark.parametrize(
        ("method", "path", "form", "said"),
        [
            ("GET", "/tasks/xyz", {}, "资源不存在"),
            ("GET", "/none", {}, "资源不存在"),
            ("GET", f"/tasks/{ID}", {}, "任务不存在"),
            ("DELETE", "/tasks", {}, "不支持此请求方法"),
            ("POST", "/bulk/delete/preview", {"q": ""}, "没有选择任何任务"),
            ("POST", "/bulk/delete/preview", {"q": "staus:x", "all": "true"}, "无法理解：staus:x"),
            ("POST", "/bulk/delete", {"token": "x"}, "令牌已过期或未知"),
            ("POST", "/bulk/delete", {}, "<code>token</code> 必填"),
            ("POST", f"/errors/{'0' * 32}/ignore", {"until": "soon"}, "until 不是有效的日期和时间"),
            ("GET", "/tasks?sort=x", {}, "<code>query.sort</code> 必须是 "),
            ("GET", "/tasks?cursor=x", {}, "游标无效"),
        ],
    )
    def test_is_told(self, reader: Reader, method: str, path: str, form: dict[str, str], said: str) -> None:
        reader.cookies["language"] = "zh"
        answer = reader.request(method, f"/ui{path}", SAME, data=form)
        told = html.unescape(answer.text.partition("<h1>")[2].partition("</main>")[0])
        assert answer.status_code >= 400
        assert said in told
        words = re.sub(r"<code>.*?</code>|<[^>]*>|HTTP|'\w+'|until|staus:x|Link|dry_run", "", told)
        assert re.findall(r"[A-Za-z]{3,}", words) == []


def test_a_search_that_is_not_understood_is_no_reason_to_delete_more(tasks: TaskClient, client: TestClient) -> None:
    browser = Reader(client)
    browser.sign_in(tasks.user["username"])
    tasks.task_in("failed")
    answer = browser.post("/bulk/delete/preview", q="staus:failed", all="true")
    assert (answer.status_code, 'name="token"' in answer.text) == (422, False)
    assert "staus:failed" in answer.text


class TestWhatOtherDashboardsAreBlamedFor:
    """Each is a complaint of the users of another one."""

    def test_a_number_and_the_list_behind_it_mean_the_same_tasks(self, tasks: TaskClient, client: TestClient) -> None:
        browser = Reader(client)
        browser.sign_in(tasks.user["username"])
        for status in ("failed", "failed", "revoked", "succeeded", "pending", "running", "running"):
            tasks.task_in(status)
        numbers = re.findall(r'href="/ui(/tasks\?q=status:\w+)"><b>(\d+)</b>', browser.get("/").text)
        numbers += re.findall(r'href="/ui(/tasks\?q=status%3A\w+)">\w+ <b>(\d+)</b>', browser.get("/tasks").text)
        assert [int(number) for _, number in numbers] == [2, 1, 1, 2, 1, 2, 1]
        assert {path: len(listed(browser.get(path).text)) for path, _ in numbers} == {
            path: int(number) for path, number in numbers
        }

    def test_what_is_asked_to_stop_and_still_runs_is_not_called_cancelled(
        self, tasks: TaskClient, client: TestClient
    ) -> None:  # fmt: skip
        browser = Reader(client)
        browser.sign_in(tasks.user["username"])
        path = f"/tasks/{tasks.task_in('running')}"
        assert browser.post(f"{path}/cancel", confirmed="true").status_code == 303
        shown = browser.get(path).text
        assert 'data-status="running">stopping<' in shown
        assert deeds(shown) == []

    def test_only_deeds_that_can_work_are_offered(self, tasks: TaskClient, client: TestClient) -> None:
        browser = Reader(client)
        browser.sign_in(tasks.user["username"])
        offered = {
            "pending": ["cancel"],
            "running": ["cancel"],
            "succeeded": ["change", "delete"],
            "failed": ["change", "retry", "delete"],
            "revoked": ["change", "retry", "delete"],
        }
        for status, possible in offered.items():
            assert deeds(browser.get(f"/tasks/{tasks.task_in(status)}").text) == possible
            of_many = re.findall(r'formaction="/ui/bulk/(\w+)/preview"', browser.get(f"/tasks?q=status:{status}").text)
            assert of_many == [deed for deed in possible if deed != "change"]


def test_the_files_of_the_pages_are_kept_by_browsers(reader: Reader) -> None:
    for path in re.findall(r'(?:src|href)="/ui(/static/[^"]+)"', reader.get("/").text):
        answer = reader.get(path, **{"Accept-Encoding": "gzip"})
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
    assert reader.get("/static/x/secret.py").status_code == 404


def test_without_web_ui_there_are_no_pages(services: Services) -> None:
    with shared_client(services, WEB_UI="false") as client:
        assert client.get("/ui/").status_code == 404
        root = client.get("/", headers={"Accept": "text/html"}, follow_redirects=False)
        assert root.headers["location"] == "/docs"
        assert "pages" not in client.get("/").json()["links"]


def deeds(page: str) -> list[str]:
    return re.findall(r'action="/ui/tasks/[0-9a-f-]+/([\w-]+)"', page)


def listed(page: str) -> list[str]:
    return re.findall(r'<tr data-task-id="([0-9a-f-]+)"', page)
