"""Lanes: which have something due, and which may be sent to now, as the places of the sender are given by turns.

A lane is one receiver: an endpoint, or what a user's `webhook_url` leads to. A request has a place of its lane, of its
user and of the sender, so that a receiver that is slow or dead takes no more than its own, and:

- a lane has one place until it has answered, and again after a failure, until something gets through;
- lanes that failed, were slow or have not answered yet have at most three quarters of the places together, and few of
  one user: so many users are needed to keep a new receiver waiting;
- what follows in a lane that answers fast is kept ready in memory, so that its next request waits for no statement.

`Lanes` needs no database and no clock.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from functools import cache
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db.session import transaction
from app.db.statements.reads import skip_scan
from app.ddl.clock import NOW, STATEMENT_TIME
from app.models.webhook import WebhookDelivery, WebhookEndpoint

PLACES = 128
PLACES_OF_USER = 16
PLACES_OF_LANE = 4
PLACES_OF_SLOW = 96
SLOW_PLACES_OF_USER = 6
SLOW_SECONDS = 1.0
# Rows that a fast lane has ready beyond its places, and all lanes together. Each may hold a body of 256 KiB.
READY_OF_LANE = 100
READY = 256
# Lanes that were fast when nothing was left for them. What comes next finds its places as it did before.
REMEMBERED = 10_000

Item = TypeVar("Item")


class Pace(Enum):
    """How the last request of a lane went."""

    UNKNOWN = auto()
    FAST = auto()
    SLOW = auto()
    FAILED = auto()


class DueLane(NamedTuple):
    """A lane with rows that are due, its user, and whether nothing has got through to it lately."""

    lane: UUID
    user_id: UUID
    failing: bool = False


@dataclass(slots=True)
class Lane(Generic[Item]):
    """What the sender knows of a lane. `places` are those that are taken now."""

    user_id: UUID
    pace: Pace = Pace.UNKNOWN
    places: int = 0
    turn: int = 0
    ready: deque[Item] = field(default_factory=deque)

    @property
    def is_slow(self) -> bool:
        return self.pace is not Pace.FAST

    @property
    def most_places(self) -> int:
        return PLACES_OF_LANE if self.pace in {Pace.FAST, Pace.SLOW} else 1


class Lanes(Generic[Item]):
    """All lanes that something is sent to or ready for. The caller has it used by one thread at a time."""

    def __init__(self) -> None:
        self._lanes: dict[UUID, Lane[Item]] = {}
        self._fast: dict[UUID, None] = {}  # the last ones at the end
        self._turns = 0

    @property
    def places(self) -> int:
        """How many places are taken."""
        return sum(each.places for each in self._lanes.values())

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way or ready."""
        return not any(each.places or each.ready for each in self._lanes.values())

    def choose(self, due: Sequence[DueLane]) -> dict[UUID, int]:
        """Return how many rows of each lane to take now, at least one each: for its places, and to be ready."""
        for asked in due:
            if asked.lane not in self._lanes:
                known = Pace.FAST if asked.lane in self._fast else Pace.UNKNOWN
                self._lanes[asked.lane] = Lane(asked.user_id, Pace.FAILED if asked.failing else known)
        chosen, taken = Counter[UUID](), _Taken(self._lanes.values())
        in_turn = self._in_turn({each.lane for each in due}, taken)
        for _ in range(PLACES_OF_LANE):
            for each in in_turn:
                lane = self._lanes[each]
                if len(lane.ready) + chosen[each] < lane.most_places - lane.places and taken.has_room(lane):
                    taken.add(lane)
                    chosen[each] += 1
        left = READY - sum(len(each.ready) for each in self._lanes.values())
        for each in in_turn:
            lane = self._lanes[each]
            more = min(READY_OF_LANE - len(lane.ready), left)
            # Half of them at once, rather than each by itself.
            if lane.pace is Pace.FAST and more * 2 >= READY_OF_LANE and lane.places + chosen[each] > 0:
                chosen[each] += more
                left -= more
        for each in chosen:
            self._turns += 1
            self._lanes[each].turn = self._turns
        return {each: number for each, number in chosen.items() if number > 0}

    def add(self, lane: UUID, item: Item) -> None:
        """Have the item sent next in its lane."""
        self._lanes[lane].ready.append(item)

    def startable(self) -> list[UUID]:
        """Take places for lanes with ready items. Returns the lane of each place: who serves it calls `next_of`."""
        taken, found = _Taken(self._lanes.values()), Counter[UUID]()
        in_turn = self._in_turn({each for each, lane in self._lanes.items() if lane.ready}, taken)
        for _ in range(PLACES_OF_LANE):
            for each in in_turn:
                lane = self._lanes[each]
                if found[each] < len(lane.ready) and lane.places < lane.most_places and taken.has_room(lane):
                    taken.add(lane)
                    lane.places += 1
                    found[each] += 1
        return list(found.elements())

    def next_of(self, lane: UUID) -> Item | None:
        """Return the next item for a place of this lane. None: nothing is ready, and the place is given back."""
        its = self._lanes[lane]
        if its.ready and its.places <= its.most_places:
            return its.ready.popleft()
        its.places -= 1
        return None

    def ready(self) -> list[Item]:
        """Return what is ready."""
        return [each for lane in self._lanes.values() for each in lane.ready]

    def discard(self, which: Callable[[Item], bool]) -> list[Item]:
        """Have these not sent, as far as they are ready still. Returns them."""
        discarded = [each for each in self.ready() if which(each)]
        for lane in self._lanes.values():
            lane.ready = deque(each for each in lane.ready if not which(each))
        return discarded

    def note(self, lane: UUID, *, seconds: float, succeeded: bool) -> None:
        """Note how a request of this lane went."""
        its = self._lanes[lane]
        its.pace = Pace.FAILED if not succeeded else Pace.SLOW if seconds > SLOW_SECONDS else Pace.FAST

    def _in_turn(self, lanes: Iterable[UUID], taken: "_Taken") -> list[UUID]:
        """Return the lanes by their turns, no second one of a user before the first of each other user."""
        ranks = Counter[UUID]()
        ranked = list[tuple[int, int, UUID]]()
        for each in sorted(lanes, key=lambda each: (self._lanes[each].turn, each)):
            lane = self._lanes[each]
            ranked.append((taken.of_user(lane.user_id) + ranks[lane.user_id], lane.turn, each))
            ranks[lane.user_id] += 1
        return [each for *_, each in sorted(ranked)]

    def forget(self, kept: Iterable[UUID]) -> None:
        """Forget the lanes that have nothing under way, but for these, and that they were fast."""
        stay = set(kept)
        gone = [lane for lane, its in self._lanes.items() if not (its.places or its.ready or lane in stay)]
        for lane in gone:
            self._fast.pop(lane, None)
            if self._lanes.pop(lane).pace is Pace.FAST:
                self._fast[lane] = None
        for lane in list(self._fast)[: max(0, len(self._fast) - REMEMBERED)]:
            del self._fast[lane]


class _Taken:
    """The places that are taken: in all, of each user, and by each user's slow lanes."""

    def __init__(self, lanes: Iterable[Lane[Item]]) -> None:
        self._all = 0
        self._users, self._slow = Counter[UUID](), Counter[UUID]()
        for lane in lanes:
            self.add(lane, lane.places)

    def of_user(self, user_id: UUID) -> int:
        return self._users[user_id]

    def has_room(self, lane: Lane[Item]) -> bool:
        within = self._all < PLACES and self._users[lane.user_id] < PLACES_OF_USER
        if not lane.is_slow:
            return within
        return within and self._slow.total() < PLACES_OF_SLOW and self._slow[lane.user_id] < SLOW_PLACES_OF_USER

    def add(self, lane: Lane[Item], places: int = 1) -> None:
        self._all += places
        self._users[lane.user_id] += places
        if lane.is_slow:
            self._slow[lane.user_id] += places


# -- Which lanes have something due, at the cost of those alone --------------------------------------------------------
# A sender remembers which lanes were due at its last look, and looks at these and at what has become due since. Now and
# then it walks through all lanes, so that it also finds a row whose transaction was committed late. The walk takes two
# look-ups in an index for each lane: DISTINCT would read every row, of which a dead receiver may have any number.

# Lanes that one statement of the walk finds, and that one statement is asked about.
LANES_AT_ONCE, LANES_ASKED = 1000, 100
WALK_SECONDS = 30.0
# Most rows are committed within this time after the one at which they are due.
COMMIT_OVERLAP = timedelta(seconds=2)

_DELIVERIES: Any = WebhookDelivery.__table__
_ROW = _DELIVERIES.c
_TIME = sa.select(NOW.label("now")).subquery()
_DUE = (
    sa.select(_ROW.lane)
    .where(_ROW.next_attempt_at > sa.bindparam("since", type_=_ROW.next_attempt_at.type))
    .where(_ROW.next_attempt_at <= STATEMENT_TIME)
    .distinct()
    .subquery()
)
# With the time, in one statement: nearly always it is the only one of a look. A row at least, without a lane.
_BECAME_DUE = sa.select(_TIME.c.now, _DUE.c.lane).select_from(_TIME.outerjoin(_DUE, sa.true()))


def _state_of(lanes: sa.CTE) -> sa.Select[*tuple[Any, ...]]:
    """These lanes with what is due first of each: when, whose, and whether nothing gets through; and the time."""
    head, endpoint = _DELIVERIES.alias("head"), WebhookEndpoint.__table__
    first = sa.select(_ROW.id).where(_ROW.lane == lanes.c.value).order_by(_ROW.next_attempt_at, _ROW.id).limit(1)
    # The URLs of tasks have no endpoint that says so: what is due first has failed before.
    failing = sa.or_(endpoint.c.failing_since.is_not(None), head.c.tries > 0)
    return (
        sa.select(lanes.c.value, head.c.next_attempt_at, head.c.user_id, failing, NOW)
        .select_from(lanes)
        .outerjoin(head, head.c.id == first.correlate(lanes).scalar_subquery())
        .outerjoin(endpoint, endpoint.c.id == head.c.endpoint_id)
        .where(lanes.c.value.is_not(None))
    )


def _all_lanes() -> sa.Select[*tuple[Any, ...]]:
    found = skip_scan(_ROW.lane, most=LANES_AT_ONCE)
    return _state_of(found).order_by(found.c.number)


_ALL_LANES = _all_lanes()


@cache
def _so_many_lanes(number: int) -> sa.Select[*tuple[Any, ...]]:
    """Return the SELECT of the lanes `lane_0` to `lane_{number - 1}`."""
    named = [sa.select(sa.bindparam(f"lane_{each}", type_=_ROW.lane.type).label("value")) for each in range(number)]
    return _state_of((sa.union_all(*named) if number > 1 else named[0]).cte("found"))


class DueLanes:
    """What one sender knows of the lanes. One thread uses it."""

    def __init__(self) -> None:
        self._known = set[UUID]()
        self._since: datetime | None = None
        self._walked_at = float("-inf")

    def find(self, db: Session) -> list[DueLane]:
        """Return the lanes of which a row is due."""
        if self._since is None or time.monotonic() - self._walked_at >= WALK_SECONDS:
            self._walked_at = time.monotonic()
            with transaction(db):
                self._since = db.execute(sa.select(NOW)).scalar_one()
            found = find_due_lanes(db)
        else:
            found = self._of_some(db, self._since)
        self._known = {each.lane for each in found}
        return found

    def add(self, lanes: Iterable[UUID]) -> None:
        """Look at these next time, whose rows are due at an earlier time than they were."""
        self._known.update(lanes)

    def _of_some(self, db: Session, since: datetime) -> list[DueLane]:
        with transaction(db):
            due = db.execute(_BECAME_DUE, {"since": since - COMMIT_OVERLAP}).all()
            self._since = due[0].now
            if due[0].now < since:  # the clock was put back: only a walk tells what is due by it
                self._walked_at = float("-inf")
            asked = sorted({*self._known, *(each.lane for each in due if each.lane is not None)})
            rows = list[Any]()
            for at in range(0, len(asked), LANES_ASKED):
                lanes = asked[at : at + LANES_ASKED]
                values = {f"lane_{number}": lane for number, lane in enumerate(lanes)}
                rows += db.execute(_so_many_lanes(len(lanes)), values)
        return _due_lanes(rows)


def find_due_lanes(db: Session) -> list[DueLane]:
    """Return the lanes of which a row is due, by a walk through all lanes; a transaction for each statement."""
    rows, last = list[Any](), UUID(int=0)
    while True:
        with transaction(db):
            found = db.execute(_ALL_LANES, {"after": last}).all()
        rows += found
        if len(found) < LANES_AT_ONCE:
            return _due_lanes(rows)
        last = found[-1][0]


def _due_lanes(rows: Collection[Any]) -> list[DueLane]:
    return [DueLane(lane, user, bool(failing)) for lane, at, user, failing, now in rows if at is not None and at <= now]
