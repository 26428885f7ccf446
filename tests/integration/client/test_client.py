"""The client against a running service: both clients alike, over restarts, lost answers and expired tokens."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from task_service_client import ApiError, AsyncClient, Client, profiles
from tests.support.accounts import PASSWORD
from tests.support.client_profiles import forget_this_machine
from tests.support.running import Running, example_stack
from tests.support.services import ROOT, Services
from tests.support.tasks import LONG_RUNNING
from tests.support.waiting import wait_for

SETTINGS = {"TASK_MODULES": '["tests.support.file_tasks"]'}


@pytest.fixture(scope="module")
def running(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with example_stack(services, tmp_path_factory.mktemp("client"), **SETTINGS) as started:
        started.stack.server()
        started.stack.worker(concurrency=2)
        yield started


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget_this_machine(tmp_path, monkeypatch)


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.stack.url, api_key=running.token) as made:
        yield made


class TestTasks:
    def test_are_submitted_and_waited_for(self, client: Client) -> None:
        task = client.submit(LONG_RUNNING, 0.1, kwargs={"steps": 2}, priority="high", tags=["one"])
        assert (task.name, task.task_type, task.priority, task.status) == (
            "long_running_task",
            "long_running_task",
            "high",
            "pending",
        )
        ended = client.wait(task.id, timeout=60)
        assert (ended.status, ended.progress, ended.id) == ("succeeded", 100, task.id)
        assert client.get(task.id) == ended
        assert [each.id for each in client.list(tag="one", limit=1)] == [task.id]

    def test_are_watched(self, client: Client) -> None:
        task = client.submit(LONG_RUNNING, 0.5, kwargs={"steps": 5})
        seen = [*client.watch(task.id)]
        assert [each.version for each in seen] == sorted({each.version for each in seen})
        assert seen[-1].status == "succeeded"
        several = [client.submit(LONG_RUNNING, 0.2).id for _ in range(5)] + [task.id]
        last = {each.id: each.status for each in client.watch(*several)}
        assert last == dict.fromkeys(several, "succeeded")

    def test_of_a_batch_come_in_their_order(self, client: Client) -> None:
        bodies = [
            {"name": f"n{number}", "task_type": "batch", "celery_task_name": LONG_RUNNING, "args": [0]}
            for number in range(1005)
        ]
        made = client.batch(bodies)
        assert [task.name for task in made] == [body["name"] for body in bodies]
        listed = client.list(task_type="batch")
        assert len({task.id for task in listed}) == 1005
        assert {task.status for task in client.watch(*(task.id for task in made))} >= {"succeeded"}

    def test_are_cancelled_retried_and_deleted(self, client: Client) -> None:
        task = client.submit(LONG_RUNNING, 60, delay_seconds=600)
        assert client.cancel(task.id).status == "revoked"
        assert client.retry(task.id, args=[0]).retry_of == task.id
        assert client.cancel(task.id).status == "revoked"
        client.delete(task.id)
        with pytest.raises(ApiError, match="task_not_found"):
            client.get(task.id)

    def test_that_are_refused_name_the_field(self, client: Client) -> None:
        with pytest.raises(ApiError, match=r"invalid_arguments: .*; kwargs.duration: .*") as caught:
            client.submit(LONG_RUNNING, kwargs={"duration": "long"})
        assert caught.value.errors[0]["loc"] == ["body", "kwargs", "duration"]

    def test_wait_ends_after_its_seconds(self, client: Client) -> None:
        task = client.submit(LONG_RUNNING, 60, delay_seconds=600)
        with pytest.raises(TimeoutError, match="is pending after 1 seconds"):
            client.wait(task.id, timeout=1)
        client.cancel(task.id)

    def test_a_deleted_one_ends_a_watch_of_several(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        gone = client.submit(LONG_RUNNING, 0)
        client.wait(gone.id)
        client.delete(gone.id)
        other = client.submit(LONG_RUNNING, 0)
        assert {task.id for task in client.watch(gone.id, other.id)} == {other.id}


class TestFiles:
    def test_go_up_and_down(self, client: Client, tmp_path: Path) -> None:
        content = os.urandom(3_000_000)
        (tmp_path / "data.bin").write_bytes(content)
        file = client.upload(tmp_path / "data.bin")
        assert (file.name, file.size) == ("data.bin", len(content))
        (tmp_path / "down").mkdir()
        assert client.download(file.id, tmp_path / "down") == tmp_path / "down" / "data.bin"
        assert (tmp_path / "down" / "data.bin").read_bytes() == content
        empty = client.upload(b"", "empty.csv")
        assert client.download(empty.id, tmp_path / "e").read_bytes() == b""
        with (tmp_path / "data.bin").open("rb") as opened:
            assert client.upload(opened, content_type="x/y").content_type == "x/y"
        assert {each.id for each in client.files()} >= {file.id, empty.id}
        client.delete_file(file.id)
        with pytest.raises(ApiError, match="file_not_found"):
            client.download(file.id, tmp_path / "gone")
        assert not (tmp_path / "gone").exists()

    def test_of_a_task_are_its_artifacts(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "gate").touch()
        task = client.wait(client.submit("tests.save", str(tmp_path / "gate")).id)
        found = {each.name: each.id for each in client.artifacts(task.id)}
        assert client.download(found["report.txt"], tmp_path).read_text() == "of attempt 1"


class TestBothClients:
    def test_say_the_same(self, running: Running, client: Client) -> None:
        async def calls() -> list[Any]:
            async with AsyncClient(running.stack.url, api_key=running.token) as other:
                task = await other.submit(LONG_RUNNING, 0.2)
                seen = [each async for each in other.watch(task.id)]
                several = [(await other.submit(LONG_RUNNING, 0)).id for _ in range(3)]
                last = {each.id async for each in other.watch(*several)}
                assert last == {*several}
                file = await other.upload(b"abc", "a.txt")
                return [await other.wait(task.id), seen[-1], file.id in [each.id async for each in other.files()]]

        waited, watched, is_listed = asyncio.run(calls())
        assert waited == watched == client.get(waited.id)
        assert is_listed


class TestSurvives:
    def test_a_server_that_restarts_while_it_watches(self, running: Running, client: Client) -> None:
        server = running.stack.server()
        one = client.submit(LONG_RUNNING, 8, kwargs={"steps": 40})
        others = [client.submit(LONG_RUNNING, 0, delay_seconds=6).id for _ in range(3)]
        seen: dict[str, list[Any]] = {"one": [], "all": []}
        watching = [
            threading.Thread(target=lambda: seen["one"].extend(client.watch(one.id))),
            threading.Thread(target=lambda: seen["all"].extend(client.watch(one.id, *others))),
        ]
        for thread in watching:
            thread.start()
        wait_for(lambda: seen["one"] and seen["all"], 30, what="the first states")
        server.kill()
        running.stack.server()
        for thread in watching:
            thread.join(60)
        assert seen["one"][-1].status == "succeeded"
        assert {task.id: task.status for task in seen["all"]} == dict.fromkeys([one.id, *others], "succeeded")

    def test_a_lost_answer_to_a_submit(self, running: Running) -> None:
        """The first answer is cut off by a proxy: there is one task all the same."""
        with cutting(running, 1) as url, Client(url, api_key=running.token) as client:
            task = client.submit(LONG_RUNNING, 0, task_type="lost")
            assert [each.id for each in client.list(task_type="lost")] == [task.id]

    def test_an_access_token_that_expires(self, running: Running, tmp_path: Path) -> None:
        """Ten processes of one profile renew it, once: a second use of its refresh token would end the login."""
        username = running.stack.make_user("user")[0]["username"]
        with Client(running.stack.url) as signing:
            tokens = signing.request(
                "POST", "/api/v1/auth/login", data={"username": username, "password": PASSWORD}
            ).json()
        refresh = tokens["refresh_token"]
        profiles.save(profiles.Profile("default", running.stack.url, access_token="expired", refresh_token=refresh))
        code = "from task_service_client import Client; print(len([*Client().list()]))"
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
        started = [
            subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(10)
        ]
        assert [process.communicate(timeout=60)[0] for process in started] == ["0\n"] * 10
        kept = profiles.load()
        assert kept is not None
        assert kept.refresh_token != refresh
        with Client() as client:
            assert [*client.list()] == []


@contextmanager
def cutting(running: Running, answers: int) -> Iterator[str]:
    """A proxy before the server that drops the first answers to a POST, once they have come. Yields its URL."""
    left = [answers]

    class Proxy(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = running.http.post(self.path, content=body, headers=dict(self.headers.items()))
            if left[0]:
                left[0] -= 1
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self._send(answer)

        def do_GET(self) -> None:
            self._send(running.http.get(self.path, headers=dict(self.headers.items())))

        def _send(self, answer: httpx.Response) -> None:
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()
        thread.join()
