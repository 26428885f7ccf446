"""Commands whose server refuses, or does not answer: what is said, and what is kept."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import httpx
import pytest

from task_service_client import ApiError, NotSignedIn, Unreachable, profiles
from task_service_client.cli import keyboard, screen, task_types, top
from task_service_client.profiles import Profile
from tests.unit.client.conftest import URL, Service, problem, run, task

TASK, FILE = task(id=str(uuid4())), str(uuid4())
TYPES = [{"celery_task_name": "echo", "parameters": {}}]
SEEN: dict[str, Any] = {"counts": {}, "queues": [], "workers": None, "running": [], "recent": []}


def kept() -> Path:
    found = profiles.directory() / "profiles.json"
    found.parent.mkdir(exist_ok=True)
    return found


class TestSubmit:
    @pytest.fixture(autouse=True)
    def created(self, signed_in: Service) -> None:
        signed_in.answers = {"GET /tasks/types": httpx.Response(200, json=TYPES), "POST /tasks/": httpx.Response(201, json=TASK)}  # fmt: skip

    @pytest.mark.parametrize(
        ("answer", "code"),
        [(problem(403, "forbidden"), 1), (problem(401, "not_authenticated"), 4), (httpx.UnsupportedProtocol("no"), 3)],
    )
    def test_tells_the_id_where_watching_fails(
        self, signed_in: Service, monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | Exception, code: int
    ) -> None:
        async def no_pause(_: float) -> None:
            return

        monkeypatch.setattr("task_service_client._async.transport.async_sleep", no_pause)
        signed_in.answers[f"GET /tasks/{TASK['id']}/events"] = answer
        ran = run("submit", "echo", "--wait")
        assert (ran.exit_code, ran.stdout) == (code, "")
        assert f"task-service watch {TASK['id']}" in ran.stderr

    @pytest.mark.parametrize("answer", [httpx.ReadTimeout("slow"), httpx.Response(502, text="a proxy")])
    def test_tells_the_key_where_there_is_no_answer(
        self, signed_in: Service, answer: httpx.Response | Exception
    ) -> None:
        signed_in.answers["POST /tasks/"] = answer
        ran = run("submit", "echo")
        assert (ran.exit_code, ran.stdout) == (3, "")
        sent = {request.headers["Idempotency-Key"] for request in signed_in.requests if request.method == "POST"}
        assert [f"--idempotency-key {key}" in ran.stderr for key in sent] == [True]

    def test_tells_no_key_where_the_server_refuses(self, signed_in: Service) -> None:
        signed_in.answers["POST /tasks/"] = problem(409, "conflict")
        assert "--idempotency-key" not in run("submit", "echo").stderr


class TestLogout:
    @pytest.mark.parametrize(
        ("answer", "code"), [(problem(500, "internal"), 1), (problem(403, "x"), 1), (httpx.ConnectError("refused"), 3)]
    )
    def test_forgets_the_profile_whatever_is_answered(
        self, service: Service, answer: httpx.Response | Exception, code: int
    ) -> None:
        profiles.save(Profile("default", URL, access_token="a", refresh_token="r"))
        service.answers = {"POST /auth/logout": answer}
        ran = run("logout")
        assert (ran.exit_code, profiles.names()) == (code, [])
        assert "Signed out: default." in ran.stderr
        assert "not confirmed" in ran.stderr


class TestDamagedProfiles:
    BROKEN = ("{", "[]", '{"profiles": []}', '{"profiles": {"default": {"username": "x"}}}')

    @pytest.mark.parametrize("broken", BROKEN)
    def test_are_named(self, broken: str) -> None:
        kept().write_text(broken, encoding="utf-8")
        for words in (["ls"], ["logout"], ["queues"]):
            ran = run(*words)
            assert (ran.exit_code, "profiles.json holds no profiles" in ran.stderr) == (2, True), words

    def test_are_not_read_where_they_are_not_needed(self, signed_in: Service) -> None:
        kept().write_text("{", encoding="utf-8")
        signed_in.answers = {"GET /tasks/": httpx.Response(200, json=[])}
        assert run("ls").exit_code == 0

    @pytest.mark.parametrize("broken", BROKEN)
    def test_are_overwritten_by_a_login(self, service: Service, broken: str) -> None:
        kept().write_text(broken, encoding="utf-8")
        service.answers = {
            "POST /auth/login": httpx.Response(200, json={"access_token": "a", "refresh_token": "r"}),
            "GET /users/me": httpx.Response(200, json={"username": "u"}),
        }
        assert run("login", URL, "--username", "u", "--password-stdin", stdin="secret").exit_code == 0
        assert (profile := profiles.load()) is not None
        assert (profile.url, profile.access_token) == (URL, "a")
        assert "authorization" not in service.requests[0].headers
        kept().write_text(broken, encoding="utf-8")
        assert run("login", URL, "--api-key-stdin", stdin="tsk_key").exit_code == 0
        assert (profile := profiles.load()) is not None
        assert profile.api_key == "tsk_key"

    def test_lose_no_others_at_a_login(self, service: Service) -> None:
        text = json.dumps({"profiles": {"default": {}, "other": {"url": URL}}, "current": "default"})
        kept().write_text(text, encoding="utf-8")
        service.answers = {"GET /users/me": httpx.Response(200, json={"username": "u"})}
        assert run("login", URL, "--api-key-stdin", stdin="tsk_key").exit_code == 0
        assert profiles.names() == ["default", "other"]


def test_a_keyring_that_refuses_is_told_at_the_login(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: str) -> None:
        raise OSError("it is locked")

    monkeypatch.setattr(profiles, "_keyring", lambda: SimpleNamespace(set_password=refuse))
    service.answers = {"GET /users/me": httpx.Response(200, json={"username": "u"})}
    ran = run("login", URL, "--api-key-stdin", stdin="tsk_key")
    assert ran.exit_code == 0
    assert f"Warning: the keyring takes nothing: the tokens are in {kept()}" in ran.stderr
    assert profiles.load() == profiles.Profile("default", URL, username="u", api_key="tsk_key")


@pytest.mark.usefixtures("service")
def test_what_is_no_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("login", URL, "--api-key-stdin", stdin="two words")
    assert (ran.exit_code, "copy it again" in ran.stderr) == (4, True)
    monkeypatch.setenv("TASK_SERVICE_URL", URL)
    monkeypatch.setenv("TASK_SERVICE_API_KEY", "two words")
    assert run("ls").exit_code == 4


class TestCompletion:
    def test_renews_no_login(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        profiles.save(Profile("default", URL, access_token="expired", refresh_token="r"))
        service.answers = {"GET /tasks/types": problem(401, "invalid_token")}
        monkeypatch.setattr(task_types, "QUICK_SECONDS", 30)
        assert task_types.completed("e") == []
        assert [request.url.path for request in service.requests] == ["/api/v1/tasks/types"]
        service.answers = {"GET /tasks/types": httpx.Response(200, json=TYPES)}
        assert task_types.completed("e") == ["echo"]

    def test_asks_nothing_without_a_profile(self, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TASK_SERVICE_URL", URL)
        profiles.save(Profile("default", "http://other.example", access_token="a"))
        assert task_types.completed("e") == []
        assert service.requests == []

    @pytest.mark.parametrize("broken", ["{", "[]", '{"profiles": {"default": {"url": 5}}}', '{"profiles": {"default": {}}}'])  # fmt: skip
    def test_is_empty_where_profiles_are_damaged(self, broken: str) -> None:
        kept().write_text(broken, encoding="utf-8")
        assert task_types.completed("e") == []


class TestDownload:
    @pytest.fixture(autouse=True)
    def offered(self, signed_in: Service) -> None:
        self.service = signed_in
        self.offer("data.csv")

    def offer(self, name: str) -> None:
        known = {
            "id": FILE, "user_id": str(uuid4()), "name": name, "size": 0, "content_type": "text/csv", "created_at": "2026-12-01T08:00:00Z",
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        }  # fmt: skip
        self.service.answers = {f"GET /files/{FILE}": httpx.Response(200, json=known)}

    def test_overwrites_where_it_is_asked_to(self, tmp_path: Path) -> None:
        there = tmp_path / "data.csv"
        there.write_text("mine", encoding="utf-8")
        ran = run("files", "download", FILE, str(tmp_path))
        assert (ran.exit_code, "--force" in ran.stderr, there.read_text(encoding="utf-8")) == (1, True, "mine")
        assert run("files", "download", FILE, str(tmp_path), "--force").stdout == f"{there}\n"
        there.rename(elsewhere := tmp_path / "elsewhere")
        there.symlink_to(elsewhere)  # the name is the server's
        assert run("files", "download", FILE, str(tmp_path), "--force").exit_code == 1
        assert there.read_text(encoding="utf-8") == ""

    @pytest.mark.parametrize("name", ["../x", ".profile", "a\x1bb", ".."])
    def test_takes_no_name_that_is_unfit(self, tmp_path: Path, name: str) -> None:
        self.offer(name)
        (tmp_path / "into").mkdir()
        for words in ([], ["--force"]):
            ran = run("files", "download", FILE, str(tmp_path / "into"), *words)
            assert (ran.exit_code, "name the file to write to" in ran.stderr) == (1, True)
        assert run("files", "download", FILE, str(tmp_path / "into" / "x")).exit_code == 0


class TestTop:
    def live(self, monkeypatch: pytest.MonkeyPatch, looks: list[Any], typed: Callable[[], str]) -> None:
        def look(*_: object) -> dict[str, Any]:
            found = looks.pop(0)
            if isinstance(found, Event):
                found.wait(30)
            if isinstance(found, Exception):
                raise found
            return SEEN

        @contextmanager
        def keys() -> Iterator[Callable[[float], str]]:
            yield lambda _: typed()

        monkeypatch.setattr(top, "look", look)
        monkeypatch.setattr(keyboard, "keys", keys)
        top._live(None, None, 0.2)

    def test_goes_on_behind_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[screen.Screen] = []
        troubles: list[str] = []

        class Seen(screen.Screen):
            def __init__(self, query: str) -> None:
                super().__init__(query)
                shown.append(self)

        def typed() -> str:
            if not troubles or shown[0].trouble != troubles[-1]:
                troubles.append(shown[0].trouble)
            return "q" if len(troubles) == 4 else ""

        monkeypatch.setattr(screen, "Screen", Seen)
        errors = [ApiError(500, {"code": "internal", "detail": "it broke"}, None), Unreachable("gone")]
        self.live(monkeypatch, [None, *errors, *[None] * 100000], typed)
        assert troubles == ["", "it broke (internal)", "No answer from the server: gone", ""]

    def test_ends_at_q_while_the_server_is_silent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answered = Event()
        keys = ["", "", "q"]
        try:
            self.live(monkeypatch, [None, answered], lambda: keys.pop(0))
            assert not answered.is_set()
            assert keys == []
        finally:
            answered.set()

    def test_ends_where_nobody_is_signed_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(NotSignedIn):
            self.live(monkeypatch, [None, NotSignedIn(401, {"code": "x"}, None)], lambda: "")


class TestDeeds:
    def test_go_on_behind_a_task_that_refuses(self, signed_in: Service) -> None:
        """Each is done once, in whatever spelling its id stands there again."""
        first, second = (str(uuid4()) for _ in range(2))
        signed_in.answers = {
            f"POST /tasks/{first}/cancel": problem(409, "task_not_active"),
            f"POST /tasks/{second}/cancel": httpx.Response(200, json=task(id=second, status="revoked")),
        }
        ran = run("cancel", first, "-", second, stdin=f"{second.upper()}\n")
        assert (ran.exit_code, ran.stdout) == (1, f"{second}\trevoked\n")
        assert len(signed_in.requests) == 2

    @pytest.mark.parametrize(("state", "failed", "code"), [("finished", 0, 0), ("finished", 1, 1), ("aborted", 0, 1)])
    def test_of_a_search_fail_unless_all_is_done(self, signed_in: Service, state: str, failed: int, code: int) -> None:
        preview = {"matched": 2, "sample": [], "token": "t"}
        operation = {
            "id": str(uuid4()), "deed": "cancel", "matched": 2, "state": state, "done": 1, "failed": failed, "skipped": {},
            "created_at": TASK["created_at"],
        }  # fmt: skip
        signed_in.answers = {
            "POST /tasks/bulk/cancel": httpx.Response(200, json=preview | operation),
            f"GET /tasks/bulk/{operation['id']}": httpx.Response(200, json=operation),
        }
        assert run("cancel", "--query", "type:x", "--yes").exit_code == code


def test_a_watch_of_a_task_that_is_gone_fails(signed_in: Service) -> None:
    gone = str(uuid4())
    signed_in.answers = {
        "GET /tasks/events": httpx.Response(200, content=b"", headers={"Content-Type": "text/event-stream"}),
        f"GET /tasks/{gone}": problem(404, "task_not_found"),
        f"GET /tasks/{TASK['id']}": httpx.Response(200, json={**TASK, "status": "succeeded"}),
    }
    ran = run("watch", gone, TASK["id"])
    assert (ran.exit_code, ran.stderr) == (1, f"There is no task {gone}.\n")


def test_a_named_profile_sends_its_own_key(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's is of another server."""
    for name, value in (("URL", "http://other.example"), ("API_KEY", "tsk_other"), ("PROFILE", "other")):
        monkeypatch.setenv(f"TASK_SERVICE_{name}", value)
    profiles.save(Profile("work", URL, api_key="tsk_key"))
    service.answers = {"GET /tasks/": httpx.Response(200, json=[])}
    assert run("ls", "--profile", "work").exit_code == 0
    (sent,) = service.requests
    assert (str(sent.url.copy_with(path="/", query=None)), sent.headers["authorization"]) == (
        f"{URL}/",
        "Bearer tsk_key",
    )


def test_a_profile_of_another_server_is_named(service: Service) -> None:
    profiles.save(Profile("default", "http://other.example", access_token="a"))
    service.answers = {"GET /tasks/": problem(401, "not_authenticated")}
    ran = run("ls", "--url", URL)
    assert (ran.exit_code, ran.stderr.splitlines()[0]) == (
        4,
        f"The profile default is of http://other.example, and not of {URL}.",
    )
    assert service.requests[0].headers.get("authorization") is None
