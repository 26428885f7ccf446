"""Tells which files of the code have changed: of the service, and of the packages of TASK_MODULES."""

import sys
import threading
from collections.abc import Callable, Iterable
from importlib.machinery import PathFinder
from pathlib import Path

from watchfiles import Change, PythonFilter, watch

OWN = Path(__file__).resolve().parents[1]
# What API and workers read at their start beside modules. A task may write such files into its own package.
READ_AT_START = (".html", ".json", ".css", ".js")


class CodeFilter(PythonFilter):
    """Whether a changed file is code: neither what Python has compiled nor a temporary file of an editor."""

    ignore_dirs = ("__pycache__",)

    def __call__(self, change: Change, path: str) -> bool:
        if path.endswith(READ_AT_START) and Path(path).is_relative_to(OWN):
            path = f"{path}.py"
        return super().__call__(change, path)


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
        self._whole, self._tell = {OWN, *whole}, tell
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._threads = list[threading.Thread]()
        self._changed = set[Path]()

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
        is_whole = folders is self._whole
        try:
            for changes in watch(*folders, watch_filter=CodeFilter(), stop_event=self._stop, recursive=is_whole):
                with self._lock:
                    self._changed |= {Path(path) for _, path in changes}
        except (OSError, RuntimeError) as error:  # the system watches no more files, for example
            self._tell(f"reload: {', '.join(map(str, sorted(folders)))} cannot be watched: {error}")
