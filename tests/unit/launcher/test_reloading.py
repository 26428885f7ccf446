"""What becomes of changed code: the parts run it if it can be imported, and else go on as they are."""

import math
from importlib.util import cache_from_source
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.launcher import reloader
from app.launcher.command import Workshop
from app.launcher.reloader import OWN_CODE, Reloader

MINE, OURS = Path("/mine/tasks.py"), OWN_CODE / "core" / "ids.py"


class Watcher:
    def __init__(self, *_: Any) -> None:
        self.changed = set[Path]()
        self.seen_at = 10.0

    @property
    def has_seen(self) -> bool:
        return bool(self.changed)

    def take(self) -> set[Path]:
        taken, self.changed = self.changed, set()
        return taken


class Process:
    """The trial: it ends with these lines once it has been looked at."""

    log = Path("/data/log/reload.log")

    def __init__(self, scene: "Scene", on_line: Any) -> None:
        self.scene, self.on_line, self.looks = scene, on_line, 2

    def start(self) -> None:
        self.scene.journal.append("try")
        self.scene.meanwhile()

    @property
    def running(self) -> bool:
        self.looks -= 1
        return self.looks > 0

    def wait(self, _seconds: float) -> int:
        for line in self.scene.says or ["accepted"]:
            self.on_line(line)
        return self.scene.code if self.scene.says else 0

    def kill(self) -> None:
        if self.looks > 0:
            self.scene.journal.append("give up the trial")
        self.scene.cleared += 1


class Server:
    """A fork server with the code of the moment at which it was made."""

    def __init__(self, scene: "Scene", name: str) -> None:
        self.scene, self.name, self.refusal = scene, name, scene.refusal
        self.code: int | None = None
        self.imports = 0  # so many looks find it importing

    def start(self) -> None:
        self.code = None
        self.scene.journal.append(f"import {self.name}")
        self.scene.meanwhile()

    def poll(self) -> int | None:
        return self.code

    def is_importing(self) -> bool:
        self.imports -= 1
        if self.imports >= 0:
            self.scene.journal.append(f"wait for {self.name}")
        return self.imports >= 0

    def stop(self) -> None:
        self.scene.journal.append(f"stop {self.name}")


class Scene:
    """A reloader, and the journal of what it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, forks: bool = True) -> None:
        monkeypatch.setattr(reloader, "Watcher", Watcher)
        self.journal, self.lines, self.revived = list[str](), list[str](), list[str]()
        self.says, self.code, self.refusal = list[str](), 1, ""
        self.then: list[Any] = []  # what happens while the next imports are under way
        self.stop_requested, self.made, self.cleared, self.forks = False, 0, 0, forks
        environment = SimpleNamespace(task_packages=lambda: {"mine"}, import_path=lambda: ["/"])
        console = SimpleNamespace(say=self.lines.append)
        shop: Any = Shop(Path("/"), None, environment, console, Server(self, "server 0") if forks else None)
        shop.scenes.append(self)
        supervisor: Any = SimpleNamespace(
            look=lambda: None,
            revive=self.revived.append,
            adopt=lambda server: self.journal.append(f"adopt {server.name}"),
        )
        self.stop: Any = SimpleNamespace(wait=lambda _: self.stop_requested, requested=False)
        self.ready_at = {"worker1": 2.0, "api": 3.0}  # the parts
        self.reloader = Reloader(shop, supervisor, self.stop, self.make, self.start, lambda: True, self.started_since)
        self.watcher: Any = self.reloader._watcher
        self.reloader.look()

    def request_stop(self) -> None:
        self.stop_requested = self.stop.requested = True

    def meanwhile(self) -> None:
        if self.then:
            self.then.pop(0)()

    def make(self, engine: str | None, base: Any) -> Any:
        if not self.forks:
            return None
        if engine:
            self.packages = Server(self, engine)
            return self.packages
        assert base.name == "packages"
        self.made += 1
        return Server(self, f"server {self.made}")

    def start(self, shop: Any) -> None:
        self.journal.append(f"start by {getattr(shop.fork_server, 'name', 'Python')}")

    def started_since(self, moment: float) -> list[str]:
        return [name for name, ready_at in self.ready_at.items() if ready_at > moment]

    def save(self, *paths: Path) -> list[str]:
        """Save the files, and return what is done."""
        self.journal.clear()
        self.watcher.changed |= {*paths}
        self.reloader.look()
        return [*self.journal]


class Shop(Workshop):
    scenes: list[Scene] = []  # noqa: RUF012

    def command(self, name: str, arguments: Any, on_line: Any, death: Any) -> Any:
        assert (name, arguments) == ("reload", ["app.launcher.trial"])
        return Process(self.scenes[-1], on_line)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


def test_nothing_is_done_without_a_change(scene: Scene) -> None:
    assert scene.journal == ["import packages"]  # once the service is started, of whose code nothing is among them
    assert scene.save() == scene.lines == []
    scene.reloader._watcher.stop = lambda: None
    scene.reloader.stop()
    assert scene.journal == ["stop packages"]


def test_a_changed_task_is_tried_and_then_run_without_another_import_of_the_service(scene: Scene) -> None:
    assert scene.save(MINE) == ["try", "start by server 0"]
    assert scene.revived == ["fork-server"]  # before the trial: it would import the service otherwise
    assert scene.lines[0].startswith("reload: tasks.py: ready after ")


def test_a_change_of_the_service_is_imported_once_by_what_forks_the_parts(scene: Scene) -> None:
    assert scene.save(MINE, OURS) == ["import server 1", "try", "adopt server 1", "start by server 1"]
    assert scene.lines[0].startswith("reload: ids.py and 1 more: ready after ")
    assert scene.save(MINE) == ["try", "start by server 1"]


def test_where_nothing_forks_each_part_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Scene(monkeypatch, forks=False).save(OURS) == ["try", "start by Python"]


def test_what_cannot_be_imported_is_a_line_with_its_place_and_the_parts_go_on(scene: Scene) -> None:
    scene.says = ["a line of the module", "refused: module mine.tasks: SyntaxError: bad (/mine/tasks.py:3)"]
    assert scene.save(MINE) == ["try"]
    assert scene.lines == ["reload: module mine.tasks: SyntaxError: bad (/mine/tasks.py:3): the old code goes on"]
    scene.says = []
    assert scene.save(MINE) == ["try", "start by server 0"]


@pytest.mark.parametrize(
    ("code", "says", "told"),
    [
        (-11, "", "was ended by SIGSEGV"),
        (1, "Fatal Python error: Segmentation fault", "ended with exit code 1: Fatal Python error: Segmentation fault"),
        (0, "a line of the module", "ended with exit code 0: a line of the module"),  # it has accepted nothing
    ],
)
def test_a_trial_that_ends_before_its_end_is_told_with_where_its_output_is(
    scene: Scene, code: int, says: str, told: str
) -> None:
    scene.code, scene.says = code, [says]
    assert scene.save(MINE) == ["try"]
    assert scene.lines == [f"reload: the import {told} (all of it: /data/log/reload.log): the old code goes on"]


def test_a_service_that_cannot_be_imported_leaves_what_forks_the_parts(scene: Scene) -> None:
    scene.refusal = f"NameError: name 'x' is not defined ({OURS}:7)"
    assert scene.save(OURS) == ["import server 1", "stop server 1"]
    assert scene.lines == [f"reload: {scene.refusal}: the old code goes on"]
    scene.refusal = ""
    # What forks the parts has the old code of the service still.
    assert scene.save(MINE) == ["import server 2", "try", "adopt server 2", "start by server 2"]


def test_of_two_saves_the_newest_code_is_run_and_nothing_of_the_first_is_left(scene: Scene) -> None:
    scene.then = [lambda: None, lambda: scene.watcher.changed.add(MINE)]  # while the trial runs
    assert scene.save(OURS) == ["import server 1", "try", "give up the trial", "stop server 1"]
    assert scene.lines == []
    assert scene.save() == ["import server 2", "try", "adopt server 2", "start by server 2"]


def test_a_save_that_comes_as_the_trial_ends_is_tried_before_a_part_is_stopped(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Process.wait
    with monkeypatch.context() as patched:
        patched.setattr(
            Process, "wait", lambda self, seconds: (scene.watcher.changed.add(MINE), wait(self, seconds))[1]
        )
        assert scene.save(MINE) == ["try"]
    assert scene.lines == []
    assert scene.save() == ["try", "start by server 0"]


def test_parts_that_were_starting_at_a_save_that_is_refused_may_run_it(scene: Scene) -> None:
    """They read the files themselves, after the trial of the save before."""
    scene.says = ["refused: NameError: x"]
    scene.ready_at = {"worker1": math.inf, "api": 10.1, "beat": 9.0}
    scene.save(MINE)
    started = "worker1, api started meanwhile and may run the new files"
    assert scene.lines == [f"reload: NameError: x: the old code goes on, but {started}"]
    scene.save()
    assert len(scene.lines) == 1


def test_a_part_that_dies_after_a_save_was_refused_may_run_it_and_is_told_once(scene: Scene) -> None:
    scene.says = ["refused: NameError: x"]
    scene.save(MINE)
    assert scene.lines == ["reload: NameError: x: the old code goes on"]
    scene.ready_at["api"] = math.inf
    scene.save()
    scene.ready_at["api"] = 30.0
    scene.save()
    assert scene.lines[1:] == ["reload: api started again and may run the files that were refused"]
    scene.watcher.seen_at = 40.0  # another save that is refused: it is that of the first that counts
    scene.save(MINE)
    assert scene.lines[2].endswith(": the old code goes on, but api started meanwhile and may run the new files")
    scene.says = []
    scene.save(MINE)
    scene.ready_at["worker1"] = math.inf  # of code that was tried
    scene.lines.clear()
    assert (scene.save(), scene.lines) == ([], [])


@pytest.mark.parametrize("at", ["try", "import server 1"])
def test_what_cannot_be_started_leaves_the_old_code(scene: Scene, at: str) -> None:
    """A full disk, for example: the parts go on, and the next save tries again."""

    def fail() -> None:
        raise OSError("No space left on device")

    scene.then = [fail] if at != "try" else [lambda: None, fail]
    assert scene.save(OURS)[-1] == "stop server 1"
    assert scene.lines == ["reload: No space left on device: the old code goes on"]
    assert scene.save(MINE)[-1] == "start by server 2"


def test_an_import_that_does_not_end_is_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloader, "IMPORT_SECONDS", 0.0)
    monkeypatch.setattr(Process, "running", True)
    assert scene.save(MINE) == ["try", "give up the trial"]
    assert scene.lines == ["reload: the import does not end: the old code goes on"]


def test_nothing_of_a_trial_is_left(scene: Scene) -> None:
    """A module may start processes while it is imported."""
    scene.save(MINE)
    assert scene.cleared == 1


def test_what_imports_the_packages_is_started_again_and_waited_for(scene: Scene) -> None:
    scene.packages.code = 1
    assert scene.save() == ["import packages"]
    assert scene.save() == []
    scene.packages.imports = 2
    assert scene.save(OURS)[:2] == ["wait for packages", "wait for packages"]


def test_a_stop_ends_what_is_under_way(scene: Scene) -> None:
    scene.request_stop()
    assert scene.save(MINE) == ["try", "give up the trial"]
    assert scene.lines == []


def test_what_python_has_compiled_of_a_changed_file_is_forgotten(scene: Scene, tmp_path: Path) -> None:
    """Of two saves in one second that leave the size as it is, Python would run the first."""
    (tmp_path / "module.py").write_text("VALUE = 1")
    compiled = tmp_path / "__pycache__" / Path(cache_from_source(str(tmp_path / "module.py"))).name
    compiled.parent.mkdir()
    compiled.touch()
    scene.save(tmp_path / "module.py", tmp_path / "deleted.py", tmp_path / "page.html")
    assert not compiled.exists()
