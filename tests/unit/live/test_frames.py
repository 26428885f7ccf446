"""Cursors and versions: what a client sends back is read strictly, or taken for nothing."""

from datetime import UTC, datetime

from app.core.ids import new_id
from app.live.streams import cursor_of, moment_of, version_of
from app.messaging.hints import MOST_IDS, pack_ids, unpack_ids
from tests.support.tables import check_rows

MOMENT = datetime(2026, 11, 25, 1, 2, 3, 456789, tzinfo=UTC)


def test_only_what_cursor_of_made_is_a_cursor() -> None:
    assert moment_of(cursor_of(MOMENT)) == MOMENT
    others = [None, "", "-1", "1_0", " 1", "0x1", "G", "F", "f" * 16, "f" * 17, "٣"]
    check_rows(lambda cursor: moment_of(cursor) is None, others)


def test_a_version_is_digits() -> None:
    versions = {"22": 22, "0": 0, None: None, "": None, "-1": None, "1.0": None, "٣": None, "1" * 11: None}
    check_rows(lambda event_id, version: version_of(event_id) == version, versions.items())


def test_a_hint_names_the_ids_that_were_packed_and_anything_else_none() -> None:
    ids = [new_id() for _ in range(3)]
    assert unpack_ids(pack_ids(ids)) == ids
    others = [None, 1, "x" * 16, b"", b"x", b"x" * 17, b"x" * 16 * (MOST_IDS + 1)]
    check_rows(lambda payload: unpack_ids(payload) == [], others)
