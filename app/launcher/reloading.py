"""Has the parts run changed code: `run_server.py --reload` (docs/adr/0064)."""

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.util import cache_from_source
from pathlib import Path

from app.launcher.command import Workshop, last_words
from app.launcher.errors import LauncherError
from app.launcher.fork_server import PACKAGES
from app.launcher.forking import IMPORT_SECONDS, ForkServer
from app.launcher.supervisor import StopRequest, Supervisor
from app.launcher.trial import REFUSED
from app.launcher.watching import OWN, Watcher

LOOK_SECONDS = 0.02
READY_SECONDS = 15.0  # so long is waited for the parts, to tell when they are ready


class Reloader:
    """Tries changed code, and replaces the parts if it can be imported. Until then, and else, they go on as they are.

    `make_fork_server(engine, base)` makes one, None where there are none. `start_parts` replaces the parts by those of
    a shop, and `are_ready` says whether these serve.
    """

    def __init__(
        self,
        shop: Workshop,
        supervisor: Supervisor,
        stop: StopRequest,
        make_fork_server: Callable[[str | None, ForkServer | None], ForkServer | None],
        start_parts: Callable[[Workshop], None],
        are_ready: Callable[[], bool],
    ) -> None:
        self._shop, self._supervisor, self._stop = shop, supervisor, stop
        self._make_fork_server, self._start_parts, self._are_ready = make_fork_server, start_parts, are_ready
        environment = shop.environment
        self._watcher = Watcher(environment.task_packages(), environment.import_path(), shop.console.say)
        self._packages = make_fork_server(PACKAGES, None)  # two thirds of an import are those of packages
        self._changed = set[Path]()  # what the parts do not run yet
        self._has_packages = False

    def start(self) -> None:
        """Watch the files from now on."""
        self._watcher.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._watcher.stop()
        if self._packages is not None:
            self._packages.stop()

    def look(self) -> None:
        """Take up what has changed, if anything has. Called once the service is started, and then again and again."""
        self._look_after_packages()
        changed = self._watcher.take()
        if not changed:
            return
        self._changed |= changed
        _forget_compiled(changed)
        begun, named = time.monotonic(), _named(self._changed)
        try:
            refusals = self._reload()
        except (LauncherError, OSError) as error:  # no room on the disk, for example: the next save tries again
            refusals = [str(error)]
        for each in refusals or []:
            self._shop.console.say(f"reload: {each}: the old code goes on")
        if refusals == []:
            self._changed.clear()
            if self._wait(self._are_ready, READY_SECONDS):
                self._shop.console.say(f"reload: {named}: ready after {time.monotonic() - begun:.1f} s")

    def _look_after_packages(self) -> None:
        if self._packages is None or (self._has_packages and self._packages.poll() is None):
            return
        self._has_packages = True
        try:
            self._packages.start()
        except OSError as error:  # an import takes longer then
            self._shop.console.say(f"reload: {self._packages.name} did not start ({error})")

    def _reload(self) -> list[str] | None:
        """Have the parts run the new code. Returns what it cannot be imported for, or None once this is out of date."""
        current = self._shop.fork_server
        is_stale = current is not None and any(path.is_relative_to(OWN) for path in self._changed)
        server = self._make_fork_server(None, self._packages) if is_stale else current
        shop = replace(self._shop, fork_server=server)
        is_adopted = False
        try:
            if server is not None and is_stale:
                if self._packages is not None and not self._imported(self._packages):
                    return self._given_up()
                server.start()
                if not self._imported(server):
                    return self._given_up()
                if server.refusal:
                    return [server.refusal]
            refusals = self._try(shop)
            if refusals == []:
                if server is not None and is_stale:
                    self._supervisor.adopt(server)
                self._shop, is_adopted = shop, True
                self._start_parts(shop)
            return refusals
        finally:
            if server is not None and is_stale and not is_adopted:
                server.stop()

    def _try(self, shop: Workshop) -> list[str] | None:
        """Import the task modules in a process of their own. Returns as `_reload`."""
        lines = list[str]()
        process = shop.command("reload", ["app.launcher.trial"], lines.append, signal.SIGKILL)
        try:
            process.start()
            if not self._wait(lambda: not process.running, IMPORT_SECONDS):
                return self._given_up()
            if process.wait(1) == 0:
                return []
        finally:
            process.kill()  # what a module has started at its import too
        refused = [line.removeprefix(REFUSED) for line in lines if line.startswith(REFUSED)]
        return refused or [f"{last_words(lines)} (all of it: {process.log})"]

    def _imported(self, server: ForkServer) -> bool:
        return self._wait(lambda: not server.is_importing(), IMPORT_SECONDS)

    def _given_up(self) -> list[str] | None:
        """Return what `_reload` returns, after a wait that was in vain."""
        is_out_of_date = self._watcher.has_seen or self._stop.requested
        return None if is_out_of_date else ["the import does not end"]

    def _wait(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """Wait, and look after the parts. Returns False once a stop is requested or other files have changed."""
        deadline = time.monotonic() + seconds
        while not is_done():
            if self._watcher.has_seen or self._stop.wait(LOOK_SECONDS) or time.monotonic() > deadline:
                return False
            self._supervisor.look()
        return True


def _named(changed: set[Path]) -> str:
    first, *others = sorted(path.name for path in changed)
    return f"{first} and {len(others)} more" if others else first


def _forget_compiled(changed: set[Path]) -> None:
    """Python tells a module by its size and the second of its change: of two saves in one, it would run the first."""
    for path in changed:
        with contextlib.suppress(OSError, ValueError):
            Path(cache_from_source(str(path))).unlink(missing_ok=True)
