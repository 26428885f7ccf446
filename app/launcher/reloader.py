"""Has the parts run changed code: `run_server.py --reload` (docs/adr/0064).

It is imported for that option alone: so is `watchfiles`, which watches the files of the code.
"""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.machinery import PathFinder
from importlib.util import cache_from_source
from pathlib import Path

from watchfiles import Change, PythonFilter, watch

from app.launcher.command import Workshop, last_words
from app.launcher.errors import LauncherError
from app.launcher.fork_server import PACKAGES
from app.launcher.forks import IMPORT_SECONDS, ForkServer
from app.launcher.supervisor import StopRequest, Supervisor, how_it_ended
from app.launcher.trial import ACCEPTED, REFUSED

LOOK_SECONDS = 0.02
READY_SECONDS = 15.0  # so long is waited for the parts, to tell when they are ready
DEBOUNCE_MS, NOTICED_SECONDS = 400, 0.5  # a change is noticed at most so long after it, while others follow


class Reloader:
    """Tries changed code, and replaces the parts if it can be imported. Until then, and else, they go on as they are.

    A part reads the files at its start: one that starts after a save, or at that time, may run code that is refused.
    It is named. `make_fork_server(engine, base)` makes one, None where there are none. `start_parts` replaces the parts
    by those of a shop, and `are_ready` says whether these serve. `started_since` names those not ready at a moment.
    """

    def __init__(
        self,
        shop: Workshop,
        supervisor: Supervisor,
        stop: StopRequest,
        make_fork_server: Callable[[str | None, ForkServer | None], ForkServer | None],
        start_parts: Callable[[Workshop], None],
        are_ready: Callable[[], bool],
        started_since: Callable[[float], list[str]],
    ) -> None:
        self._shop, self._supervisor, self._stop = shop, supervisor, stop
        self._make_fork_server, self._start_parts, self._are_ready = make_fork_server, start_parts, are_ready
        self._started_since = started_since
        environment = shop.environment
        self._watcher = Watcher(environment.task_packages(), environment.import_path(), shop.console.say)
        self._packages = make_fork_server(PACKAGES, None)  # two thirds of an import are those of packages
        self._changed = set[Path]()  # what the parts do not run yet
        self._changed_at = 0.0  # when the first of these was saved, or before
        self._told = list[str]()  # the parts that are told to have started since
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
            self._name_started()
            return
        if not self._changed:
            self._changed_at = self._watcher.seen_at - NOTICED_SECONDS
        self._changed |= changed
        _forget_compiled(changed)
        begun, named = time.monotonic(), _named(self._changed)
        try:
            refusals = self._reload()
        except (LauncherError, OSError) as error:  # no room on the disk, for example: the next save tries again
            refusals = [str(error)]
        if refusals:
            self._told = self._started_since(self._changed_at)
            but = f", but {', '.join(self._told)} started meanwhile and may run the new files" if self._told else ""
            for each in refusals:
                self._shop.console.say(f"reload: {each}: the old code goes on{but}")
        elif refusals is not None:
            self._changed.clear()
            if self._wait(self._are_ready, READY_SECONDS):
                self._shop.console.say(f"reload: {named}: ready after {time.monotonic() - begun:.1f} s")

    def _name_started(self) -> None:
        """Tell which parts have died since a save was refused, and may run it now."""
        if self._changed and (started := {*self._started_since(self._changed_at)} - {*self._told}):
            self._told += started
            names = ", ".join(sorted(started))
            self._shop.console.say(f"reload: {names} started again and may run the files that were refused")

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
        is_stale = current is not None and any(path.is_relative_to(OWN_CODE) for path in self._changed)
        server = self._make_fork_server(None, self._packages) if is_stale else current
        shop = replace(self._shop, fork_server=server)
        is_adopted = False
        self._supervisor.revive(ForkServer.name)
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
            if refusals == [] and self._watcher.has_seen:  # the parts would import what nobody has tried
                return None
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
            code = process.wait(1)
            if code == 0 and ACCEPTED in lines:
                return []
        finally:
            process.kill()  # what a module has started at its import too
        refused = [line.removeprefix(REFUSED) for line in lines if line.startswith(REFUSED)]
        ended = f"the import {how_it_ended(code or 0)}"
        return refused or [f"{': '.join(filter(None, (ended, last_words(lines))))} (all of it: {process.log})"]

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


# -- Tells which files of the code have changed: of the service, and of the packages of TASK_MODULES -------------------

OWN_CODE = Path(__file__).resolve().parents[1]
IDENTITY_MS = 200
# What API and workers read at their start beside modules. A task may write such files into its own package.
READ_AT_START = (".html", ".json", ".css", ".js")


class CodeFilter(PythonFilter):
    """Whether a changed file or folder is code: neither what Python has compiled nor a temporary file of an editor.

    A folder below `folders` that is moved is told alone, without its files: it counts where it has, or had, modules.
    """

    ignore_dirs = ("__pycache__",)

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        super().__init__()
        self._folders = [*folders]
        self._with_code = set[str]().union(*map(_folders_with_code, self._folders))

    def __call__(self, change: Change, path: str) -> bool:
        found = _folders_with_code(Path(path)) if change is Change.added and self._folders else set()
        was_there = change is Change.deleted and any(f"{each}/".startswith(f"{path}/") for each in self._with_code)
        if path.endswith(READ_AT_START) and Path(path).is_relative_to(OWN_CODE):
            path = f"{path}.py"
        if super().__call__(change, path):
            found.add(str(Path(path).parent))
        self._with_code |= found
        return bool(found) or was_there


def _folders_with_code(top: Path) -> set[str]:
    return {str(file.parent) for file in top.rglob("*.py")}


def folders_of(packages: Iterable[str], import_path: list[str]) -> tuple[set[Path], set[Path]]:
    """The folders of these packages, and those in which single modules stand: what is below these is not theirs."""
    whole, flat = set[Path](), set[Path]()
    for name in packages:
        spec = PathFinder.find_spec(name, [*import_path, *sys.path])
        if spec is None:
            continue
        if spec.submodule_search_locations is not None:
            whole |= {Path(place).resolve() for place in spec.submodule_search_locations}
        elif spec.origin:
            flat.add(Path(spec.origin).resolve().parent)
    return whole, flat


class Watcher:
    """Watches the service and these packages in threads of its own; `tell` gets a line if that cannot be."""

    def __init__(self, packages: Iterable[str], import_path: list[str], tell: Callable[[str], None]) -> None:
        whole, self._flat = folders_of(packages, import_path)
        self._whole, self._tell = {OWN_CODE, *whole}, tell
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = list[threading.Thread]()
        self._changed = set[Path]()
        self.seen_at = 0.0  # when the first change since the last `take` was seen

    def start(self) -> None:
        """Watch from now on."""
        for folders in filter(None, (self._whole, self._flat)):
            self._threads.append(threading.Thread(target=self._watch, args=(folders,), name="watcher", daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """Watch no longer. Without it the end of Python would meet the threads outside of Python, and abort."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2)

    @property
    def has_seen(self) -> bool:
        """Whether a file has changed since the last `take`."""
        return bool(self._changed)

    def take(self) -> set[Path]:
        """The files that have changed since the last call, once no other change has followed for a moment."""
        with self._lock:
            changed, self._changed = self._changed, set()
            return changed

    def _watch(self, folders: set[Path]) -> None:
        """Watch these folders, and anew where one was replaced: the system watches the one that has gone."""
        replaced = set[Path]()
        try:
            while not self._stop.is_set():
                if missing := {folder for folder in folders if _identity(folder) is None}:
                    replaced |= missing
                    self._stop.wait(IDENTITY_MS / 1000)
                    continue
                try:
                    replaced = self._watch_until_replaced(folders, replaced)
                except FileNotFoundError:  # deleted since: waited for above
                    replaced = set(folders)
        except (OSError, RuntimeError) as error:  # the system watches no more files, for example
            self._tell(f"reload: {', '.join(map(str, sorted(folders)))} cannot be watched: {error}")

    def _watch_until_replaced(self, folders: set[Path], replaced: set[Path]) -> set[Path]:
        """Watch these folders until others stand in their places. Returns these, which are told with the next change.

        `replaced` are those of before. Raises FileNotFoundError where one has gone meanwhile.
        """
        is_whole, known = folders is self._whole, {folder: _identity(folder) for folder in folders}
        for changes in watch(
            *folders, watch_filter=CodeFilter(folders if is_whole else ()), debounce=DEBOUNCE_MS,
            stop_event=self._stop, rust_timeout=IDENTITY_MS, yield_on_timeout=True, recursive=is_whole,
        ):  # fmt: skip
            changed = {Path(path) for _, path in changes}
            self._take_up(changed | replaced)
            found = {folder: _identity(folder) for folder in folders}  # a deleted one's may be given again
            replaced = {folder for folder in folders if found[folder] != known[folder] or folder in changed}
            known = found
            if replaced:
                break
        return replaced

    def _take_up(self, changed: set[Path]) -> None:
        with self._lock:
            if changed and not self._changed:
                self.seen_at = time.monotonic()
            self._changed |= changed


def _identity(folder: Path) -> tuple[int, int] | None:
    """Return what tells this folder from a later one of its name; None where there is none."""
    with contextlib.suppress(OSError):
        found = folder.stat()
        return found.st_dev, found.st_ino
    return None
