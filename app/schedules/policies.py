"""What a schedule does with the times that are due: which of them it catches up, and which may overlap.

Pure: `catch_up` reads nothing but a timing, `decide` nothing but its arguments. What they say is done by
`app/services/schedules/due_schedules.py`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from app.schedules.times import Span, Timing

# A time that maintenance sees no later than this is on time: longer than another process needs to take over from a
# leader that was killed (MAINTENANCE_LEASE_SECONDS and a second).
ON_TIME = timedelta(seconds=5)
# Missed times of a cron line that are counted at one look, each of which takes 5 µs, and stand in one row. More make
# another row at the next look. Those of an interval are a division.
MOST_MISSED = 5_000
_TICK = timedelta(microseconds=1)


class Overlap(StrEnum):
    """What becomes of a time while a task that the schedule fired before is pending or running."""

    SKIP = "skip"
    ALLOW = "allow"
    BUFFER_ONE = "buffer_one"
    CANCEL_RUNNING = "cancel_running"


class CatchUp(StrEnum):
    """Which of the times that were missed are run."""

    NONE = "none"
    LATEST = "latest"
    ALL = "all"


@dataclass(frozen=True)
class Window:
    """The times to look at: after < t <= until, the time of the look by the database's clock.

    `resumed_at`: times up to it belong to a pause, and count as missed.
    """

    after: datetime
    until: datetime
    resumed_at: datetime | None = None


@dataclass(frozen=True)
class CaughtUp:
    """What becomes of the times of a window.

    `done_until`: up to it, all are in `run` or `missed`. `due_at`: the first time after it, None if there is none.
    """

    run: Sequence[datetime]
    missed: Span | None
    done_until: datetime
    due_at: datetime | None


@dataclass(frozen=True)
class Decision:
    """What to do with the times of one look.

    `held` waits for the end of what runs, and `cancel` says to ask it to stop.
    """

    run: list[datetime] = field(default_factory=list)
    overlapping: list[datetime] = field(default_factory=list)
    held: datetime | None = None
    cancel: bool = False


def catch_up(
    timing: Timing,
    window: Window,
    policy: CatchUp,
    within: timedelta,
    done: Collection[datetime] = (),
    most: int = 1000,
) -> CaughtUp:
    """Say which times of the window are run, `most` of them at once, and which are missed.

    All that are on time are run; `policy` is about the earlier ones, and `latest` wants one of them where none is on
    time. `within` is how late a time may be. `done` are times of the window that have a task already, by a backfill.
    """
    on_time = window.until - ON_TIME
    if window.resumed_at is not None:
        on_time = max(on_time, window.resumed_at + _TICK)
    begin = on_time if policy is CatchUp.NONE else min(on_time, window.until - within)
    first, second = [*timing.after(window.after, 2), None, None][:2]
    if first is None or first > window.until:
        return CaughtUp([], None, window.until, first)
    if second is None or second > window.until:  # nearly always
        left = [] if first in done else [first]
        if first >= begin:
            return CaughtUp(left, None, window.until, second)
        return CaughtUp([], Span(first, first, 1) if left else None, window.until, second)
    chosen = timing.between(
        max(window.after, (begin if policy is CatchUp.ALL else on_time) - _TICK), window.until, most
    )
    if policy is CatchUp.LATEST and not chosen:
        latest = timing.latest(window.after, window.until)
        chosen = [latest] if latest is not None and latest >= begin else []
    bound = chosen[0] - _TICK if chosen else window.until
    missed = timing.span(window.after, bound, MOST_MISSED)
    if missed is not None and timing.cron is not None and missed.count >= MOST_MISSED:
        return _caught_up(timing, [], _without(timing, missed, done), missed.last)
    run = [time for time in chosen if time not in done]
    done_until = chosen[-1] if len(chosen) >= most else window.until
    return _caught_up(timing, run, missed and _without(timing, missed, done), done_until)


def _caught_up(timing: Timing, run: Sequence[datetime], missed: Span | None, done_until: datetime) -> CaughtUp:
    return CaughtUp(run, missed, done_until, next(iter(timing.after(done_until, 1)), None))


def _without(timing: Timing, span: Span, done: Collection[datetime]) -> Span | None:
    """Return the times of the span that have no task, by steps as many as those that have one."""
    have = {time for time in done if span.first <= time <= span.last and timing.latest(time - _TICK, time) == time}
    if len(have) == span.count:
        return None
    first, last = span.first, span.last
    while first in have:
        (first,) = timing.after(first)
    while last in have:
        last = timing.latest(first - _TICK, last - _TICK) or first
    return Span(first, last, span.count - len(have))


def decide(times: Sequence[datetime], overlap: Overlap, *, is_active: bool, held: datetime | None) -> Decision:
    """Say what becomes of these times, the oldest first, and of the one that is held from an earlier look.

    `is_active`: a task that the schedule fired by itself is pending or running.
    """
    if overlap is Overlap.ALLOW:
        return Decision([*([] if held is None else [held]), *times])
    run: list[datetime] = []
    if held is not None and not is_active:
        run, held, is_active = [held], None, True
    waiting = list(times)
    if waiting and not is_active and overlap is not Overlap.CANCEL_RUNNING:
        run.append(waiting.pop(0))
    if overlap is Overlap.CANCEL_RUNNING:
        return _last_wins(run, waiting, held, is_active=is_active)
    if overlap is Overlap.BUFFER_ONE and held is None and waiting:
        held = waiting.pop(0)
    return Decision(run, waiting, held)


def _last_wins(run: list[datetime], waiting: list[datetime], held: datetime | None, *, is_active: bool) -> Decision:
    """Let each time replace the one before it, which has not started or is cancelled."""
    if not waiting:
        return Decision(run, [], held)
    *passed, last = [*run, *([] if held is None else [held]), *waiting]
    if is_active and not run:
        return Decision([], passed, last, cancel=True)
    return Decision([last], passed)
