"""The numbers of the pictures."""

from datetime import UTC, datetime, timedelta

from app.web.charts import HEIGHT, SPARK_HEIGHT, WIDTH, Bar, columns, highest_of, line, row, timeline


def test_columns_stack_their_parts_up_to_the_highest() -> None:
    bars, highest = columns({"good": [1, 0, 2], "bad": [0, 0, 2]}, width=30, height=100)
    assert highest == 4
    assert bars == [Bar("good", 0, 75, 9, 25), Bar("good", 20, 50, 9, 50), Bar("bad", 20, 0, 9, 50)]


def test_without_numbers_there_are_no_bars() -> None:
    assert columns({}) == columns({"good": []}) == columns({"good": [0, 0]}) == ([], 0)


def test_a_line_has_gaps_and_dots() -> None:
    assert line([1, None, 2, 4], 4, width=40, height=100) == "M5.0 75.0h.1M25.0 50.0h.1L35.0 0.0"
    assert line([None], 1) == ""
    assert line([1], 0) == ""


def test_the_highest_of_no_value_is_zero() -> None:
    assert highest_of([None], []) == 0
    assert highest_of([None, 3.0], [5.0]) == 5


def test_what_is_drawn_beside_the_columns_fits_too() -> None:
    bars, highest = columns({"good": [1]}, width=10, beside=[4])
    assert (highest, bars) == (4, [Bar("good", 0, HEIGHT * 0.75, 9, HEIGHT / 4)])


def test_a_row_fills_its_width_with_the_highest_sum() -> None:
    assert row({"running": 1, "ready": 3}, 4, width=100, height=20) == [
        Bar("running", 0, 0, 25, 20),
        Bar("ready", 25, 0, 75, 20),
    ]
    assert [bar.width for bar in row({"running": 0}, 0)] == [0]


BEGIN = datetime(2026, 11, 26, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def spans(bars: list[Bar]) -> list[tuple[str, float, float]]:
    assert {bar.height for bar in bars} <= {SPARK_HEIGHT}
    return [(bar.kind, bar.x, bar.width) for bar in bars]


def test_a_timeline_has_the_attempts_and_the_waits_around_them() -> None:
    attempts = [("retried", at(10), at(20)), ("running", at(40), at(60))]
    assert spans(timeline(BEGIN, attempts, at(60))) == [
        ("waited", 0, 100), ("retried", 100, 100), ("waited", 200, 200), ("running", 400, 200),
    ]  # fmt: skip
    assert spans(timeline(BEGIN, [("failed", at(0), at(30))], at(60))) == [("failed", 0, 300), ("waited", 300, 300)]


def test_a_short_attempt_after_a_long_wait_can_be_seen() -> None:
    day = 24 * 3600
    *_, short = timeline(BEGIN, [("succeeded", at(day), at(day + 0.001))], at(day + 0.001))
    assert (short.kind, short.width, short.x + short.width) == ("succeeded", 2, WIDTH)


def test_clocks_that_differ_draw_nothing_backwards() -> None:
    bars = timeline(BEGIN, [("succeeded", at(-1), at(-2))], at(-2))
    assert all(bar.width > 0 for bar in bars)
    assert timeline(BEGIN, [], BEGIN) == []
