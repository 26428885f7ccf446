"""The picture of a workflow: what is folded, where its boxes are, the critical path, and when its tasks ran."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.core.drawing import WIDTH
from app.db.statements.workflows import Node
from app.models.task import TaskStatus
from app.web.workflow_picture import BOX_HEIGHT, LANE, critical_path, picture, seconds_of, timeline

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def node(
    position: int, *parents: int, name: str = "t", status: TaskStatus = TaskStatus.PENDING, span: Sequence[float] = ()
) -> Node:
    begin, end = (at(span[0]), at(span[1])) if span else (None, None)
    return Node(position, f"n{position}", [*parents], UUID(int=position), status, 1, 1, begin, end, name)


def names(nodes: Sequence[Node]) -> list[list[str]]:
    return [[each.ref for each in box.nodes] for box in picture(nodes).boxes]


class TestFolding:
    def test_makes_one_box_of_equal_siblings(self) -> None:
        fan = [node(0), *(node(number, 0) for number in range(1, 999)), node(999, *range(1, 999))]
        found = picture(fan)
        assert [len(box.nodes) for box in found.boxes] == [1, 998, 1]
        assert [box.layer for box in found.boxes] == [0, 1, 2]
        assert len(found.paths) == 2

    def test_leaves_two_alone_and_those_of_another_name(self) -> None:
        assert names([node(0), node(1, 0), node(2, 0)]) == [["n0"], ["n1"], ["n2"]]
        assert names([node(0), node(1, 0), node(2, 0), node(3, 0, name="u")]) == [["n0"], ["n1"], ["n2"], ["n3"]]

    def test_makes_one_box_of_a_long_row(self) -> None:
        chain = [node(0), *(node(number, number - 1) for number in range(1, 1000))]
        (box,) = picture(chain).boxes
        assert (len(box.nodes), box.is_row, picture(chain).paths) == (1000, True, [])

    def test_of_a_row_between_others_keeps_the_order(self) -> None:
        nodes = [node(0, name="a"), *(node(n, n - 1) for n in range(1, 6)), node(6, 5, name="b")]
        found = picture(nodes)
        assert names(nodes) == [["n0"], ["n1", "n2", "n3", "n4", "n5"], ["n6"]]
        assert [box.parents for box in found.boxes] == [set(), {0}, {1}]

    def test_of_many_different_ones_is_not_drawn(self) -> None:
        assert picture([node(number, name=f"t{number}") for number in range(150)]).is_drawn
        assert not picture([node(number, name=f"t{number}") for number in range(151)]).is_drawn


class TestPaths:
    def test_over_several_layers_run_above_all_boxes(self) -> None:
        found = picture([node(0, name="a"), node(1, 0, name="b"), node(2, 1, 0, name="c")])
        (over,) = [d for d, _ in found.paths if "H" in d]
        assert f" {LANE}H" in over
        assert min(box.y for box in found.boxes) > LANE
        assert max(box.y for box in found.boxes) + BOX_HEIGHT <= found.height


class TestBoxes:
    def test_do_not_overlap_and_stand_behind_their_parents(self) -> None:
        found = picture([node(0), node(1, 0, name="a"), node(2, 0, name="b"), node(3, 1, 2)])
        places = [(box.x, box.y) for box in found.boxes]
        assert len(set(places)) == 4
        assert places[0][0] < places[1][0] == places[2][0] < places[3][0] < found.width
        assert abs(places[1][1] - places[2][1]) > 40

    def test_have_the_state_that_needs_a_look(self) -> None:
        states = [TaskStatus.SUCCEEDED, TaskStatus.FAILED, TaskStatus.SUCCEEDED]
        (box,) = picture([node(number, status=status) for number, status in enumerate(states)]).boxes
        assert (box.status, dict(box.counts)) == ("failed", {"succeeded": 2, "failed": 1})


class TestCriticalPath:
    def test_goes_by_the_parent_that_ended_last(self) -> None:
        nodes = [node(0, span=(0, 1)), node(1, span=(0, 5)), node(2, 0, 1, span=(5, 6)), node(3, 0, span=(1, 2))]
        way = critical_path(nodes)
        assert [each.ref for each in way] == ["n1", "n2"]
        assert seconds_of(way) == 6
        assert sorted(box.name for box in picture(nodes).boxes if box.is_critical) == ["n1", "n2"]

    def test_of_nothing_that_has_ended_is_none(self) -> None:
        assert critical_path([node(0)]) == []
        assert seconds_of([]) == 0


class TestTimeline:
    def test_has_a_bar_for_each_attempt(self) -> None:
        nodes = [
            node(0, status=TaskStatus.SUCCEEDED, span=(2, 4)),
            node(1),
            node(2, status=TaskStatus.RUNNING, span=(4, 4)),
        ]
        nodes[2] = nodes[2]._replace(finished_at=None)
        found = timeline(nodes, {UUID(int=0): [("retried", at(0), at(1))]}, at(8), 10)
        assert found is not None
        assert (found.begin, found.seconds) == (BEGIN, 8.0)
        bars = [(each.ref, [(bar.kind, bar.x, bar.width) for bar in row]) for each, row in found.rows]
        eighth = WIDTH / 8
        assert bars == [
            ("n0", [("retried", 0, eighth), ("succeeded", 2 * eighth, 2 * eighth)]),
            ("n2", [("running", 4 * eighth, 4 * eighth)]),
        ]

    def test_before_any_start_is_none(self) -> None:
        assert timeline([node(0)], {}, BEGIN, 10) is None
