"""Which changed files are code, and where they are looked for."""

import shutil
import sys
import time
from pathlib import Path

import pytest
from watchfiles import Change

from app.launcher import reloader
from app.launcher.reloader import NOTICED_SECONDS, OWN_CODE, CodeFilter, Watcher, folders_of
from tests.support.waiting import wait_for


class TestCode:
    @pytest.mark.parametrize(
        "path",
        [
            "/mine/tasks.py",
            f"{OWN_CODE}/core/ids.py",
            f"{OWN_CODE}/web/templates/task.html",
            f"{OWN_CODE}/web/translations/zh.json",
        ],
    )
    @pytest.mark.parametrize("change", Change)
    def test_is_modules_and_what_the_service_reads_at_its_start(self, change: Change, path: str) -> None:
        assert CodeFilter()(change, path)

    @pytest.mark.parametrize(
        "path",
        [
            "/mine/__pycache__/tasks.cpython-311.pyc", "/mine/tasks.pyc", "/mine/notes.txt", "/mine/state.json",
            "/mine/.#tasks.py", "/mine/tasks.py~", "/mine/.tasks.py.swp", f"{OWN_CODE}/web/__pycache__/x.html",
        ],
    )  # fmt: skip
    def test_is_neither_compiled_nor_an_editors_nor_what_a_task_may_write(self, path: str) -> None:
        assert not CodeFilter()(Change.modified, path)

    def test_is_a_folder_of_modules_and_none_of_other_files(self, tmp_path: Path) -> None:
        """A task may make such folders in its own package."""
        (tmp_path / "code" / "below").mkdir(parents=True)
        (tmp_path / "code" / "below" / "module.py").touch()
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "lock").touch()
        judge = CodeFilter([tmp_path])
        for change in (Change.added, Change.deleted):
            assert [
                name
                for name in ("code", "code/below", "state", "state/lock", "c")
                if judge(change, f"{tmp_path}/{name}")
            ] == ["code", "code/below"]
        assert not judge(Change.modified, f"{tmp_path}/code")
        beside_a_single_module = CodeFilter()
        assert not any(beside_a_single_module(change, f"{tmp_path}/code") for change in Change)


class TestFolders:
    def test_are_those_of_packages_and_the_ones_around_single_modules(self, tmp_path: Path) -> None:
        (tmp_path / "whole" / "below").mkdir(parents=True)
        (tmp_path / "whole" / "__init__.py").touch()
        (tmp_path / "without_init").mkdir()
        (tmp_path / "single.py").touch()
        found = folders_of(["whole", "without_init", "single", "missing"], ["/nowhere", str(tmp_path)])
        assert found == ({tmp_path / "whole", tmp_path / "without_init"}, {tmp_path})

    def test_are_also_those_of_what_is_installed(self) -> None:
        assert folders_of(["pytest"], []) == ({Path(pytest.__file__).resolve().parent}, set())


class TestWatcher:
    @pytest.fixture
    def watcher(self, tmp_path: Path):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "__init__.py").touch()
        (tmp_path / "single.py").touch()
        (tmp_path / "beside").mkdir()
        said = list[str]()
        made = Watcher(["mine", "single"], [str(tmp_path)], said.append)
        made.start()

        def awake() -> bool:
            for folder in (tmp_path / "mine", tmp_path):
                (folder / "awake.py").write_text("")
            seen.update(made.take())
            return {tmp_path / "mine" / "awake.py", tmp_path / "awake.py"} <= seen

        seen = set[Path]()
        wait_for(awake, 10, "the watcher to be awake")
        yield made
        made.stop()
        assert not any(thread.is_alive() for thread in made._threads)
        assert said == []

    def test_tells_what_was_saved_renamed_and_deleted_once(self, watcher: Watcher, tmp_path: Path) -> None:
        mine, batches = tmp_path / "mine", list[set[Path]]()
        names = {mine / f"module{number}.py" for number in range(50)}
        (tmp_path / "beside" / "other.py").write_text("")  # beside a single module, and no part of it
        (mine / "module0.new").write_text("")
        for name in names:
            name.write_text("")
        (mine / "module0.new").rename(mine / "module0.py")  # as editors save
        (mine / "module1.py").unlink()
        (tmp_path / "single.py").unlink()
        before = time.monotonic()
        wait_for(lambda: watcher.has_seen, 10, "a change to be seen")
        assert before - NOTICED_SECONDS < watcher.seen_at <= time.monotonic()

        def all_seen() -> bool:
            if watcher.has_seen:
                batches.append(watcher.take())
            return {*names, tmp_path / "single.py"} <= set().union(*batches)

        wait_for(all_seen, 10, "all of the files to be told")
        assert tmp_path / "beside" / "other.py" not in set().union(*batches)
        assert len(batches) < len(names) / 2, "files that are saved together are told together"

    def test_tells_a_change_in_a_folder_that_has_replaced_the_one_of_the_start(
        self, watcher: Watcher, tmp_path: Path
    ) -> None:
        """`rm -rf mine; git checkout mine`, for example: the system watches the folder that has gone."""
        mine = tmp_path / "mine"
        mine.rename(tmp_path / "away")
        wait_for(lambda: mine in watcher.take(), 10, "its absence to be told")
        mine.mkdir()
        wait_for(lambda: mine in watcher.take(), 10, "the new folder to be told")
        later = mine / "later.py"
        wait_for(lambda: later.write_text("") == 0 and later in watcher.take(), 10, "a change in the new folder")
        for _ in range(3):  # the new folder may have the number of the old one
            shutil.rmtree(mine)
            mine.mkdir()
            wait_for(lambda: later.write_text("") == 0 and later in watcher.take(), 10, "a change in the newest folder")

    def test_tells_a_folder_with_code_that_was_moved(self, watcher: Watcher, tmp_path: Path) -> None:
        mine, seen = tmp_path / "mine", set[Path]()

        def is_seen(path: Path) -> bool:
            seen.update(watcher.take())
            return path in seen

        (mine / "sub" / "below").mkdir(parents=True)
        wait_for(
            lambda: (
                (mine / "sub" / "below" / "module.py").write_text("") == 0
                and is_seen(mine / "sub" / "below" / "module.py")
            ),
            10,
            "the module",
        )
        (mine / "sub").rename(mine / "other")
        wait_for(lambda: is_seen(mine / "other"), 10, "the new name")
        assert is_seen(mine / "sub")
        (mine / "other").rename(tmp_path / "away")
        seen.clear()
        wait_for(lambda: is_seen(mine / "other"), 10, "that it is gone")

    def test_that_cannot_watch_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError("OS file watch limit reached")

        said = list[str]()
        made = Watcher([], [], said.append)
        monkeypatch.setattr(made, "_whole", {tmp_path})
        monkeypatch.setattr(reloader, "watch", refuse)
        made.start()
        wait_for(lambda: said, 10, "the line")
        assert said == [f"reload: {tmp_path} cannot be watched: OS file watch limit reached"]
        made.stop()


def test_the_service_itself_is_watched() -> None:
    assert Path(sys.modules["app"].__file__).parent.resolve() == OWN_CODE
