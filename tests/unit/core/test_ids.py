"""Ids order by time, and tell it."""

import time

from app.core.ids import FIRST_ID, LAST_ID, first_id_at, last_id_at, new_id, time_of


def test_new_ids_of_one_process_rise() -> None:
    made = [new_id() for _ in range(1000)]
    assert sorted(set(made)) == made


def test_an_id_lies_between_the_bounds_of_its_time() -> None:
    before = time.time()
    made = new_id()
    after = time.time()
    assert first_id_at(before) <= made <= last_id_at(after)
    assert int(before * 1000) / 1000 <= time_of(made) <= after


def test_the_bounds_of_two_milliseconds_meet() -> None:
    assert last_id_at(1.9995).int + 1 == first_id_at(2.0).int
    assert time_of(first_id_at(1.5)) == time_of(last_id_at(1.5)) == 1.5


def test_a_time_out_of_range_gives_the_nearest_in_range() -> None:
    assert (first_id_at(-1e12), last_id_at(-1e12)) == (FIRST_ID, last_id_at(0))
    assert (first_id_at(1e12), last_id_at(1e12)) == (first_id_at(2**48), LAST_ID)
