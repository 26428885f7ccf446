"""Names of tasks: looked up by their ends, and completed from what is kept or at once."""

import json
import threading
import time
from pathlib import Path

import pytest

from task_service_client.cli import task_types
from task_service_client.cli.exits import Refused
from tests.unit.client.conftest import URL

TYPES = [
    {"celery_task_name": name, "parameters": {}}
    for name in ("app.tasks.load", "app.tasks.load_all", "other.load_all", "plain")
]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TASK_SERVICE_CONFIG", str(tmp_path))
    monkeypatch.setenv("TASK_SERVICE_URL", URL)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("app.tasks.load", "app.tasks.load"),
        ("load", "app.tasks.load"),
        ("tasks.load_all", "app.tasks.load_all"),
        ("plain", "plain"),
    ],
)
def test_are_found_by_their_ends(name: str, full: str) -> None:
    assert task_types.named(TYPES, name)["celery_task_name"] == full


def test_an_end_of_several_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(Refused, match=r"app\.tasks\.load_all, other\.load_all"):
        task_types.named(TYPES, "load_all")
    with pytest.raises(Refused, match="Do you mean plain"):
        task_types.named(TYPES, "plane")
    with pytest.raises(Refused, match="no task"):
        task_types.named([], "x")


class TestCompletion:
    def test_takes_what_is_kept(self) -> None:
        task_types._keep(URL, [each["celery_task_name"] for each in TYPES])
        assert task_types.completed("app.tasks.l") == ["app.tasks.load", "app.tasks.load_all"]
        assert task_types.completed("load") == ["load", "load_all"]
        assert task_types.completed("zz") == []

    def test_asks_again_for_what_is_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []
        monkeypatch.setattr(task_types, "_refresh", lambda url: (asked.append(url), task_types._keep(url, ["fresh"])))
        assert task_types.completed("") == ["fresh"]
        assert task_types.completed("") == ["fresh"]
        kept = task_types._path(URL)
        kept.write_text(json.dumps({"at": time.time() - 1e6, "names": ["old"]}), encoding="utf-8")
        assert task_types.completed("") == ["fresh"]
        assert asked == [URL, URL]

    def test_is_not_slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answered = threading.Event()
        monkeypatch.setattr(task_types, "_refresh", lambda _: answered.wait(60))
        monkeypatch.setattr(task_types, "QUICK_SECONDS", 0.05)
        try:
            assert task_types.completed("a") == []  # though the server has not answered
            assert not answered.is_set()
        finally:
            answered.set()

    def test_never_raises(self, monkeypatch: pytest.MonkeyPatch, alone: Path) -> None:
        monkeypatch.setenv("TASK_SERVICE_URL", "no url")
        assert task_types.completed("a") == []
        monkeypatch.setenv("TASK_SERVICE_URL", URL)
        task_types._path(URL).parent.mkdir()
        task_types._path(URL).write_text("{", encoding="utf-8")
        monkeypatch.setattr(task_types, "_refresh", lambda _: None)
        assert task_types.completed("a") == []

    def test_outlives_a_directory_that_cannot_be_written(self, alone: Path) -> None:
        (alone / "names").write_text("a file", encoding="utf-8")
        task_types._keep(URL, ["a"])
        assert [each.name for each in alone.iterdir()] == ["names"]
