"""Timings in words."""

from datetime import UTC, datetime

import pytest

from app.schedules.times import Timing
from app.schedules.words import in_words

START = datetime(2026, 1, 1, tzinfo=UTC)
LINES = {
    "30 9 * * 1-5": ("every weekday at 09:30", "每周一至周五 09:30"),
    "*/5 * * * *": ("every 5 minutes", "每 5 分钟"),
    "0 * * * *": ("every hour", "每小时整点"),
    "0 0 * * *": ("every day at 00:00", "每天 00:00"),
    "0 0 1 * *": ("on day 1 of each month at 00:00", "每月 1 日 00:00"),
    "15,45 8-18 * * MON-FRI": (
        "at minutes 15 and 45 of the hours 8 to 18, every weekday",
        "每周一至周五，8 至 18 时的第 15、45 分",
    ),
    "0 9 1,15 * 1": ("on days 1 and 15 of each month and every Monday at 09:00", "每月 1、15 日以及每周一 09:00"),
    "0 0 */2 * *": ("on days 1, 3, … 31 of each month at 00:00", "每月 1、3、…、31 日 00:00"),
    "30 2 29 2 *": ("on 29 February at 02:30", "每年 2 月 29 日 02:30"),
    "* * * * *": ("every minute", "每分钟"),
    "0 */6 * * *": ("every day at 00:00, 06:00, 12:00 and 18:00", "每天 00:00、06:00、12:00、18:00"),
    "0 */2 * * *": ("at minute 0 of the hours 0, 2, … 22", "0、2、…、22 时的第 0 分"),
    "5 4 * * sun": ("every Sunday at 04:05", "每周日 04:05"),
    "10-20/5 3 * jan,jul 0-7": (
        "every day in January and July at 03:10, 03:15 and 03:20",
        "1、7 月的每一天 03:10、03:15、03:20",
    ),
    "0 0 1-7 * */7": ("on days 1 to 7 of each month, if it is a Sunday, at 00:00", "每月 1 至 7 日中的周日 00:00"),
    "0,30 9,17 * * *": ("every day at 09:00, 09:30, 17:00 and 17:30", "每天 09:00、09:30、17:00、17:30"),
    "*/15 9-17 * * 6,7": (
        "every 15 minutes from 09:00 to 17:59, every Saturday and Sunday",
        "每周六、周日，09:00 至 17:59 每 15 分钟",
    ),
    "59 23 31 12 *": ("on 31 December at 23:59", "每年 12 月 31 日 23:59"),
    "0 22 * * 1-5": ("every weekday at 22:00", "每周一至周五 22:00"),
    "23 0-20/2 * * *": ("at minute 23 of the hours 0, 2, … 20", "0、2、…、20 时的第 23 分"),
    "*/90 * * * *": ("every hour", "每小时整点"),
    "*/7 * * * *": ("at minutes 0, 7, … 56 of every hour", "每小时的第 0、7、…、56 分"),
    "0 9 * 1,7 1-5": ("every weekday in January and July at 09:00", "1、7 月的每周一至周五 09:00"),
    "*/10 1-3,9-12 * * 5-7": (
        "every 10 minutes from 01:00 to 03:59 and from 09:00 to 12:59, every Friday, Saturday and Sunday",
        "每周五至周日，01:00 至 03:59、09:00 至 12:59 每 10 分钟",
    ),
    "30 9-17 * * *": ("every hour from 09:30 to 17:30", "09:30 至 17:30 每小时一次"),
    "* 9 * * *": ("every minute from 09:00 to 09:59", "09:00 至 09:59 每分钟"),
    "0 12 1,15 6,12 mon,thu": (
        "on days 1 and 15 and every Monday and Thursday in June and December at 12:00",
        "6、12 月的 1、15 日以及每周一、周四 12:00",
    ),
    "1-59/2 * * * *": ("at minutes 1, 3, … 59 of every hour", "每小时的第 1、3、…、59 分"),
    "0 12 * 3 *": ("every day in March at 12:00", "3 月的每一天 12:00"),
    "*/20 1-23/2 * * *": ("every 20 minutes in the hours 1, 3, … 23", "1、3、…、23 时内每 20 分钟"),
    "*/20 */3 * * *": ("every 20 minutes in the hours 0, 3, … 21", "0、3、…、21 时内每 20 分钟"),
    "0 8-11 * * *": ("every day at 08:00, 09:00, 10:00 and 11:00", "每天 08:00、09:00、10:00、11:00"),
    "0 9 31 */2 *": (
        "on day 31 of January, March, May, July, September and November at 09:00",
        "每年 1、3、…、11 月 31 日 09:00",
    ),
    "0 9 1 1 *": ("on 1 January at 09:00", "每年 1 月 1 日 09:00"),
    "*/15 */2 * * 6,7": (
        "every 15 minutes in the hours 0, 2, … 22, every Saturday and Sunday",
        "每周六、周日，0、2、…、22 时内每 15 分钟",
    ),
    "0 9 1-31 * 1": ("every day at 09:00", "每天 09:00"),
    "5,10,15,20,25,30,35 9 * * *": ("at minutes 5, 10, … 35 of hour 9", "9 时的第 5、10、…、35 分"),
}
INTERVALS = {
    1: ("every 1 s", "每 1 秒"),
    90: ("every 90 s", "每 90 秒"),
    300: ("every 5 min", "每 5 分钟"),
    7200.0: ("every 2 h", "每 2 小时"),
    86_400: ("every 24 h", "每 24 小时"),
    1.5: ("every 1.5 s", "每 1.5 秒"),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_said_with_its_zone(line: str) -> None:
    its = Timing(line, None, "Europe/Berlin", START, None)
    english, chinese = LINES[line]
    assert (in_words(its, "en"), in_words(its, "zh")) == (f"{english}, Europe/Berlin", f"{chinese}（Europe/Berlin）")


@pytest.mark.parametrize("seconds", INTERVALS)
def test_an_interval_is_said_without_one(seconds: float) -> None:
    its = Timing(None, seconds, "Europe/Berlin", START, None)
    assert (in_words(its, "en"), in_words(its, "zh")) == INTERVALS[seconds]


def test_lines_that_fire_alike_are_said_alike() -> None:
    for alike in (
        ("@hourly", "0 * * * *", "*/90 0-23 * * *"),
        ("0 9 * * 0", "0 9 * * sun", "0 9 * * 7"),
        ("0 0 1-31 * 1", "@daily"),
    ):
        assert len({in_words(Timing(line, None, "UTC", START, None), "en") for line in alike}) == 1
