"""The command `run_server.py`: starts database, broker, API, workers and beat, and keeps them running.

It does so until Ctrl-C. Once all are ready, it prints addresses, the administrator, and a curl command to paste.
"""

import argparse
import contextlib
import json
import shlex
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from app.core import process_start
from app.core.engines import SQLITE
from app.core.secret_files import SecretFileError
from app.launcher.command import CommandPart, Stopped, Workshop
from app.launcher.console import Console
from app.launcher.datadir import DataDir
from app.launcher.environment import BROKER, DATABASE, PASSWORD, URL, Environment
from app.launcher.errors import LauncherError
from app.launcher.forks import ForkServer
from app.launcher.options import (
    DEFAULT_PORT,
    EXPRESS,
    ROOT,
    api_command,
    beat_command,
    chosen_engine,
    make_sqlite_file,
    read_options,
    sqlite_file,
    sqlite_url,
    worker_commands,
)
from app.launcher.ports import is_free, next_free
from app.launcher.postgres import EmbeddedPostgres
from app.launcher.supervisor import StopRequest, Supervisor
from app.launcher.valkey import EmbeddedValkey

if TYPE_CHECKING:
    from app.launcher.reloader import Reloader

# -- What is printed once the service is ready -------------------------------------------------------------------------

FIRST_TASK = {
    "name": "my first task",
    "task_type": "demo",
    "celery_task_name": "app.tasks.common_tasks.long_running_task",
    "args": [10],
}


class Admin(NamedTuple):
    """The first administrator. `password` is the password, or says where it is."""

    username: str
    password: str


def base_url(host: str, port: int) -> str:
    """The URL by which this machine reaches a server that listens on this host and port."""
    here = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound  # nosec B104
    return f"http://[{here}]:{port}" if ":" in here else f"http://{here}:{port}"


def curl_line(env_file: Path) -> str:
    """A command that logs in and creates a task.

    It reads address and password from the file, so no history shows the password.
    """
    extract = shlex.quote('import json, sys; print(json.load(sys.stdin)["access_token"])')
    return (
        f"(. {shlex.quote(str(env_file))}; TOKEN=$(curl -sS $TASK_SERVICE_URL/api/v1/auth/login"
        ' --data-urlencode "username=$FIRST_ADMIN_USERNAME" --data-urlencode "password=$FIRST_ADMIN_PASSWORD"'
        f' | python3 -c {extract}) && curl -sS $TASK_SERVICE_URL/api/v1/tasks/ -H "Authorization: Bearer $TOKEN"'
        f" -H 'Content-Type: application/json' -d {shlex.quote(json.dumps(FIRST_TASK))}; echo)"
    )


def greeting(url: str, admin: Admin, env_file: Path) -> list[str]:
    """The lines to print once the service is ready."""
    return [
        "",
        f"  pages       {url}/ui/",
        f"  API         {url}/docs   (all calls, below {url}/api/v1)",
        f"  health      {url}/healthz   {url}/readyz",
        f"  admin       {admin.username}",
        f"  password    {admin.password}",
        f"  environment {env_file}",
        "",
        "  Log in and create a task (paste it into another terminal):",
        "",
        curl_line(env_file),
        "",
        "  Ctrl-C stops everything.",
        "",
    ]


# -- The server: its parts are started in order, watched, and stopped in order -----------------------------------------

READY_SECONDS = 120.0
OUTAGE_SECONDS = 5.0  # so long a server that the API misses is waited for without a word
ALLOWED_DEATHS = 3
BANNER_SECONDS = 15.0  # the greeting waits at most so long for the ready lines of workers and beat
STOP_ORDER = (["api", ForkServer.name], ["beat"], ["worker", EXPRESS], ["broker"], ["database"])


def choose_port(host: str, asked: int | None, console: Console) -> int:
    """The port for the API: `asked` if given, else 8000 or the next free one. Raises LauncherError when it is taken."""
    try:
        if is_free(host, asked or DEFAULT_PORT):
            return asked or DEFAULT_PORT
        free = None if asked else next_free(host, DEFAULT_PORT)
    except OSError as error:
        raise LauncherError(f"the API cannot listen on {host}:{asked or DEFAULT_PORT}: {error.strerror}") from error
    if free is None:
        raise LauncherError(f"port {asked or DEFAULT_PORT} on {host} is taken: name another with --port")
    console.say(f"port {DEFAULT_PORT} is taken: using {free}")
    return free


class Server:
    """One run of the service."""

    def __init__(self, options: argparse.Namespace, data: DataDir, console: Console, stop: StopRequest) -> None:
        self.options, self.data, self.console, self.stop_request = options, data, console, stop
        try:
            self.environment = Environment(ROOT, data.env_file)
        except SecretFileError as error:
            raise LauncherError(str(error)) from None
        self.engine = chosen_engine(self.environment.values.get(DATABASE), options.database, data.path)
        self.fork_server = self._fork_server()
        self.shop = Workshop(ROOT, data, self.environment, console, self.fork_server)
        self.supervisor = Supervisor(console, stop)
        self.port = choose_port(options.host, options.port, console)
        self.url = self.environment.values[URL] = base_url(options.host, self.port)
        self.reloader = self._reloader() if options.reload else None
        self.parts: list[CommandPart] = []

    def _reloader(self) -> "Reloader":
        from app.launcher.reloader import Reloader  # what watches the files is imported for this option alone

        return Reloader(
            self.shop, self.supervisor, self.stop_request, self._fork_server, self._start_parts, self._are_ready,
            self._started_since,
        )  # fmt: skip

    def _fork_server(self, engine: str | None = None, base: ForkServer | None = None) -> ForkServer | None:
        if sys.platform != "linux":
            return None
        log = self.data.log("-".join(filter(None, (ForkServer.name, engine))))
        return ForkServer(engine or self.engine, log, self.environment.for_imports(), self.data.path, base)

    def run(self) -> None:
        """Start all parts and keep them running until a stop is requested; then stop them in order."""
        for name in self.data.end_survivors():
            self.console.say(f"{name}: ended a process that an earlier run_server.py, which was killed, had left")
        try:
            if self.reloader is not None:
                self.reloader.start()
            if self.fork_server is not None:  # first: it imports while database and broker start
                self.supervisor.start(self.fork_server)
            self._start_services()
            self._await_the_import()
            self._run_once("migrate", ["app", "migrate"])
            admin = self._make_admin()
            self._start_parts(self.shop)
            missing = self._wait_until_ready()
            for line in greeting(self.url, admin, self.data.env_file):
                self.console.say(line)
            if missing:
                self._watch_until_ready(missing)
            self.supervisor.watch(self.reloader.look if self.reloader else lambda: None)
        except Stopped:
            self.console.say("stopped while starting")
        finally:
            if self.stop_request.requested:
                self.console.say("stopping; running tasks may finish (Ctrl-C again to hurry)")
            self.supervisor.stop(*STOP_ORDER)
            if self.reloader is not None:
                self.reloader.stop()

    def _await_the_import(self) -> None:
        while self.fork_server is not None and self.fork_server.is_importing():
            if self.stop_request.wait(0.02):
                raise Stopped

    def _check_stop(self) -> None:
        if self.stop_request.requested:
            raise Stopped

    def _start_services(self) -> None:
        self._start_database()
        self._check_stop()
        if BROKER in self.environment.values:
            self.console.say(f"broker: the server in {BROKER}")
        else:
            broker = EmbeddedValkey(self.data.path / "valkey", log=self.data.log("broker"), tell=self.console.say)
            self._start_server(BROKER, broker, "embedded Valkey (Redis)")
        self.environment.write()
        self._check_stop()

    def _start_database(self) -> None:
        """Start PostgreSQL or create the file of SQLite, unless DATABASE_URL names a database."""
        say = self.console.say
        if DATABASE in self.environment.values:
            say(f"database: the {'file' if self.engine == SQLITE else 'server'} in {DATABASE}")
        elif self.engine == SQLITE:
            make_sqlite_file(self.data.path)
            self.environment.name_embedded(DATABASE, sqlite_url(self.data.path))
            say(f"database: SQLite in {sqlite_file(self.data.path)}")
        else:
            server = EmbeddedPostgres(self.data.path / "postgres", log=self.data.log("database"), tell=say)
            self._start_server(DATABASE, server, "embedded PostgreSQL")

    def _start_server(self, variable: str, server: EmbeddedPostgres | EmbeddedValkey, what: str) -> None:
        with self.console.step(f"{server.name}: {what}") as more:
            self.supervisor.start(server)
            more.append(f"127.0.0.1:{server.port}")
        self.environment.name_embedded(variable, server.url)

    def _run_once(self, name: str, arguments: Sequence[str]) -> list[str]:
        with self.console.step(name):
            lines = self.shop.run_once(name, arguments, lambda: self.stop_request.requested)
        self._check_stop()
        return lines

    def _make_admin(self) -> Admin:
        """Make the administrator where its password was generated now; else the API makes it, as everywhere."""
        environment = self.environment
        username, password = environment.values["FIRST_ADMIN_USERNAME"], environment.values[PASSWORD]
        if not environment.password_is_new:
            given = environment.password_was_given
            return Admin(username, f"in {PASSWORD}" if given else f"{PASSWORD} in the file below")
        if "created" in self._run_once("create-admin", ["app", "create-admin"]):
            return Admin(username, f"{password}   (made now; kept in the file below)")
        del environment.values[PASSWORD]
        environment.write()
        return Admin(username, "the administrator exists already and keeps its password")

    def _start_parts(self, shop: Workshop) -> None:
        """Start workers, API and beat in this shop. Those that run are replaced, and workers end their tasks first."""
        for part in self.parts:
            if part.to_leave:
                self.supervisor.let_leave(part)
        self.parts = self._make_parts(shop)
        for part in self.parts:
            self.supervisor.revive(ForkServer.name)
            self.supervisor.replace(part)

    def _make_parts(self, shop: Workshop) -> list[CommandPart]:
        options = self.options
        made = [
            CommandPart(
                shop,
                name,
                command,
                grace=60,
                death=signal.SIGKILL,
                before_kill=signal.SIGQUIT,
                to_leave=signal.SIGUSR2,
                ready=" ready.",
            )
            for name, command in worker_commands(options, self.supervisor.free_name).items()
        ]
        made.append(CommandPart(shop, "api", api_command(options, self.port), grace=10, ready="startup complete."))
        if not options.no_beat:
            command = beat_command(options, self.data.path / "beat" / "schedule")
            # It first sends what it has taken, and gives it back after 5 s where the broker does not answer. Then its
            # passes of maintenance and its lease have 5 s each.
            made.append(CommandPart(shop, "beat", command, grace=20, ready="beat: Starting..."))
        return made

    def _are_ready(self) -> bool:
        return all(part.is_ready for part in self.parts) and readiness(self.url).is_up

    def _started_since(self, moment: float) -> list[str]:
        """Return the parts that were not ready at this moment: what they have imported may be of later."""
        return [part.name for part in self.parts if part.ready_at > moment]

    def _wait_until_ready(self) -> str:
        """Wait until /readyz answers 200, and start parts that die again. Returns what is missing, "" if nothing is.

        An API that is up and misses a server for OUTAGE_SECONDS is not waited for. Raises LauncherError when the API
        dies three times or does not answer in time.
        """
        begun, up_since = time.monotonic(), None
        with self.console.step("API, workers and beat"):
            while not (api := readiness(self.url)).is_ready:
                self._look_after_parts()
                now = time.monotonic()
                up_since = (up_since or now) if api.is_up else None
                is_refused = self.supervisor.exit_code("api") == process_start.EXIT_CONFIGURATION
                if is_refused or self.supervisor.deaths("api") >= ALLOWED_DEATHS:
                    why = self.supervisor.last_line("api")
                    raise LauncherError(f"the API does not start: {why} (all of it: {self.data.log('api')})")
                if up_since is not None and now - up_since > OUTAGE_SECONDS:
                    return api.missing
                if now - begun > READY_SECONDS:
                    raise LauncherError(f"the API does not answer after {READY_SECONDS:.0f} s: {api.missing}")
            patience = time.monotonic() + BANNER_SECONDS
            while not all(part.is_ready for part in self.parts) and time.monotonic() < patience:
                self._look_after_parts()
        return ""

    def _watch_until_ready(self, missing: str) -> None:
        """Tell what is waited for, in a line for each change, and return once it is there or a stop is requested."""
        told, is_up = "", True
        while missing:
            if missing != told:
                up = f"The API is up; {self.url}/readyz answers 503 until then" if is_up else "The API does not answer"
                self.console.say(f"waiting for {missing}. {up}")
                told = missing
            if self.stop_request.wait(1):
                return
            self.supervisor.look()
            is_up, missing = readiness(self.url)
        self.console.say(f"ready: {self.url}/readyz answers 200")

    def _look_after_parts(self) -> None:
        self.supervisor.look()
        if self.stop_request.wait(0.1):
            raise Stopped


class Readiness(NamedTuple):
    """The state of the API: whether it answers, and what it misses, "" if nothing."""

    is_up: bool
    missing: str

    @property
    def is_ready(self) -> bool:
        return self.is_up and not self.missing


def readiness(url: str) -> Readiness:
    """Ask /readyz. `missing` names each check that fails, or the error where the API does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: the API runs on this machine
    try:
        with opener.open(f"{url}/readyz", timeout=5):
            return Readiness(True, "")
    except urllib.error.HTTPError as error:
        with error, contextlib.suppress(ValueError, AttributeError):
            checks: dict[str, str] = json.loads(error.read(10_000)).get("checks", {})
            failed = [f"the {name} ({state})" for name, state in checks.items() if state != "ok"]
            if failed:
                return Readiness(True, " and ".join(failed))
        return Readiness(False, f"status {error.code}")
    except OSError as error:
        return Readiness(False, str(error))


def main(argv: Sequence[str]) -> int:
    """Run the command with these arguments, and return its exit code."""
    options = read_options(argv)
    console = Console()
    stop = StopRequest(console)
    stop.install()
    try:
        if sys.platform == "win32":
            raise LauncherError(  # Windows has no sessions, no process groups and no fork
                "on Windows run this in WSL, or use Docker (docker compose up), or start the parts by hand with the "
                "servers named in .env (README: uvicorn, celery worker, celery beat)"
            )
        with DataDir(options.data_dir) as data:
            Server(options, data, console, stop).run()
    except LauncherError as error:
        console.error(str(error))
        return 1
    except OSError as error:
        console.error(f"{error} (is the disk full, or the directory not writable?)")
        return 1
    finally:
        console.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
