"""Which changed files are code, and where they are looked for."""

import sys
from pathlib import Path

import pytest
from watchfiles import Change

from app.launcher.reloader import OWN_CODE, CodeFilter, Watcher, folders_of
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

        def all_seen() -> bool:
            if watcher.has_seen:
                batches.append(watcher.take())
            return {*names, tmp_path / "single.py"} <= set().union(*batches)

        wait_for(all_seen, 10, "all of the files to be told")
        assert tmp_path / "beside" / "other.py" not in set().union(*batches)
        assert len(batches) < len(names) / 2, "files that are saved together are told together"

    def test_that_cannot_watch_says_so(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        said = list[str]()
        made = Watcher([], [], said.append)
        monkeypatch.setattr(made, "_whole", {tmp_path / "missing"})
        made.start()
        wait_for(lambda: said, 10, "the line")
        assert said[0].startswith(f"reload: {tmp_path}/missing cannot be watched: ")
        made.stop()


def test_the_service_itself_is_watched() -> None:
    assert Path(sys.modules["app"].__file__).parent.resolve() == OWN_CODE
