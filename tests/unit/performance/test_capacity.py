"""The model adds up CPU time, and knows what one core ends."""

import math

import pytest

from tests.performance.capacity import FULL, Costs, Mix, loads, machines, microseconds, most, one_broker, plan

COSTS = Costs(
    submit={"API": 400, "PostgreSQL": 100, "broker": 50},
    read={"API": 200, "PostgreSQL": 50},
    run={"worker parent": 500, "worker children": 300, "PostgreSQL": 150, "broker": 150},
    progress={"worker children": 100, "PostgreSQL": 100},
)
BARE = Mix(reads=0, reports=0, body_seconds=0)


class TestOneTask:
    def test_costs_what_its_parts_cost(self) -> None:
        assert microseconds(COSTS, Mix(reads=2, reports=3, body_seconds=0)) == {
            "API": 800, "worker parent": 500, "worker children": 600, "PostgreSQL": 650, "broker": 200,
        }  # fmt: skip

    def test_a_body_is_work_of_the_children(self) -> None:
        assert microseconds(COSTS, Mix(0, 0, 0.5))["worker children"] == 300 + 500_000


class TestAMachine:
    def test_is_full_below_all_of_its_cores(self) -> None:
        found = most(COSTS, 2, BARE)
        assert found.all_cores == pytest.approx(2 * FULL)
        assert found.tasks_per_second == pytest.approx(2 * FULL * 1e6 / 1650)
        assert found.bottleneck == "cores of the machine"

    def test_carries_twice_as_much_with_twice_the_cores(self) -> None:
        assert most(COSTS, 4, BARE).tasks_per_second == pytest.approx(2 * most(COSTS, 2, BARE).tasks_per_second)

    def test_carries_no_more_than_its_one_broker(self) -> None:
        found = most(COSTS, 1000, BARE)
        assert found.tasks_per_second == pytest.approx(one_broker(COSTS, BARE)) == pytest.approx(FULL * 1e6 / 200)
        assert found.bottleneck == "broker"

    def test_without_a_broker_s_cost_has_no_such_bound(self) -> None:
        assert one_broker(Costs({}, {}, {}, {}), BARE) == math.inf


class TestAPlan:
    def test_has_as_many_processes_as_cores_are_kept_busy(self) -> None:
        found = plan(COSTS, 4000, BARE)  # the API 1.6 cores, the parents 2
        assert (found.api_processes, found.workers) == (3, 3)
        assert plan(COSTS, 1, BARE).api_processes == 1

    def test_names_what_takes_the_most(self) -> None:
        assert plan(COSTS, 100, BARE).bottleneck == "worker parent"
        assert plan(COSTS, 100, Mix(reads=20)).bottleneck == "API"


class TestTables:
    def test_have_a_line_for_each_machine(self) -> None:
        lines = machines(COSTS, BARE, (2, 8, 64))
        assert [(line["cores"], line["tasks/s"]) for line in lines] == [(2, 848), (8, 3394), (64, 3500)]
        assert [line["full first"] for line in lines] == ["cores of the machine", "cores of the machine", "broker"]

    def test_have_a_line_for_each_load_with_the_brokers_it_needs(self) -> None:
        few, many = loads(COSTS, BARE, (100, 10_000))
        assert (few["API processes"], few["workers"], few["brokers"], few["cores"]) == (1, 1, 1, 0.2)
        assert (many["API processes"], many["workers"], many["brokers"], many["cores"]) == (6, 8, 3, 23.6)
