"""Who may be sent to now: the places of the sender, given to lanes by turns. Needs no database and no clock.

A lane is one receiver: an endpoint, or what a user's `webhook_url` leads to. A request has a place of its lane, of its
user and of the sender, so that a receiver that is slow or dead takes no more than its own, and:

- a lane has one place until it has answered, and again after a failure, until something gets through;
- lanes that failed, were slow or have not answered yet have at most three quarters of the places together, and few of
  one user: so many users are needed to keep a new receiver waiting;
- what follows in a lane that answers fast is kept ready in memory, so that its next request waits for no statement.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

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
        """The lanes in the order of their turns, and no second one of a user before the first of each other one."""
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
