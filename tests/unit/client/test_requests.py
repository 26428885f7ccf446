"""Requests of the client: what is repeated, after how long, and what is an error at once."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from task_service_client import ApiError, Client, Damaged, NotSignedIn, Unexpected, Unreachable
from task_service_client._sync import client as sync_client, following, transport
from tests.support.services import ROOT
from tests.unit.client.conftest import URL, Server, events, problem, task

STREAM = {"Content-Type": "text/event-stream"}
LOST, NEVER_SENT = httpx.ReadError("reset"), httpx.ConnectError("refused")
CREATED = {"celery_task_name": "app.tasks.common_tasks.long_running_task"}


def made(**fields: object) -> httpx.Response:
    return httpx.Response(201, json=task(**fields))


class TestRepeats:
    @pytest.mark.parametrize("lost", [LOST, NEVER_SENT, httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")])
    def test_a_submit_whose_answer_is_lost_with_its_idempotency_key(
        self, server: Server, client: Client, lost: Exception
    ) -> None:
        server.answers = [lost, problem(409, "idempotency_key_in_flight", **{"Retry-After": "1"}), made(name="x")]
        assert client.submit("c").name == "x"
        keys = server.headers("idempotency-key")
        assert len({*keys}) == 1
        assert UUID(keys[0])
        assert [request.content for request in server.requests[1:]] == [server.requests[0].content] * 2
        assert 0 < server.slept[0] < 0.3
        assert 1 <= server.slept[1] < 1.3

    def test_a_thousand_of_a_batch_whose_answer_is_lost_with_its_idempotency_key(
        self, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sync_client, "BATCH", 2)

        def created(*names: str) -> httpx.Response:
            return httpx.Response(201, json={"tasks": [task(name=name) for name in names]})

        server.answers = [LOST, created("a", "b"), created("c")]
        assert [each.name for each in client.batch([CREATED] * 3)] == ["a", "b", "c"]
        first, again, second = server.headers("idempotency-key")
        assert (first, first == again, first == second) == (str(UUID(first)), True, False)

    def test_what_may_be_done_twice_alone(self, server: Server, client: Client) -> None:
        server.answers = [LOST, httpx.Response(200, json=task())]
        client.get("x")
        server.answers = [LOST, httpx.Response(200, json=task(status="revoked"))]
        client.cancel("x")
        server.answers = [NEVER_SENT, httpx.Response(202, json=task())]
        client.retry("x")
        server.answers = [LOST]
        with pytest.raises(Unreachable, match=f"POST {URL}/api/v1/tasks/x/retry: reset"):
            client.retry("x")

    @pytest.mark.parametrize("is_date", [False, True], ids=["seconds", "date"])
    @pytest.mark.parametrize("status", [429, 503])
    def test_after_the_seconds_of_retry_after(
        self, server: Server, client: Client, status: int, is_date: bool
    ) -> None:  # fmt: skip
        said = format_datetime(datetime.now(UTC) + timedelta(seconds=30)) if is_date else "2"
        server.answers = [problem(status, "quota", **{"Retry-After": said}), made()]
        client.submit("c")
        assert (20 <= server.slept[0] <= 31) if is_date else (2 <= server.slept[0] <= 2.3)

    def test_at_once_where_the_date_of_retry_after_is_over(self, server: Server, client: Client) -> None:
        over = format_datetime(datetime.now(UTC) - timedelta(seconds=30))
        server.answers = [problem(503, "unavailable", **{"Retry-After": over}), made()]
        client.submit("c")
        assert 0 <= server.slept[0] < 0.3

    def test_no_answer_for_which_waiting_does_not_help(self, server: Server, client: Client) -> None:
        for answer in (
            problem(429, "stored_bytes_quota"),
            problem(429, "quota", **{"Retry-After": "3600"}),
            problem(422, "invalid_arguments"),
        ):
            server.answers = [answer]
            with pytest.raises(ApiError) as caught:
                client.submit("c")
            assert (caught.value.status, server.slept) == (answer.status_code, [])
        assert caught.value.detail == "why"

    def test_six_times_at_most(self, server: Server, client: Client) -> None:
        server.answers = [NEVER_SENT] * 6
        with pytest.raises(Unreachable, match="refused"):
            client.get("x")
        assert server.slept == sorted(server.slept)
        server.answers = [problem(503, "unavailable")] * 6
        with pytest.raises(ApiError, match="unavailable: why"):
            client.get("x")

    def test_after_a_proxy_without_an_answer(self, server: Server, client: Client) -> None:
        server.answers = [httpx.Response(502, text="<html>"), httpx.Response(200, json=task())]
        client.get("x")
        server.answers = [httpx.Response(504, text="<html>")]
        with pytest.raises(ApiError, match=r"http_504: .*answered with 504, and not by this service"):
            client.retry("x")


class TestPages:
    def test_are_followed_on_the_same_server_alone(self, server: Server, client: Client) -> None:
        elsewhere = {"Link": '<https://elsewhere.example/api/v1/tasks/?cursor=a&limit=2>; rel="next"'}
        server.answers = [
            httpx.Response(200, json=[task(name="a")], headers=elsewhere),
            httpx.Response(200, json=[task(name="b")]),
        ]
        assert [each.name for each in client.list(status=["failed", "revoked"], limit=2)] == ["a", "b"]
        assert [str(request.url) for request in server.requests] == [
            f"{URL}/api/v1/tasks/?limit=2&status=failed&status=revoked",
            f"{URL}/api/v1/tasks/?cursor=a&limit=2",
        ]

    def test_of_lines_begin_behind_the_last_one(self, server: Server, client: Client) -> None:
        line = {
            "at": "2026-12-01T08:00:00Z",
            "level": "INFO",
            "logger": "l",
            "message": "m",
            "attempt": 1,
            "fields": {},
        }
        server.answers = [
            httpx.Response(
                200, json=[line | {"seq": 3}, line | {"seq": 7}], headers={"Link": '<?after=7>; rel="next"'}
            ),
            httpx.Response(200, json=[line | {"seq": 9}]),
        ]
        assert [each.seq for each in client.logs("x", level="INFO")] == [3, 7, 9]
        assert [dict(request.url.params) for request in server.requests] == [
            {"level": "INFO"},
            {"level": "INFO", "after": "7"},
        ]

    def test_of_a_newer_server_may_have_more_fields(self, server: Server, client: Client) -> None:
        server.answers = [httpx.Response(200, json=task(colour="red"))]
        assert client.get("x").model_extra == {"colour": "red"}

    def test_are_as_deep_as_the_service_takes_them(self, server: Server, client: Client) -> None:
        deep: object = 1
        for _ in range(200):
            deep = [deep]
        chunk = {"seq": 1, "at": "2026-12-01T08:00:00Z", "stream": "s", "attempt": 1, "chunk": deep}
        server.answers = [httpx.Response(200, json=[chunk]), httpx.Response(200, json=[task(result=deep)])]
        assert [each.chunk for each in client.output("x")] == [deep]
        assert [each.result for each in client.list()] == [deep]

    def test_of_a_newer_server_may_have_more_states(self, server: Server, client: Client) -> None:
        waits = {"reason": "moon"}
        server.answers = [made(status="suspended", priority="urgent", waiting_for=waits)]
        found = client.get("x")
        assert (found.status, found.priority, found.waiting_for and found.waiting_for.reason) == (
            "suspended",
            "urgent",
            "moon",
        )


class TestStreams:
    def test_go_on_where_they_ended(self, server: Server, client: Client) -> None:
        one = {"id": task()["id"]}
        server.answers = [
            events(task(**one, version=3, status="running")),
            NEVER_SENT,
            problem(503, "unavailable"),
            events(task(**one, version=3, status="running"), task(**one, version=9, status="succeeded")),
        ]
        assert [each.version for each in client.watch(one["id"])] == [3, 9]
        assert server.headers("last-event-id") == [None, "3", "3", "3"]
        assert server.slept[0] == 0.01  # as the stream asked

    def test_end_where_there_is_nothing_more(self, server: Server, client: Client) -> None:
        server.answers = [events(task(version=3, status="running")), httpx.Response(204)]
        assert len([*client.watch(task()["id"])]) == 1

    def test_of_all_tasks_show_those_that_are_watched(self, server: Server, client: Client) -> None:
        one, two = ({"id": task()["id"]} for _ in range(2))
        done = {"status": "succeeded"}

        def now(request: httpx.Request) -> httpx.Response:
            which = one if str(one["id"]) in str(request.url) else two
            return httpx.Response(200, json=task(**which, version=1))

        server.answers = [
            events(task(version=8), task(**one, version=5, **done), task(**two, version=1)),
            now,
            now,
            events(task(**one, version=5, **done), task(**two, version=6, **done)),
        ]
        seen = [(str(each.id), each.version) for each in client.watch(one["id"], two["id"])]
        assert sorted(seen[:2]) == sorted([(one["id"], 1), (two["id"], 1)])
        assert seen[2:] == [(one["id"], 5), (two["id"], 6)]

    def test_keep_the_line_separators_that_json_may_hold(self, server: Server, client: Client) -> None:
        text = "a\u2028b\x85c"
        line = '{"seq": 1, "at": "2026-12-01T08:00:00Z", "stream": "s", "attempt": 1, "chunk": "' + text + '"}'
        stream = httpx.Response(200, text=f"event: output\nid: 1\ndata: {line}\n\n: ping\n\n", headers=STREAM)
        server.answers = [stream, httpx.Response(204)]
        assert [each.chunk for each in client.output("x", follow=True)] == [text]

    @pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95, 0.999])
    def test_that_are_cut_inside_an_event_ask_for_it_again(
        self, server: Server, client: Client, share: float
    ) -> None:  # fmt: skip
        one = {"id": task()["id"]}
        last = events(task(**one, version=9, status="succeeded"))
        whole = events(task(**one, version=3, status="running")).content + last.content
        cut = len(whole) - len(last.content) + int(len(last.content) * share)
        server.answers = [httpx.Response(200, content=whole[:cut], headers=STREAM), events(), last]
        assert [each.version for each in client.watch(one["id"])] == [3, 9]
        assert server.headers("last-event-id") == [None, "3", "3"]

    def test_end_with_a_task_that_is_revoked(self, server: Server, client: Client) -> None:
        revoked = task(version=3, status="revoked")
        server.answers = [events(revoked), httpx.Response(200, json=revoked)]
        assert [each.status for each in client.watch(revoked["id"])] == ["revoked"]
        assert client.wait(revoked["id"]).status == "revoked"

    def test_of_many_tasks_look_at_them_by_their_list(self, server: Server, client: Client) -> None:
        ids = sorted((task()["id"] for _ in range(following.FEW + 1)), reverse=True)
        pages = [httpx.Response(200, json=[task(id=each) for each in part]) for part in (ids[:11], ids[11:])]
        pages[0].headers["Link"] = '<?cursor=a>; rel="next"'
        server.answers = [events(*(task(id=each, version=2, status="succeeded") for each in ids)), *pages]
        assert len([*client.watch(*ids)]) == 2 * len(ids)

    def test_of_all_tasks_look_at_them_by_the_clock(
        self, server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A deleted task has no events, however many there are of others."""
        monkeypatch.setattr(following, "LOOK_SECONDS", 0.0)
        one, two = (task()["id"] for _ in range(2))
        shown = {one: httpx.Response(200, json=task(id=one)), two: httpx.Response(200, json=task(id=two))}
        gone = problem(404, "task_not_found")

        def first(request: httpx.Request) -> httpx.Response:
            return shown[str(request.url).rpartition("/")[2]]

        server.answers = [events(task(), task()), *[first] * 4, gone, gone]
        assert {str(each.id) for each in client.watch(one.upper(), two)} == {one, two}


class TestDownloads:
    CONTENT = b"0123456789" * 1000

    def known(self) -> httpx.Response:
        import hashlib

        file = {
            "id": task()["id"], "name": "data.csv", "size": len(self.CONTENT), "content_type": "text/csv",
            "sha256": hashlib.sha256(self.CONTENT).hexdigest(), "created_at": "2026-12-01T08:00:00Z",
            "expires_at": None, "user_id": task()["id"],
        }  # fmt: skip
        return httpx.Response(200, json=file)

    def cut(self, at: int) -> httpx.Response:
        def pieces() -> object:
            yield self.CONTENT[:at]
            raise httpx.ReadError("reset")

        return httpx.Response(200, content=pieces())

    def test_go_on_where_the_connection_ended(self, server: Server, client: Client, tmp_path: Path) -> None:
        rest = httpx.Response(206, content=self.CONTENT[4000:])
        server.answers = [self.known(), self.cut(4000), rest]
        assert client.download("x", tmp_path).read_bytes() == self.CONTENT
        assert server.headers("range")[2] == "bytes=4000-"
        server.answers = [self.known(), self.cut(4000), httpx.Response(200, content=self.CONTENT)]
        assert client.download("x", tmp_path / "whole").read_bytes() == self.CONTENT

    def test_of_other_bytes_leave_nothing(self, server: Server, client: Client, tmp_path: Path) -> None:
        server.answers = [self.known(), httpx.Response(200, content=self.CONTENT[::-1])]
        with pytest.raises(Damaged, match="another SHA-256"):
            client.download("x", tmp_path)
        assert [*tmp_path.iterdir()] == []

    def test_of_another_length_end_where_it_is_seen(self, server: Server, client: Client, tmp_path: Path) -> None:
        taken: list[int] = []

        def pieces() -> Iterator[bytes]:
            for _ in range(1000):
                taken.append(1)
                yield self.CONTENT

        server.answers = [self.known(), httpx.Response(200, content=pieces())]
        with pytest.raises(Damaged, match="another SHA-256"):
            client.download("x", tmp_path)
        assert len(taken) == 2
        server.answers = [self.known(), self.cut(4000), problem(416, "range_not_satisfiable")]
        with pytest.raises(Damaged, match="another SHA-256"):
            client.download("x", tmp_path)

    def test_have_any_name_that_a_file_may_have(self, server: Server, client: Client, tmp_path: Path) -> None:
        longest = "名" * 84 + ".py"  # 255 bytes
        server.answers = [self.known(), httpx.Response(200, content=self.CONTENT)]
        assert client.download("x", tmp_path / longest).read_bytes() == self.CONTENT

    def test_return_the_path_that_was_named(
        self, server: Server, client: Client, monkeypatch: Any, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)
        server.answers = [self.known(), httpx.Response(200, content=self.CONTENT)]
        assert client.download("x", "data.csv") == Path("data.csv")

    def test_are_as_private_as_what_they_replace(self, server: Server, client: Client, tmp_path: Path) -> None:
        (tmp_path / "kept").touch(0o600)
        modes: list[int] = []

        def pieces() -> Iterator[bytes]:
            modes.extend(stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir())
            yield self.CONTENT

        server.answers = [self.known(), httpx.Response(200, content=pieces())]
        client.download("x", tmp_path / "kept")
        assert modes == [0o600, 0o600]

    def test_replace_no_pipe_and_follow_a_link(self, server: Server, client: Client, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        server.answers = [self.known()]
        with pytest.raises(OSError, match="pipe is no regular file, and stays as it is: name another one"):
            client.download("x", tmp_path / "pipe")
        assert (tmp_path / "pipe").is_fifo()
        (tmp_path / "kept").touch(0o600)
        (tmp_path / "link").symlink_to("kept")
        server.answers = [self.known(), httpx.Response(200, content=self.CONTENT)]
        client.download("x", tmp_path / "link")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "kept").read_bytes() == self.CONTENT
        assert stat.S_IMODE((tmp_path / "kept").stat().st_mode) == 0o600

    def test_an_upload_is_sent_anew_from_its_start(self, server: Server, client: Client) -> None:
        server.answers = [problem(503, "unavailable"), httpx.Response(201, json=self.known().json())]
        client.upload(self.CONTENT, "a.csv")
        assert all(self.CONTENT in request.content for request in server.requests)

    def test_overwrite_nothing_by_a_name_that_the_server_gave(
        self, server: Server, client: Client, tmp_path: Path
    ) -> None:  # fmt: skip
        (tmp_path / "data.csv").write_text("mine")
        server.answers = [self.known()]
        with pytest.raises(FileExistsError, match=r"data\.csv is there: name the file to write to"):
            client.download("x", tmp_path)
        for name in (".bashrc", "..", "a/b", "a\x1bb"):
            server.answers = [httpx.Response(200, json={**self.known().json(), "name": name})]
            with pytest.raises(ValueError, match="is no name for a file here"):
                client.download("x", tmp_path)
        server.answers = [self.known(), httpx.Response(200, content=self.CONTENT)]
        assert client.download("x", tmp_path / "data.csv").read_bytes() == self.CONTENT


class TestAnotherServer:
    """What answers may be any program."""

    @pytest.mark.parametrize(
        "content",
        [b"{}", b"null", b'"x"', b"<html>", b'{"id": "\xff"}', b"[" * 100_000, b'{"id": ' + b"9" * 10_000 + b"}"],
    )
    def test_answers_are_named(self, server: Server, client: Client, content: bytes) -> None:
        for call in (lambda: client.get("x"), lambda: [*client.list()], lambda: [*client.logs("x")]):
            server.answers = [httpx.Response(200, content=content)]
            with pytest.raises(Unexpected, match="what answers is not the task service: "):
                call()
        server.answers = [httpx.Response(200, content=content)]
        with pytest.raises(Unexpected):
            client.login("anna", "secret")

    @pytest.mark.parametrize("token", ["a\r\nX-Y: z", "", 5, None])
    def test_tokens_can_stand_in_a_header(self, server: Server, client: Client, token: object) -> None:
        server.answers = [httpx.Response(200, json={"access_token": token, "refresh_token": "r"})]
        with pytest.raises(Unexpected, match="access_token: "):
            client.login("anna", "secret")

    @pytest.mark.parametrize(
        "errors", [5, [1], [{"loc": 5}], [{"loc": None, "msg": 5}], [{}], {"a": 1}, [{"loc": ["a"], "msg": "m"}]]
    )
    def test_refusals_are_errors_of_the_client(self, server: Server, client: Client, errors: object) -> None:
        server.answers = [httpx.Response(400, json={"code": "x", "detail": "d", "errors": errors})]
        with pytest.raises(ApiError, match="x: d"):
            client.get("x")
        server.answers = [httpx.Response(400, content=b"[" * 100_000)]
        with pytest.raises(ApiError, match="not by this service"):
            client.get("x")

    def test_what_cannot_be_unpacked_is_named(self, server: Server, client: Client) -> None:
        def packed(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"no gzip"))

        server.answers = [packed]
        with pytest.raises(Unexpected):
            client.get("x")

    @pytest.mark.parametrize("link", ["<http://[::1>", "<?a=\x01 b>"])
    def test_links_that_are_none_are_followed_nowhere(self, server: Server, client: Client, link: str) -> None:
        server.answers = [httpx.Response(200, json=[task()], headers={"Link": f'{link}; rel="next"'})]
        assert len([*client.list()]) == 1

    def test_streams_that_are_none_are_named(self, server: Server, client: Client) -> None:
        server.answers = [httpx.Response(200, json={})]
        with pytest.raises(Unexpected, match="no stream of events"):
            [*client.watch(task()["id"])]

    def test_a_line_without_an_end_is_named(self, server: Server, client: Client, monkeypatch: Any) -> None:
        monkeypatch.setattr(transport, "MOST_LINE_BYTES", 1000)
        server.answers = [httpx.Response(200, content=b"data: " + b"x" * 1000, headers=STREAM)]
        with pytest.raises(Unexpected, match="a line without an end"):
            [*client.watch(task()["id"])]

    def test_odd_lines_of_a_stream_are_read(self, server: Server, client: Client) -> None:
        lines = "retry: 99999999999999999999999\nid: \u540d\n".encode() + b": \xff\n\n"
        ended = events(task(version=3, status="succeeded"))
        server.answers = [httpx.Response(200, content=lines, headers=STREAM), ended]
        assert [each.version for each in client.watch(task()["id"])] == [3]
        assert server.headers("last-event-id") == [None, None]
        assert server.slept == [60]

    @pytest.mark.parametrize("path", ["http://other.example/x", "//other.example/x", "x", "", "/a\nb"])
    def test_gets_no_credentials_by_a_path(self, server: Server, client: Client, path: str) -> None:
        with pytest.raises(ValueError, match="is no path of the server"):
            client.request("GET", path)
        assert server.requests == []


class TestServer:
    @pytest.mark.parametrize(
        "url",
        ["http://anna:secret@x", "http://x/?a=b", "ftp://x", "http://", "http://x:abc", "http://a..b", "http://x\ny",
         "http://" + "a" * 300, "http://[::1", "http://x:99999", "http://xn--\ud800", "http://xn--a.example", "http://a b"],
    )  # fmt: skip
    def test_is_a_url_alone(self, url: str) -> None:
        with pytest.raises(ValueError, match=r"the URL of a server has no user|is no URL of a server") as caught:
            Client(url)
        assert "secret" not in str(caught.value)

    def test_that_redirects_has_done_nothing(self, server: Server, client: Client) -> None:
        server.answers = [httpx.Response(308, headers={"Location": "https://service.example/x"})]
        with pytest.raises(ApiError, match=r"redirected: .* is at https://service.example/x: name that server"):
            client.delete("x")

    def test_a_deletion_whose_answer_was_lost_has_succeeded(self, server: Server, client: Client) -> None:
        server.answers = [LOST, problem(404, "task_not_found")]
        client.delete("x")
        server.answers = [NEVER_SENT, problem(404, "task_not_found")]
        with pytest.raises(ApiError, match="task_not_found"):
            client.delete("x")

    def test_behind_a_proxy_that_fails_is_asked_nothing_twice_that_may_be_done_twice(
        self, server: Server, client: Client
    ) -> None:
        reset = httpx.Response(503, text="upstream connect error or disconnect/reset before headers")
        server.answers = [reset]
        with pytest.raises(ApiError, match="http_503"):
            client.retry("x")
        server.answers = [httpx.Response(504, headers={"Retry-After": "86400"})]
        with pytest.raises(ApiError, match="http_504"):
            client.get("x")

    def test_wait_does_not_sleep_beyond_its_seconds(self, server: Server, client: Client) -> None:
        server.answers = [problem(503, "unavailable", **{"Retry-After": "60"})]
        with pytest.raises(ApiError, match="unavailable"):
            client.wait("x", timeout=5)
        assert server.slept == []

    def test_has_to_be_named(self) -> None:
        with pytest.raises(ValueError, match="no server is named"):
            Client()
        with pytest.raises(ValueError, match="'service' is no URL"):
            Client("service")

    def test_refuses_without_credentials(self, server: Server) -> None:
        server.answers = [problem(401, "not_authenticated")]
        with server.connect(Client(URL)) as client, pytest.raises(NotSignedIn):
            client.get("x")
        assert server.headers("authorization") == [None]


def test_the_generated_files_are_those_of_their_sources() -> None:
    pytest.importorskip("datamodel_code_generator", reason="a package of tests/requirements.txt")
    done = subprocess.run(
        [sys.executable, "client/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_import_loads_neither_the_command_line_nor_the_other_client() -> None:
    code = "import sys, httpx, pydantic; before = {*sys.modules}; from task_service_client import Client; print(*({*sys.modules} - before))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT / "client", capture_output=True, text=True, check=True
    ).stdout.split()
    assert "task_service_client._sync.client" in loaded
    unwanted = ("typer", "rich", "keyring", "asyncio", "app", "task_service_client.cli", "task_service_client._async")
    assert [name for name in loaded if name.startswith(unwanted)] == []
