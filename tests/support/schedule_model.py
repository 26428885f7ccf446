"""What becomes of the times of one schedule, by counting them one by one: the model of `schedules/test_model.py`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)


@dataclass
class Model:
    """A schedule at an interval, and what it has done. `now` is the database's clock, which may jump both ways."""

    anchor: datetime
    step: timedelta
    now: datetime
    overlap: str = "skip"
    catch_up: str = "latest"
    within: timedelta = timedelta(hours=1)
    end: datetime | None = None
    # No look at a time is later than this for "on time", as the documents say.
    on_time: timedelta = 5 * SECOND
    paused: bool = False
    resumed_at: datetime | None = None
    held: datetime | None = None
    # Times that have a task, fired or by a backfill; those that were skipped one by one; and ranges that were missed.
    made: set[datetime] = field(default_factory=set)
    overlapped: set[datetime] = field(default_factory=set)
    missed: list[tuple[datetime, datetime, int]] = field(default_factory=list)
    # Of the fired ones, those whose tasks have not ended, and those that wait for a slot.
    active: set[datetime] = field(default_factory=set)
    pending: set[datetime] = field(default_factory=set)
    runs: int = 0
    skipped: int = 0

    def __post_init__(self) -> None:
        self.done_until = self.now
        self.next = self.first_after(self.now)

    # -- times -------------------------------------------------------------------------------------------------------

    def _from(self, instant: datetime) -> Iterator[datetime]:
        """The times after this instant."""
        number = max((instant - self.anchor) // self.step, -1) + 1
        while self.end is None or self.anchor + number * self.step <= self.end:
            yield self.anchor + number * self.step
            number += 1

    def first_after(self, instant: datetime) -> datetime | None:
        return next(self._from(instant), None)

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        found = []
        for time in self._from(after):
            if time > until:
                break
            found.append(time)
        return found

    @property
    def due(self) -> datetime | None:
        return None if self.paused else self.first_after(self.done_until)

    # -- clients -----------------------------------------------------------------------------------------------------

    def pause(self, *, paused: bool) -> None:
        if paused != self.paused:
            self.paused = paused
            self.resumed_at = self.resumed_at if paused else self.now
            self._set_next()

    def change(self, *, step: timedelta | None = None, end: datetime | None = None) -> None:
        """Change the timing. It counts from now; a new end does so where there was no time left to come."""
        if (step or self.step, end) == (self.step, self.end):
            return
        was_over = self.next is None and not self.paused
        begins = (step is not None and step != self.step) or was_over
        self.step, self.end = step or self.step, end
        if begins:
            if self.now < self.done_until:
                self._take_back()
            self.done_until = self.now
        self._set_next()

    def _take_back(self) -> None:
        """The clock was put back: what was not made of the times to come is to come again."""
        again = [each for each in self.missed if each[0] > self.now]
        self.skipped -= sum(each[2] for each in again) + sum(each > self.now for each in self.overlapped)
        self.missed = [each for each in self.missed if each not in again]
        self.overlapped = {each for each in self.overlapped if each <= self.now}
        if self.held is not None and self.held > self.now:
            self.held = None

    def backfill(self, begin: datetime, end: datetime) -> list[datetime]:
        times = [each for each in self.between(begin - TICK, min(end, self.now)) if each not in self.made]
        self.made |= {*times}
        self.overlapped -= {*times}
        self.runs += len(times)
        if self.held in times:
            self.held = None
        return times

    # -- a pass ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """A pass of maintenance: what is due, and then what waits for an end."""
        if self.paused:
            return
        if self.due is not None and self.due <= self.now:
            times = self.between(self.done_until, self.now)
            chosen = self._caught_up(times)
            lost = [each for each in times if each not in {*chosen, *self.made} and not (chosen and each > chosen[0])]
            if lost:
                self.missed.append((lost[0], lost[-1], len(lost)))
                self.skipped += len(lost)
            self.done_until = self.now
            self._set_next()
            self._decide([each for each in chosen if each not in self.made])
        if self.held is not None and (self.overlap == "allow" or not self.active):
            self._decide([])

    def _caught_up(self, times: list[datetime]) -> list[datetime]:
        begin = self.now - self.on_time
        if self.resumed_at is not None:
            begin = max(begin, self.resumed_at + TICK)
        on_time = [each for each in times if each >= begin]
        if self.catch_up == "all":
            return [each for each in times if each in on_time or each >= self.now - self.within]
        if self.catch_up == "latest" and not on_time:
            return [each for each in times[-1:] if each >= self.now - self.within]
        return on_time

    def _decide(self, times: list[datetime]) -> None:
        waiting = [*([] if self.held is None else [self.held]), *times]
        if self.overlap == "allow":
            self.held = None
            for time in waiting:
                self._run(time)
        elif self.overlap == "cancel_running":
            self._let_the_last_win(waiting, times)
        else:
            self._in_order(waiting)

    def _in_order(self, waiting: list[datetime]) -> None:
        held, self.held = self.held, None
        for time in waiting:
            if not self.active and self.held is None:
                self._run(time)
            elif self.held is None and (time == held or self.overlap == "buffer_one"):
                self.held = time
            else:
                self._skip(time)

    def _let_the_last_win(self, waiting: list[datetime], times: list[datetime]) -> None:
        if not waiting or (self.active and not times):
            return
        *passed, last = waiting
        for time in passed:
            self._skip(time)
        self.held = last
        self.active -= self.pending  # cancelled, and ended with it
        self.pending.clear()
        if not self.active:
            self.held = None
            self._run(last)

    def _run(self, time: datetime) -> None:
        self.made.add(time)
        self.active.add(time)
        self.pending.add(time)
        self.runs += 1

    def _skip(self, time: datetime) -> None:
        self.overlapped.add(time)
        self.skipped += 1

    def _set_next(self) -> None:
        due = self.due
        self.next = due if due is None or due > self.now else self.first_after(self.now)
