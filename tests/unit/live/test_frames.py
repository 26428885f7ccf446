"""Cursors and versions: what a client sends back is read strictly, or taken for nothing."""

from datetime import UTC, datetime

import pytest

from app.core.ids import new_id
from app.live.frames import cursor_of, moment_of, version_of
from app.messaging.channel import MOST_IDS, pack, unpack

MOMENT = datetime(2026, 11, 25, 1, 2, 3, 456789, tzinfo=UTC)


@pytest.mark.parametrize("cursor", [None, "", "-1", "1_0", " 1", "0x1", "G", "F", "f" * 16, "f" * 17, "٣"])
def test_only_what_cursor_of_made_is_a_cursor(cursor: str | None) -> None:
    assert moment_of(cursor_of(MOMENT)) == MOMENT
    assert moment_of(cursor) is None


@pytest.mark.parametrize(
    ("event_id", "version"),
    [("22", 22), ("0", 0), (None, None), ("", None), ("-1", None), ("1.0", None), ("٣", None), ("1" * 11, None)],
)
def test_a_version_is_digits(event_id: str | None, version: int | None) -> None:
    assert version_of(event_id) == version


@pytest.mark.parametrize("payload", [None, 1, "x" * 16, b"", b"x", b"x" * 17, b"x" * 16 * (MOST_IDS + 1)])
def test_a_hint_names_the_ids_that_were_packed_and_anything_else_none(payload: object) -> None:
    ids = [new_id() for _ in range(3)]
    assert unpack(pack(ids)) == ids
    assert unpack(payload) == []
