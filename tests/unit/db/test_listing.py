"""Lists: their cursors, and where their pages end."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.db.listing import Listing
from app.errors import InvalidCursor
from app.models.audit import AuditRecord
from app.models.error_group import ErrorGroup
from app.models.schedule import ScheduleRun
from app.models.task import Task, TaskAttempt, TaskStep

ID = uuid4()
LISTS: dict[str, tuple[Listing[Any], tuple[Any, ...]]] = {
    "ids": (Listing(Task, Task.id), (ID,)),
    "times": (Listing(AuditRecord, AuditRecord.at, AuditRecord.id), (datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC), ID)),
    "words": (Listing(ErrorGroup, ErrorGroup.number, ErrorGroup.fingerprint), (7, "c8" * 16)),
    "numbers": (Listing(TaskStep, TaskStep.seq, rising=True), ((1 << 62) + 1,)),
    "two kinds": (Listing(ScheduleRun, ScheduleRun.scheduled_for, ScheduleRun.kind), (datetime(1970, 1, 1, tzinfo=UTC), 2)),
}  # fmt: skip
REFUSED = {
    "ids": ["", "x", "-1", f"{ID.hex}.{ID.hex}", "\0", "0" * 33],
    "times": ["", ".", ID.hex, f"-1.{ID.hex}", f"{'9' * 19}.{ID.hex}", f"٣.{ID.hex}", f"1.{ID.hex}.1", f"1e3.{ID.hex}", f" 1.{ID.hex}"],
    "words": ["1.", f"{2**63}.{'c8' * 16}", "1.\0", "1.A", f"1.{'a' * 65}"],
    "numbers": ["", str(2**63), "9" * 20, "-1", "1.0"],
    "two kinds": ["0.32768", "0.-1", "0.2.2"],
}  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
class TestACursor:
    def test_says_the_position_of_an_item(self, name: str) -> None:
        listing, values = LISTS[name]
        item = dict(zip((column.key for column in listing._by), values, strict=True))
        for each in (item, SimpleNamespace(**item)):
            assert listing.position(listing.cursor_of(each)) == values
        assert len(listing.cursor_of(item)) <= 64

    def test_that_no_page_gave_is_refused(self, name: str) -> None:
        listing, _ = LISTS[name]
        for cursor in REFUSED[name]:
            with pytest.raises(InvalidCursor):
                listing.position(cursor)


def test_a_number_is_no_greater_than_its_column_holds() -> None:
    attempts = Listing(TaskAttempt, TaskAttempt.number, rising=True)
    assert attempts.position(str(2**31 - 1)) == (2**31 - 1,)
    with pytest.raises(InvalidCursor):
        attempts.position(str(2**31))


def test_a_page_ends_at_its_limit_and_says_where_the_next_one_begins() -> None:
    listing, found = Listing(Task, Task.id), [{"id": UUID(int=number)} for number in range(3)]
    assert listing.cut_page(found, 3) == (found, None)
    assert listing.cut_page(found, 2) == (found[:2], UUID(int=1).hex)
    assert listing.cut_page([], 2) == ([], None)
