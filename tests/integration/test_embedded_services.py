"""The embedded PostgreSQL and Valkey: start, connect, stop; killed and started again; two at once."""

import itertools
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import psycopg2
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.launcher import embedded
from app.launcher.errors import LauncherError
from app.launcher.pgfiles import number_in
from app.launcher.ports import free_loopback_port
from app.launcher.postgres import EmbeddedPostgres
from app.launcher.processes import group_members, identity_of, wait_until
from app.launcher.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from app.launcher.postgres import EmbeddedPostgres
from app.launcher.valkey import EmbeddedValkey
database = EmbeddedPostgres(Path(sys.argv[2]) / "pg", durable=False).start()
broker = EmbeddedValkey(Path(sys.argv[2]) / "valkey").start()
database.sql("CREATE TABLE t (x int); INSERT INTO t VALUES (7)")
broker.command("SET x 7")
print(database.pid, broker.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def directory(tmp_path):
    """Private and with a space in its name, as a newcomer's may be."""
    path = tmp_path / "a dir"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(scope="module")
def initialised(tmp_path_factory):
    """Where all tests of PostgreSQL find their data directory: to make one takes longer than most tests."""
    return tmp_path_factory.mktemp("a shared dir")


@pytest.fixture
def postgres(initialised):
    with EmbeddedPostgres(initialised / "pg", durable=False) as started:
        yield started


def store(postgres):
    query(postgres.url, "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 7 AS x")


@pytest.fixture
def valkey(directory):
    with EmbeddedValkey(directory / "valkey") as started:
        yield started


def query(url, statement):
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def listening(pid):
    """The addresses at which a process waits for TCP connections."""
    return {
        (at.laddr.ip, at.laddr.port)
        for at in psutil.Process(pid).net_connections("tcp")
        if at.status == psutil.CONN_LISTEN
    }


class TestPostgres:
    def test_it_is_postgresql_18_with_unicode_and_a_password(self, postgres):
        assert query(postgres.url, "SHOW server_version_num")[0][0].startswith("18")
        assert query(
            postgres.url,
            "SELECT datlocprovider, datlocale, pg_encoding_to_char(encoding) FROM pg_database WHERE datname = 'app'",
        ) == [("b", "C.UTF-8", "UTF8")]
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(postgres.url.replace("app:", "app:x"))

    def test_only_this_machine_reaches_it(self, postgres):
        assert query(postgres.url, "SHOW listen_addresses") == [("127.0.0.1",)]
        assert query(postgres.url, "SHOW unix_socket_directories") == [("",)]
        assert listening(postgres.pid) == {("127.0.0.1", postgres.port)}

    def test_no_way_in_is_without_a_password(self, postgres):
        rules = query(postgres.url, "SELECT type, database, user_name, address, auth_method FROM pg_hba_file_rules")
        assert rules
        assert {method for *_, method in rules} == {"scram-sha-256"}
        without = postgres.url.replace(postgres.url.split("@")[0], "postgresql://app")
        with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
            psycopg2.connect(without, passfile="/nonexistent")

    @pytest.mark.parametrize("end", ["stop", "kill"])
    def test_started_again_it_has_its_data_its_port_and_its_password(self, postgres, end):
        store(postgres)
        url = postgres.url
        getattr(postgres, end)()
        with EmbeddedPostgres(postgres.directory, durable=False) as again:
            assert again.url == url
            assert query(again.url, "SELECT x FROM t") == [(7,)]

    def test_after_a_stop_no_process_of_it_is_left(self, postgres):
        pid = postgres.pid
        children = [
            int(row[0]) for row in query(postgres.url, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
        ]
        postgres.stop()
        assert all(identity_of(each) is None for each in (pid, *children))

    def test_databases_can_be_made_from_others(self, postgres):
        store(postgres)
        copy = postgres.create_database("copy", template="app")
        assert query(copy, "SELECT x FROM t") == [(7,)]
        assert postgres.create_database("copy") == copy

    def test_the_remembered_port_that_is_taken_is_replaced(self, postgres):
        port = postgres.port
        postgres.stop()
        with socket.create_server(("127.0.0.1", port)), EmbeddedPostgres(postgres.directory, durable=False) as again:
            assert again.port != port
            assert query(again.url, "SELECT 1") == [(1,)]

    def test_a_port_taken_between_choice_and_bind_is_tried_again(self, directory, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = itertools.chain([taken.getsockname()[1]], iter(free_loopback_port, None))
            monkeypatch.setattr(embedded, "free_loopback_port", lambda: next(ports))
            with EmbeddedPostgres(directory / "pg", durable=False) as started:
                assert started.port != taken.getsockname()[1]

    def test_the_number_of_another_process_in_its_lock_file_does_not_stop_it(self, postgres):
        """PostgreSQL asks only whether some process of the user has the number that a killed one left."""
        postgres.kill()
        lock = postgres.data / "postmaster.pid"
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            lines = lock.read_text().splitlines()
            lock.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            postgres.start()
            assert other.poll() is None
            other.stdin.close()
        assert number_in(lock) == postgres.pid

    def test_a_survivor_of_this_directory_is_ended_first(self, postgres):
        survivor = postgres.pid
        with EmbeddedPostgres(postgres.directory, durable=False) as again:
            assert query(again.url, "SELECT 1") == [(1,)]
        assert wait_until(lambda: identity_of(survivor) is None, 10)

    def test_an_initdb_that_was_killed_leaves_nothing_in_the_way(self, directory):
        half = directory / "pg" / "data.new"
        half.mkdir(parents=True)
        (half / "PG_VERSION").write_text("18\n")
        with EmbeddedPostgres(directory / "pg", durable=False) as started:
            assert query(started.url, "SELECT 1") == [(1,)]

    def test_data_of_another_version_are_refused_in_a_line(self, postgres):
        postgres.stop()
        (postgres.data / "PG_VERSION").write_text("17\n")
        with pytest.raises(LauncherError, match="made by PostgreSQL 17 and 18 is installed"):
            EmbeddedPostgres(postgres.directory).start()
        (postgres.data / "PG_VERSION").write_text("18\n")

    def test_a_setting_that_it_refuses_is_told_in_a_line(self, directory):
        with pytest.raises(LauncherError, match=r"did not start: .*max_connections"):
            EmbeddedPostgres(directory / "pg", durable=False, settings={"max_connections": "none"}).start()


class TestValkey:
    def test_it_answers_with_its_password_and_appends_to_a_file(self, valkey):
        with redis.Redis.from_url(valkey.url) as connection:
            assert connection.ping()
            assert connection.config_get("appendonly") == {"appendonly": "yes"}

    def test_it_listens_on_this_machine_alone(self, valkey):
        assert listening(valkey.pid) == {("127.0.0.1", valkey.port)}
        with redis.Redis.from_url(valkey.url) as connection:
            assert connection.config_get("bind", "protected-mode", "unixsocket") == {
                "bind": "127.0.0.1",
                "protected-mode": "yes",
                "unixsocket": "",
            }

    def test_nothing_is_answered_without_the_password(self, valkey):
        answered = []
        commands = ("PING", "GET x", "CONFIG GET *", "ACL LIST", "EVAL 'return 1' 0")
        for password, command in itertools.product((None, "wrong"), commands):
            with redis.Redis(port=valkey.port, password=password, retry=Retry(NoBackoff(), 0)) as stranger:
                try:
                    stranger.execute_command(*command.split())
                except redis.AuthenticationError:
                    continue
            answered.append((password, command))
        assert answered == []

    def test_the_password_is_not_on_its_command_line(self, valkey):
        assert valkey.url.split(":")[2].split("@")[0] not in Path(f"/proc/{valkey.pid}/cmdline").read_text()

    @pytest.mark.parametrize("end", ["stop", "kill"])
    def test_started_again_it_has_its_data_and_its_port(self, valkey, end):
        with redis.Redis.from_url(valkey.url) as connection:
            connection.set("x", 7)
        url = valkey.url
        getattr(valkey, end)()
        with EmbeddedValkey(valkey.directory) as again, redis.Redis.from_url(again.url) as connection:
            assert again.url == url
            assert connection.get("x") == b"7"

    def test_the_remembered_port_that_is_taken_is_replaced(self, valkey):
        port = valkey.port
        valkey.stop()
        with socket.create_server(("127.0.0.1", port)), EmbeddedValkey(valkey.directory) as again:
            assert again.port != port
            assert again.command("PING") == "+PONG"

    def test_a_setting_that_it_refuses_is_told_in_a_line(self, directory):
        with pytest.raises(LauncherError, match=r"did not start: .*appendfsync"):
            EmbeddedValkey(directory / "valkey", settings={"appendfsync": "sometimes"}).start()


def test_two_of_each_run_side_by_side_even_when_started_from_threads_that_end(tmp_path):
    databases = [EmbeddedPostgres(tmp_path / f"pg{number}", durable=False) for number in range(2)]
    brokers = [EmbeddedValkey(tmp_path / f"valkey{number}") for number in range(2)]
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda service: service.start(), [*databases, *brokers]))
        assert len({service.port for service in [*databases, *brokers]}) == 4
        assert [query(each.url, "SELECT 1") for each in databases] == [[(1,)], [(1,)]]
        assert [each.command("PING") for each in brokers] == ["+PONG", "+PONG"]
    finally:
        for service in [*databases, *brokers]:
            service.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has death signals")
def test_killed_launchers_leave_nothing_and_the_next_start_has_the_data(directory):
    command = [sys.executable, "-c", LAUNCHER, ROOT, directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as launcher:
        try:
            pids = [int(word) for word in launcher.stdout.readline().split()]
        finally:
            os.killpg(launcher.pid, signal.SIGKILL)
    assert len(pids) == 2
    assert wait_until(lambda: all(identity_of(pid) is None and not group_members(pid) for pid in pids), 20)
    with EmbeddedPostgres(directory / "pg", durable=False) as database, EmbeddedValkey(directory / "valkey") as broker:
        assert query(database.url, "SELECT x FROM t") == [(7,)]
        assert broker.command("GET x") == "$1"
