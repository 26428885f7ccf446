"""What a host tells of itself that others must have alike: no secret, and which directory it is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.core.agreement import BROKER, KEY, MARK, STORAGE, UNMARKED, seconds_ahead, settings_to_agree
from app.core.config import Settings

SECRET = "only-for-tests-0123456789abcdef0123456789abcdef"
NOW = datetime(2026, 12, 7, tzinfo=UTC)


def told(**settings: object) -> dict[str, str]:
    return settings_to_agree(Settings.model_validate(settings), mark=True)


def test_no_secret_is_told() -> None:
    one = told(secret_key=SECRET, celery_broker_url="sentinel://u:hidden@a:1/0;sentinel://:hidden@b:2/0")
    assert one[BROKER] == "sentinel://a:1/0;sentinel://b:2/0"
    assert len(one[KEY]) == 12
    assert not any(SECRET in each or "hidden" in each for each in one.values())
    assert one[KEY] == told(secret_key=SECRET)[KEY] != told(secret_key=SECRET + "0")[KEY]


def test_what_is_not_set_is_not_told() -> None:
    assert KEY not in told()
    assert BROKER not in told()


class TestADirectory:
    def test_is_the_same_by_any_path(self, tmp_path: Path) -> None:
        (tmp_path / "files").mkdir()
        (tmp_path / "mounted").symlink_to(tmp_path / "files")
        (tmp_path / "other").mkdir()
        one, same, other = (
            told(storage_url=(tmp_path / name).as_uri())[STORAGE] for name in ("files", "mounted", "other")
        )
        assert one == same != other

    def test_is_marked_and_made_by_no_command_that_only_looks(self, tmp_path: Path) -> None:
        looked = settings_to_agree(Settings(storage_url=tmp_path.as_uri()), mark=False)
        assert looked[STORAGE] == UNMARKED
        assert not (tmp_path / MARK).exists()
        assert STORAGE not in told(storage_url=(tmp_path / "missing").as_uri())
        assert not (tmp_path / "missing").exists()

    def test_that_cannot_be_read_is_not_told(self, tmp_path: Path) -> None:
        (tmp_path / MARK).mkdir()
        assert STORAGE not in told(storage_url=tmp_path.as_uri())


@pytest.mark.parametrize("ahead", [0.0, 90.0, -90.0])
def test_a_clock_is_read_in_the_middle_of_the_round_trip(ahead: float) -> None:
    times = iter([NOW, NOW + timedelta(seconds=4)])
    theirs = NOW + timedelta(seconds=2 + ahead)
    assert seconds_ahead(lambda: theirs, lambda: next(times)) == (ahead, 2.0)
