"""A production deployment on `rediss://` with the ACL user of docs/servers.md; wrong keys and passwords."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import redis

from app.messaging.application import QUEUES
from app.messaging.guard.redis_client import put_aside
from tests.support.event_reader import EventReader
from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.proxy import TcpProxy
from tests.support.running import LOAD_EXAMPLES, TASKS, Running
from tests.support.services import ROOT, Services
from tests.support.settings import settings
from tests.support.stack import Stack
from tests.support.tls import LOOPBACK, Authority
from tests.support.waiting import wait_for

DOCUMENT = ROOT / "docs" / "servers.md"
PASSWORD = "a-pass/word@of:the-service"  # percent signs in the URL, and nowhere in a log
SECONDS = 45.0


def acl_user() -> list[str]:
    """The words of the document's line, from the user's name on."""
    (line,) = re.findall(r"^```acl\nuser (.+)\n```$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [word.replace(">PASSWORD", f">{PASSWORD}") for word in line.split()]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    with BrokerServer(tmp_path_factory.mktemp("broker") / "valkey") as server:
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", *acl_user())
        yield server


@pytest.fixture(scope="module")
def door(broker: BrokerServer, authority: Authority) -> Iterator[TcpProxy]:
    with TcpProxy(LOOPBACK, broker.port, authority.server()) as end:
        yield end


def url(door: TcpProxy, trusted: Path, password: str = PASSWORD, **more: str) -> str:
    options = "".join(f"&{name}={value}" for name, value in more.items())
    return f"rediss://service:{quote(password, safe='')}@{LOOPBACK}:{door.port}/0?ssl_ca_certs={trusted}{options}"


@pytest.fixture
def stack(services: Services, tmp_path: Path, door: TcpProxy, authority: Authority) -> Iterator[Stack]:
    variables = {"APP_ENV": "production", "CELERY_BROKER_URL": url(door, authority.file), **LOAD_EXAMPLES}
    with Stack(services, tmp_path, **variables) as started:
        yield started


def denied(broker: BrokerServer) -> list[Any]:
    """What the server refused, as `reason, command, key or channel`."""
    with broker.client() as client:
        return [(each["reason"], each["context"], each["object"]) for each in client.acl_log()]


def told(stack: Stack) -> str:
    return "\n".join(part.output() for part in stack.parts)


def hides_the_password(stack: Stack) -> bool:
    return PASSWORD not in told(stack) and quote(PASSWORD, safe="") not in told(stack)


def test_tasks_run_over_tls_with_the_user_of_the_document(stack: Stack, broker: BrokerServer) -> None:
    """Everything that uses the broker, and the server has refused none of it."""
    with broker.client() as client:
        client.execute_command("ACL", "LOG", "RESET")
    running = Running(stack)
    stack.worker(concurrency=1)
    assert denied(broker) == []
    stack.beat()
    assert running.run("echo", 1)["status"] == "succeeded"
    assert running.run("echo", priority="critical", delay_seconds=1)["status"] == "succeeded"
    assert httpx.get(f"{stack.url}/readyz").status_code == 200
    with settings(stack.settings):
        from app.celery_app import celery_app

        with celery_app.connection_for_write() as connection:
            assert connection.as_uri().startswith("redis")
            assert PASSWORD not in connection.as_uri()
            assert celery_app.control.ping(timeout=SECONDS, limit=1, connection=connection) != []
    with broker.client() as client:
        for key in ("default", "default\x06\x166", "_kombu.binding.default", "unacked", "unacked_index"):
            client.delete(key)
            client.set(key, "of another type")
    assert running.run("echo")["status"] == "succeeded"
    _live_events_are_heard(running, broker)
    _queue_stalls_are_noticed(running)
    assert denied(broker) == []
    with broker.client() as client:
        others = [each for each in client.client_list() if each["user"] not in ("service", "default")]
        assert others == []
    assert hides_the_password(stack)


def _live_events_are_heard(running: Running, broker: BrokerServer) -> None:
    channel = "task_service:live:0"
    with EventReader(running.stack.url, f"{TASKS}events", running.token) as events, broker.client() as client:
        wait_for(lambda: dict(client.pubsub_numsub(channel))[channel.encode()], SECONDS, "the API to listen")
        with client.pubsub() as heard:
            heard.subscribe(channel)
            wait_for(
                lambda: running.run("echo") and heard.get_message(ignore_subscribe_messages=True), SECONDS, "a hint"
            )
        events.await_state("succeeded")


def _queue_stalls_are_noticed(running: Running) -> None:
    """Maintenance and the stall detector look at queues without a worker."""
    assert running.worker.stop(20) == 0
    waiting = running.create("echo")
    running.stack.sql("UPDATE tasks SET due_at = clock_timestamp() - interval '1 minute' WHERE id = :id", id=waiting)
    running.stack.worker(concurrency=1)
    assert running.ended(waiting)["status"] == "succeeded"


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SCAN", "0"), ("GET", "a-key-of-another-application"), ("CLIENT", "KILL", "x"),
        ("ACL", "LIST"), ("PUBLISH", "another", "x"), ("CLIENT", "LIST"), ("MONITOR",), ("SHUTDOWN",),
        ("EVAL", "return redis.call('GET', 'a-key-of-another-application')", "0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_user_may_do_no_more(broker: BrokerServer, command: tuple[str, ...]) -> None:
    with (
        redis.Redis(port=broker.port, username="service", password=PASSWORD) as client,
        pytest.raises(
            (redis.exceptions.NoPermissionError, redis.exceptions.ResponseError), match=r"(?i)no permission|acl"
        ),
    ):
        client.execute_command(*command)


def test_a_user_of_an_earlier_document_is_told_what_is_missing(
    broker: BrokerServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The key stays, and the queue waits, as it did then."""
    _, *words = acl_user()
    with broker.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "earlier", *(word for word in words if word not in ("+type", "+rename"))
        )
        client.set("low_priority\x06\x166", "of another type")
        pool = redis.ConnectionPool(port=broker.port, username="earlier", password=PASSWORD)
        assert not put_aside(pool, ["low_priority\x06\x166"], QUEUES)
        pool.disconnect()
        assert "let the broker's user run TYPE and RENAME" in caplog.text
        assert client.delete("low_priority\x06\x166") == 1
        client.execute_command("ACL", "DELUSER", "earlier")
        client.execute_command("ACL", "LOG", "RESET")


class TestRefusals:
    """What a worker says, again and again until it is put right, and where a task waits meanwhile."""

    def _says(self, services: Services, directory: Path, broker_url: str, what: str) -> None:
        command = ["celery", "-A", "app.celery_app", "worker", "-l", "info", "-c", "1"]
        with Stack(services, directory, CELERY_BROKER_URL=broker_url, APP_ENV="production") as stack:
            worker = stack.start_part("worker", command, None)

            def said() -> bool:  # beside the thread that publishes hints, which says it in other words
                return any(what in line and "Cannot connect to redis" in line for line in worker.output().splitlines())

            wait_for(lambda: said() or not worker.running, SECONDS, f"the worker to say {what!r}")
            assert worker.running, worker.tail()
            assert " ready." not in worker.output()
            assert hides_the_password(stack)

    def test_an_authority_that_is_not_trusted(self, services: Services, tmp_path: Path, door: TcpProxy) -> None:
        other = Authority(tmp_path / "other", "another authority")
        self._says(services, tmp_path, url(door, other.file), "certificate verify failed")

    def test_a_certificate_of_another_host(
        self, services: Services, tmp_path: Path, broker: BrokerServer, authority: Authority
    ) -> None:
        with TcpProxy(LOOPBACK, broker.port, authority.server(address="192.0.2.1")) as elsewhere:
            self._says(services, tmp_path, url(elsewhere, authority.file), "IP address mismatch")

    def test_a_wrong_password(self, services: Services, tmp_path: Path, door: TcpProxy, authority: Authority) -> None:
        self._says(services, tmp_path, url(door, authority.file, PASSWORD + "x"), "invalid username-password pair")

    def test_no_verification_only_where_it_is_asked_for(
        self, door: TcpProxy, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """kombu by itself takes any certificate of a `rediss://` URL that does not say otherwise."""

        def reaches(broker_url: str) -> Any:
            with settings({"CELERY_BROKER_URL": broker_url}):
                from app.core.config import get_settings
                from app.services.health_service import check_broker

                assert get_settings().celery_broker_url is not None
                return check_broker()

        bare = url(door, authority.file).partition("?")[0]
        assert reaches(url(door, authority.file)) == "ok"
        assert reaches(bare) != "ok"
        assert reaches(f"{bare}?ssl_cert_reqs=none") == "ok"
