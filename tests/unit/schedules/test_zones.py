"""Zones: from the package alone, and their clocks."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from app.core.languages import in_language
from app.schedules import zones
from app.schedules.zones import UnknownZone

HOUR = timedelta(hours=1)


@pytest.fixture
def _no_files_of_the_host() -> Iterator[None]:
    zones.zone_info.cache_clear()
    zoneinfo.reset_tzpath(to=["/nowhere"])
    yield
    zoneinfo.reset_tzpath()


@pytest.mark.usefixtures("_no_files_of_the_host")
def test_the_files_of_the_host_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "ZoneInfo", None)  # nor its own search, which tries the host first
    berlin = zones.zone_info("Europe/Berlin")
    assert berlin.key == "Europe/Berlin"
    assert datetime(2026, 7, 1, tzinfo=berlin).utcoffset() == 2 * HOUR


def test_every_name_is_a_zone() -> None:
    names = zones.zone_names()
    assert len(names) > 500
    assert {"UTC", "Europe/Berlin", "Asia/Shanghai", "US/Eastern"} <= {*names}
    assert [name for name in names if zones.zone_info(name).key != name] == []


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "europe/berlin", "../zones", "/etc/localtime", "zone.tab", "Europe", "UTC\0"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(UnknownZone) as refused:
        zones.zone_info(name)
    assert refused.value.field == "timezone"
    assert str(refused.value).startswith("is no time zone")
    assert in_language(str(refused.value), "zh").startswith("不是时区")


def test_a_typing_error_gets_the_name_that_was_meant() -> None:
    meant = {
        "europe/berlin": "Europe/Berlin", "Asia/Shanghi": "Asia/Shanghai", "utc": "UTC", "berlin": "Europe/Berlin",
        "New York": "America/New_York",
    }  # fmt: skip
    for typed, name in meant.items():
        with pytest.raises(UnknownZone) as refused:
            zones.zone_info(typed)
        assert str(refused.value) == f"is no time zone, did you mean {name}"


def test_an_abbreviation_or_an_offset_gets_no_other_one() -> None:
    """CEST is seven hours away from EST, which is a zone."""
    for typed in ("CEST", "UTC+2", "Istanbul", "Mars/Olympus"):
        with pytest.raises(UnknownZone) as refused:
            zones.zone_info(typed)
        assert str(refused.value) == "is no time zone: write an IANA name, such as Europe/Berlin"


def test_the_version_is_that_of_the_package() -> None:
    year, _, _ = zones.tzdata_version().partition(".")
    assert int(year) >= 2026


def test_the_changes_of_a_clock_have_both_offsets() -> None:
    found = zones.clock_changes(
        "Europe/Berlin", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)
    )
    assert found == [
        (datetime(2026, 3, 29, 1, tzinfo=UTC), HOUR, 2 * HOUR), (datetime(2026, 10, 25, 1, tzinfo=UTC), 2 * HOUR, HOUR),
    ]  # fmt: skip
    assert zones.clock_changes("Europe/Berlin", found[0][0], found[1][0] - HOUR) == []


def test_the_periods_of_a_year_follow_each_other() -> None:
    for name in ("UTC", "Africa/Casablanca", "Pacific/Apia"):
        for year in (1900, 2011, 2026, 2100):
            its = zones.periods(name, year)
            assert (its[0].start.year, its[-1].end.year) == (year, year + 1)
            assert [each.end for each in its][:-1] == [each.start for each in its][1:]
            assert [each.offset for each in its][:-1] == [each.before for each in its][1:]
