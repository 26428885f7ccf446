"""The places of the sender: who is dead or slow delays nobody. In virtual time."""

import heapq
from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest

from app.services.webhooks import lanes
from app.services.webhooks.lanes import (
    PLACES,
    PLACES_OF_LANE,
    PLACES_OF_SLOW,
    PLACES_OF_USER,
    READY,
    READY_OF_LANE,
    SLOW_PLACES_OF_USER,
    DueLane,
    Lanes,
)
from tests.support.amounts import amount

DEAD_SECONDS = 15.0
DEAD_OF_USER = amount(day=7, night=20)


@dataclass
class Receiver:
    seconds: float = 0.01
    succeeds: bool = True
    events: int = 0
    user: UUID = field(default_factory=uuid4)
    lane: UUID = field(default_factory=uuid4)


def dead(user: UUID | None = None, events: int = 10_000) -> Receiver:
    return Receiver(DEAD_SECONDS, succeeds=False, events=events, user=user or uuid4())


class Simulation:
    """A sender whose requests take as long as their receivers say. `ended`: when each event of a receiver was sent."""

    def __init__(self, *receivers: Receiver) -> None:
        self.receivers = {each.lane: each for each in receivers}
        self.left = {each.lane: each.events for each in receivers}
        self.lanes = Lanes[int]()
        self.under_way: list[tuple[float, int, UUID]] = []
        self.now, self._number = 0.0, 0
        self.ended: dict[UUID, list[float]] = {lane: [] for lane in self.receivers}
        self.known_dead = False
        self.most = Counter[UUID]()
        self.most_places = 0

    def run(self, seconds: float) -> None:
        self._take()
        while self.under_way and self.under_way[0][0] <= seconds:
            self.now, _, lane = heapq.heappop(self.under_way)
            its = self.receivers[lane]
            self.lanes.note(lane, seconds=its.seconds, succeeded=its.succeeds)
            self.ended[lane].append(self.now)
            self._go_on(lane)
            self._take()

    def _take(self) -> None:
        due = [
            DueLane(lane, self.receivers[lane].user, self.known_dead and not self.receivers[lane].succeeds)
            for lane, left in self.left.items()
            if left
        ]
        for lane, number in self.lanes.choose(due).items():
            given = min(number, self.left[lane])
            self.left[lane] -= given
            for each in range(given):
                self.lanes.add(lane, each)
        for lane in self.lanes.startable():
            self._go_on(lane)
        places = Counter(lane for *_, lane in self.under_way)
        self.most |= places
        self.most_places = max(self.most_places, len(self.under_way))
        assert self.lanes.places == len(self.under_way)

    def _go_on(self, lane: UUID) -> None:
        if self.lanes.next_of(lane) is not None:
            self._number += 1
            heapq.heappush(self.under_way, (self.now + self.receivers[lane].seconds, self._number, lane))


def seconds_for(receiver: Receiver, *others: Receiver) -> float:
    simulation = Simulation(receiver, *others)
    simulation.run(120)
    assert len(simulation.ended[receiver.lane]) == receiver.events
    return max(simulation.ended[receiver.lane])


class TestOthers:
    def test_are_not_delayed_by_a_dead_receiver(self) -> None:
        alone = seconds_for(Receiver(events=500))
        assert seconds_for(Receiver(events=500), dead()) <= 1.1 * alone

    def test_nor_by_one_of_the_same_user(self) -> None:
        alone, mine = seconds_for(Receiver(events=500)), Receiver(events=500)
        assert seconds_for(mine, dead(mine.user)) <= 1.1 * alone

    @pytest.mark.parametrize("known", [True, False])
    def test_nor_by_many_of_each_of_many_users(self, known: bool) -> None:
        users = [uuid4() for _ in range(20)]
        alone, mine = seconds_for(Receiver(events=500)), Receiver(events=500)
        crowd = Simulation(mine, *(dead(user, 100) for user in users for _ in range(DEAD_OF_USER)))
        assert len(crowd.receivers) > PLACES
        crowd.known_dead = known
        crowd.run(20)
        assert max(crowd.ended[mine.lane]) <= 1.1 * alone
        assert crowd.most_places <= PLACES_OF_SLOW + PLACES_OF_LANE

    def test_of_which_nothing_is_known_are_not_kept_waiting_by_a_few_users_whose_receivers_hang(self) -> None:
        users = [uuid4() for _ in range(PLACES_OF_SLOW // SLOW_PLACES_OF_USER - 1)]
        simulation = Simulation(*(dead(user, 100) for user in users for _ in range(20)))
        simulation.run(20)
        mine = Receiver(events=1)
        simulation.receivers[mine.lane], simulation.left[mine.lane], simulation.ended[mine.lane] = mine, 1, []
        begun = simulation.now
        simulation._take()
        simulation.run(25)
        assert simulation.ended[mine.lane] == [pytest.approx(begun + mine.seconds)]

    def test_nor_by_slow_ones(self) -> None:
        slow = [Receiver(14.0, events=100) for _ in range(40)]
        simulation = Simulation(*slow)
        simulation.run(60)
        mine = Receiver(events=200)
        simulation.receivers[mine.lane], simulation.left[mine.lane], simulation.ended[mine.lane] = mine, 200, []
        simulation.run(75)
        assert len(simulation.ended[mine.lane]) == 200

    def test_nor_by_those_of_which_nothing_is_known_where_they_were_fast(self) -> None:
        mine = Receiver(events=1)
        simulation = Simulation(mine)
        simulation.run(10)
        simulation.lanes.forget([])
        for each in (dead() for _ in range(100)):
            simulation.receivers[each.lane], simulation.left[each.lane], simulation.ended[each.lane] = each, 100, []
        simulation.run(11)
        assert simulation.lanes.places == PLACES_OF_SLOW
        simulation.left[mine.lane] = 1
        simulation.run(12)
        assert len(simulation.ended[mine.lane]) == 2


class TestPlaces:
    def test_of_a_lane_are_one_until_it_has_answered_and_then_four(self) -> None:
        its = Receiver(events=100)
        simulation = Simulation(its)
        simulation.run(0)
        assert simulation.lanes.places == 1
        simulation.run(10)
        assert simulation.most[its.lane] == PLACES_OF_LANE

    def test_of_a_user_are_sixteen(self) -> None:
        user = uuid4()
        simulation = Simulation(*(Receiver(events=100, user=user) for _ in range(20)))
        simulation.run(100)
        assert simulation.most_places == PLACES_OF_USER

    def test_of_a_user_to_slow_receivers_are_six(self) -> None:
        user = uuid4()
        simulation = Simulation(*(dead(user) for _ in range(20)))
        simulation.run(100)
        assert simulation.most_places == SLOW_PLACES_OF_USER

    def test_of_a_lane_that_failed_are_one(self) -> None:
        its = dead()
        simulation = Simulation(its)
        simulation.run(100)
        assert simulation.most[its.lane] == 1
        assert len(simulation.ended[its.lane]) == int(100 / DEAD_SECONDS)

    def test_of_a_lane_that_begins_to_fail_are_given_back_but_one(self) -> None:
        its, known = Receiver(events=10), Lanes[int]()
        known.choose([DueLane(its.lane, its.user)])
        known.add(its.lane, 0)
        assert known.startable() == [its.lane]
        assert known.next_of(its.lane) == 0
        known.note(its.lane, seconds=its.seconds, succeeded=True)
        for each in range(1, 10):
            known.add(its.lane, each)
        known.startable()
        assert known.places == PLACES_OF_LANE
        known.note(its.lane, seconds=its.seconds, succeeded=False)
        assert [known.next_of(its.lane) for _ in range(PLACES_OF_LANE)] == [None, None, None, 1]

    @pytest.mark.parametrize("known", [True, False])
    def test_of_lanes_that_failed_or_of_which_nothing_is_known_are_so_many_together(self, known: bool) -> None:
        simulation = Simulation(*(dead() for _ in range(100)))
        simulation.known_dead = known
        simulation.run(100)
        assert simulation.most_places == PLACES_OF_SLOW

    def test_of_all_are_so_many_and_each_lane_has_its_turn(self) -> None:
        simulation = Simulation(*(Receiver(events=8) for _ in range(100)))
        simulation.run(200)
        assert simulation.most_places == PLACES
        assert {len(each) for each in simulation.ended.values()} == {8}


def test_rows_are_kept_ready_for_fast_lanes_within_a_bound() -> None:
    receivers = [Receiver(events=10_000) for _ in range(30)]
    simulation = Simulation(*receivers)
    simulation.run(0.1)
    taken = sum(each.events for each in receivers) - sum(simulation.left.values())
    in_memory = taken - sum(map(len, simulation.ended.values()))
    assert PLACES < in_memory <= PLACES + READY


def test_a_lane_that_has_nothing_under_way_is_forgotten() -> None:
    simulation = Simulation(Receiver(events=1))
    simulation.run(10)
    simulation.lanes.forget([])
    assert simulation.lanes.is_idle
    with pytest.raises(KeyError):
        simulation.lanes.next_of(next(iter(simulation.receivers)))


def test_no_more_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "REMEMBERED", 1)
    first, second = Receiver(events=1), Receiver(events=1)
    simulation = Simulation(first, second)
    simulation.run(10)
    simulation.lanes.forget([second.lane])
    simulation.lanes.forget([])
    wanted = simulation.lanes.choose([DueLane(each.lane, each.user) for each in (first, second)])
    assert wanted == {first.lane: 1, second.lane: PLACES_OF_LANE + READY_OF_LANE}
