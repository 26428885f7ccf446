"""Cron lines: what they are made of, and what is refused with which words."""

import re
from datetime import UTC, datetime

import pytest
from cronsim import CronSim

from app.core.languages import in_language
from app.schedules.cron_lines import MACROS, parse_line
from app.schedules.zones import InvalidTiming
from tests.support.cron_model import Model
from tests.support.tables import check_rows

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_names_lists_ranges_and_steps() -> None:
    line = parse_line("5,1-3 */6 10-20/5 jan,Mar-may MON-fri")
    assert [field.values for field in (line.minute, line.hour, line.day, line.month, line.weekday)] == [
        (1, 2, 3, 5), (0, 6, 12, 18), (10, 15, 20), (1, 3, 4, 5), (1, 2, 3, 4, 5),
    ]  # fmt: skip


def test_sunday_is_0_or_7() -> None:
    same = ("0", "7", "sun", "SUN", "7,0", "*/7")
    assert {parse_line(f"0 0 1 * {text}").weekday.values for text in same} == {(0,)}
    assert parse_line("0 0 * * 5-7").weekday.values == (0, 5, 6)


def test_all_of_the_macros_are_written_out() -> None:
    assert {macro: str(parse_line(f" {macro.upper()} ")) for macro in MACROS} == MACROS


def test_a_step_in_a_range_of_one_is_that_one() -> None:
    """cronsim 2.8 alone takes it for `5-59/2`."""
    line = parse_line("5-5/2 0 * * 1-mon/3")
    assert str(line) == "5 0 * * 1"
    assert len(CronSim("5-5/2 0 * * *", START).minutes) > 1  # else this may go


def test_a_star_at_the_beginning_alone_makes_a_difference() -> None:
    rows = {
        "*/5 3 * * *": (True, True), "5 */3 * * *": (True, True), "5,10 0-23 1 * 1": (False, False), "@hourly": (True, True),
        "0-59 3 1,2 * */2": (False, True), "0 3 */2 * 1": (False, True), "0 3 1-31 * 0-7": (False, False),
    }  # fmt: skip
    check_rows(
        lambda text, both: (parse_line(text).follows_elapsed_time, parse_line(text).needs_both_days) == both,
        rows.items(),
    )


QUARTZ = "L, W, # and ? are of Quartz, and no cron line has them: write values, ranges (1-5) or *"
TERMS = "must have values, ranges (1-5) or steps (*/5, 10-50/5), separated by commas"
REFUSED = {
    "": "must have five fields (minute, hour, day of month, month, day of week) and no seconds, not 0",
    "0 * * * * *": "must have five fields (minute, hour, day of month, month, day of week) and no seconds, not 6",
    "@reboot": "@reboot has no times: a schedule does not know when a machine starts",
    "@midnigth": f"is none of {', '.join(MACROS)}, did you mean @midnight",
    "@": f"is none of {', '.join(MACROS)}",
    "60 * * * *": "minute: must be from 0 to 59",
    "0 24 * * *": "hour: must be from 0 to 23",
    "0 0 0 * *": "day of month: must be from 1 to 31",
    "0 0 * 13 *": "month: must be from 1 to 12",
    "0 0 * * 8": "day of week: must be from 0 to 7",
    "0 0 * * monday": "day of week: must have numbers, or names: SUN, MON, TUE, WED, THU, FRI, SAT",
    "0 jan * * *": "hour: must have numbers",
    "0 17-9 * * *": "hour: a range runs backwards",
    "0 0 * * fri-sun": "day of week: a range runs backwards",
    "*/0 * * * *": "minute: a step is 1 or more",
    "5/15 * * * *": "minute: a step needs a range, such as 0-59/2",
    "1,,2 * * * *": f"minute: {TERMS}",
    "-5 * * * *": f"minute: {TERMS}",
    "0 0 ? * *": f"day of month: {QUARTZ}",
    "0 0 1,L * *": f"day of month: {QUARTZ}",
    "0 0 15W * *": f"day of month: {QUARTZ}",
    "0 0 LW * *": f"day of month: {QUARTZ}",
    "0 0 * * 1#2": f"day of week: {QUARTZ}",
    "0 0 * * fri#2": f"day of week: {QUARTZ}",
    "0 0 * * friL": f"day of week: {QUARTZ}",
    "٣ * * * *": f"minute: {TERMS}",
    "0 0 30 2 *": "never fires: none of its months has such a day",
    "0 0 31 4,6,9,11 */2": "never fires: none of its months has such a day",
    "0 " * 200: "must have 250 characters at most",
}


@pytest.mark.parametrize("text", REFUSED)
def test_a_refusal_says_what_is_wrong_and_where(text: str) -> None:
    with pytest.raises(InvalidTiming) as refused:
        parse_line(text)
    assert (refused.value.field, str(refused.value)) == ("cron", REFUSED[text])
    assert re.findall("must|minute|day of|write|never", in_language(str(refused.value), "zh")) == []


def test_a_day_that_a_day_of_the_week_replaces_is_not_missed() -> None:
    for text in ("0 0 30 2 1", "0 0 29 2 *", "0 0 31 4,5 *", "0 0 */31 2 *"):
        parse_line(text)
        assert Model(text).exists
