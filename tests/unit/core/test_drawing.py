"""The drawings: what is drawn for numbers, and that no text breaks out of a picture."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from app.core.drawing import (
    HEIGHT,
    SPARK_HEIGHT,
    WIDTH,
    Bar,
    chart,
    clock_format,
    columns,
    label,
    line,
    marks,
    outcomes,
    rects,
    row,
    svg,
    timeline,
    top_of_axis,
)
from tests.support.tables import check_rows

BEGIN = datetime(2026, 11, 26, tzinfo=UTC)


def test_columns_stack_their_parts_up_to_the_highest() -> None:
    assert columns({"good": [1, 0, 2], "bad": [0, 0, 2]}, width=30, height=100) == [
        Bar("good", 0, 75, 9, 25),
        Bar("good", 20, 50, 9, 50),
        Bar("bad", 20, 0, 9, 50),
    ]


def test_without_numbers_there_are_no_bars() -> None:
    assert columns({}) == columns({"good": []}) == columns({"good": [0, 0]}) == []


def test_a_line_has_gaps_and_dashes() -> None:
    assert line([1, None, 2, 4], 4, width=40, height=100) == "M3.0 75.0h4M25.0 50.0L35.0 0.0"
    assert line([None], 1) == ""
    assert line([1], 0) == ""


def test_the_axis_of_a_chart_ends_at_a_round_number_that_fits_all() -> None:
    drawn = chart(BEGIN, 60, stacked={"good": [1, 0], "bad": [2, 0]}, lines={"new": [0, 7]})
    assert (drawn.top, drawn.lines) == (10, {"new": f"M150.0 {HEIGHT:.1f}L450.0 {HEIGHT * 0.3:.1f}"})
    assert [(bar.kind, bar.height) for bar in drawn.bars] == [("good", HEIGHT / 10), ("bad", HEIGHT / 5)]
    assert drawn.shown["of"] == {"new": [0, 7], "good": [1, 0], "bad": [2, 0]}


def test_the_tops_of_axes() -> None:
    check_rows(lambda highest, top: top_of_axis(highest) == top, {0: 2, 1: 2, 3: 5, 10: 10, 61: 100, 999: 1000}.items())
    tops = {0: 1, 0.0123: 0.02, 0.3: 0.5, 1: 1, 29: 50, 31: 60, 61: 120, 3601: 7200, 90_000: 172_800}
    check_rows(lambda highest, top: top_of_axis(highest, "seconds") == pytest.approx(top), tops.items())


def test_the_time_of_a_chart_is_in_equal_parts() -> None:
    hour = chart(BEGIN, 60, stacked={"good": [0] * 60}).ticks
    assert hour == [BEGIN + timedelta(minutes=15 * at) for at in range(4)]
    week = chart(BEGIN, 3600, stacked={"good": [0] * 168}).ticks
    assert week == [BEGIN + timedelta(days=at) for at in range(7)]


def test_a_row_fills_its_width_with_the_highest_sum() -> None:
    assert row({"running": 1, "ready": 3}, 4, width=100, height=20) == [
        Bar("running", 0, 0, 25, 20),
        Bar("ready", 25, 0, 75, 20),
    ]
    assert row({"running": 0}, 0) == []


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


def test_outcomes_end_at_the_right_and_what_was_skipped_is_half_as_high() -> None:
    assert outcomes(["succeeded", "skipped", "succeeded"], 4, width=40, height=20) == {
        "succeeded": "M10.0 0h9.0V20h-9.0zM30.0 0h9.0V20h-9.0z", "skipped": "M20.0 10h9.0V20h-9.0z",
    }  # fmt: skip
    assert outcomes([], 4) == {}


def test_marks_leave_gaps_and_are_seen_however_short() -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    end = begin + timedelta(minutes=10)
    spans = [("missed", begin, begin + timedelta(minutes=5)), ("failed", end, end)]
    assert [(bar.kind, bar.x, bar.width) for bar in marks(begin, spans, end)] == [
        ("missed", 0, 300), ("failed", 598, 2),
    ]  # fmt: skip


def test_no_two_times_of_an_axis_are_written_alike() -> None:
    begin = datetime(2026, 11, 30, 23, 50, 20, tzinfo=UTC)
    for seconds in (1, 20, 59, 60, 900, 21_599, 21_600, 86_399, 86_400, 86_400 * 89, 86_400 * 90, 86_400 * 1000):
        step = timedelta(seconds=seconds)
        written = {(begin + step * at).strftime(clock_format(step)) for at in range(4)}
        assert len(written) == 4, seconds
    assert clock_format(timedelta(hours=1)) == "%H:%M"


HOSTILE = '</title></svg><script>alert("1")</script>\x00\ud800&'


def test_no_text_breaks_out_of_its_place() -> None:
    bars = [Bar(HOSTILE, 1, 2, 3, 4, HOSTILE, 0.5)]
    root = ET.fromstring(svg(10, 20, HOSTILE, rects(bars) + label(1, 2, HOSTILE, most=9)))
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert [each.tag.rpartition("}")[2] for each in root.iter()] == ["svg", "title", "rect", "title", "text", "title"]
    assert {each.text for each in root.iter() if each.tag.endswith("title")} == {shown}
    (drawn,) = root.iter("{http://www.w3.org/2000/svg}rect")
    assert drawn.attrib == {
        "class": shown, "x": "1", "y": "2", "width": "3", "height": "4", "fill-opacity": "0.5",
    }  # fmt: skip
    assert (root.attrib["role"], root.attrib["viewBox"]) == ("img", "0 0 10 20")


def test_a_number_that_is_not_zero_can_be_seen_and_has_its_title() -> None:
    found = columns({"bar": [0, 1, 1000]}, 30, 100, least=2, titles=["a", "b", "c"])
    assert [(bar.height, bar.title) for bar in found] == [(2, "b"), (100, "c")]
