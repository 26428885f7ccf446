"""A workflow as a picture: its tasks in layers from left to right, what is equal folded, and when each of them ran.

Equal siblings (of one name, with the same parents and children) are one box, as is a long row of tasks of one name.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from app.core.drawing import Bar, Span, marks, shortened
from app.db.statements.workflows import Node
from app.models.task import TaskStatus
from app.workflows import graph

# Fewer are shown one by one.
FOLDED = 3
# A graph of more boxes is no picture any more: its layers are listed.
MOST_BOXES = 150
BOX_WIDTH, BOX_HEIGHT, GAP_X, GAP_Y, MARGIN = 168, 40, 44, 14, 4
# Where paths over several layers run: above all boxes.
LANE = MARGIN
# The state of a box is the first of these that one of its tasks has.
_FIRST = (TaskStatus.FAILED, TaskStatus.RUNNING, TaskStatus.PENDING, TaskStatus.REVOKED, TaskStatus.SUCCEEDED)
_SHOWN_CHARACTERS = 22
# Where the bar of an attempt begins in its row, and how high it is.
_SPAN = (2, 10)


@dataclass
class Box:
    """Tasks that are drawn as one. `is_row`: they come one after the other, and not side by side."""

    nodes: list[Node]
    parents: set[int] = field(default_factory=set)
    is_row: bool = False
    layer: int = 0
    x: int = 0
    y: int = 0
    is_critical: bool = False

    @property
    def counts(self) -> Counter[str]:
        return Counter(node.status.value for node in self.nodes)

    @property
    def status(self) -> str:
        return next(status.value for status in _FIRST if status.value in self.counts)

    @property
    def name(self) -> str:
        return self.nodes[0].ref

    @property
    def text(self) -> str:
        return shortened(self.name, _SHOWN_CHARACTERS)

    @property
    def seconds(self) -> float | None:
        """From the first start to the last end, once all of them have one."""
        begun = [node.started_at for node in self.nodes if node.started_at]
        ended = [node.finished_at for node in self.nodes if node.finished_at and node.started_at]
        if len(ended) < len(self.nodes):
            return None
        return (max(ended) - min(begun)).total_seconds()


@dataclass(frozen=True)
class Picture:
    """The boxes with their places, and a path from each to those that wait for it, with whether it is critical."""

    boxes: Sequence[Box]
    paths: Sequence[tuple[str, bool]]
    width: int
    height: int

    @property
    def is_drawn(self) -> bool:
        return len(self.boxes) <= MOST_BOXES


def picture(nodes: Sequence[Node]) -> Picture:
    """Return the picture of these nodes, which are all of a workflow, in their order."""
    boxes = _in_rows(_folded(nodes))
    _place(boxes)
    critical = {node.position for node in critical_path(nodes)}
    for box in boxes:
        box.is_critical = any(node.position in critical for node in box.nodes)
    paths = [
        (_path(boxes[parent], box), boxes[parent].is_critical and box.is_critical)
        for box in boxes
        for parent in sorted(box.parents)
    ]
    width = max(box.x for box in boxes) + BOX_WIDTH + MARGIN
    height = max(box.y for box in boxes) + BOX_HEIGHT + MARGIN
    return Picture(sorted(boxes, key=lambda box: (box.layer, box.y)), paths, width, height)


def critical_path(nodes: Sequence[Node]) -> list[Node]:
    """Return the way to the task that ended last, by the parent that ended last each time; [] before any has ended."""
    ended = [node for node in nodes if node.finished_at and node.started_at]
    way: list[Node] = []
    node = max(ended, key=_end, default=None)
    while node is not None:
        way.append(node)
        before = (nodes[at] for at in node.parents)
        node = max((each for each in before if each.finished_at and each.started_at), key=_end, default=None)
    return way[::-1]


def seconds_of(way: Sequence[Node]) -> float:
    """Return how long this way took: from the first start to the last end."""
    return (_end(way[-1]) - _start(way[0])).total_seconds() if way else 0.0


@dataclass(frozen=True)
class Timeline:
    """When these tasks ran, those that began first first: a row of bars for each, which fill `WIDTH`."""

    rows: Sequence[tuple[Node, Sequence[Bar]]]
    begin: datetime
    seconds: float


def timeline(nodes: Sequence[Node], earlier: dict[UUID, list[Span]], now: datetime, most: int) -> Timeline | None:
    """Return when at most this many of the tasks ran. `earlier` are the attempts before the last one, of each."""
    begun = sorted((node for node in nodes if node.started_at), key=_start)[:most]
    if not begun:
        return None
    spans = {}
    for node in begun:
        before = earlier.get(node.task_id, []) if node.task_id else []
        spans[node.position] = [*before, (node.status.value, _start(node), node.finished_at or now)]
    begin = min(first for each in spans.values() for _, first, _ in each)
    end = max(last for each in spans.values() for _, _, last in each)
    rows = [(node, marks(begin, spans[node.position], end, *_SPAN)) for node in begun]
    return Timeline(rows, begin, (end - begin).total_seconds())


def _start(node: Node) -> datetime:
    assert node.started_at is not None
    return node.started_at


def _end(node: Node) -> datetime:
    assert node.finished_at is not None
    return node.finished_at


def _folded(nodes: Sequence[Node]) -> list[Box]:
    """Return the boxes of the nodes: equal siblings are in one."""
    children: list[list[int]] = [[] for _ in nodes]
    for node in nodes:
        for parent in node.parents:
            children[parent].append(node.position)
    alike: dict[object, list[Node]] = {}
    for node in nodes:
        alike.setdefault((tuple(node.parents), tuple(children[node.position]), node.celery_task_name), []).append(node)
    boxes = [
        Box(members)
        for group in alike.values()
        for members in ([group] if len(group) >= FOLDED else [[node] for node in group])
    ]
    of = {node.position: at for at, box in enumerate(boxes) for node in box.nodes}
    for box in boxes:
        box.parents = {of[parent] for node in box.nodes for parent in node.parents}
    return boxes


def _in_rows(boxes: list[Box]) -> list[Box]:
    """Return the boxes, with a long row as one: tasks of one name, each the only child of the one before."""
    children = Counter(parent for box in boxes for parent in box.parents)
    head = list(range(len(boxes)))
    for at in graph.order([sorted(box.parents) for box in boxes]):
        box = boxes[at]
        if len(box.nodes) == 1 and len(box.parents) == 1:
            (parent,) = box.parents
            before = boxes[parent]
            same = before.nodes[-1].celery_task_name == box.nodes[0].celery_task_name
            if children[parent] == 1 and same and len(before.nodes) == 1:
                head[at] = head[parent]
    members: dict[int, list[int]] = {}
    for at in graph.order([sorted(box.parents) for box in boxes]):
        members.setdefault(head[at], []).append(at)
    kept: list[Box] = []
    place: dict[int, int] = {}
    for row in members.values():
        for part in [row] if len(row) > FOLDED else [[at] for at in row]:
            place |= dict.fromkeys(part, len(kept))
            inside = set(part)
            parents = {parent for at in part for parent in boxes[at].parents - inside}
            kept.append(Box([node for at in part for node in boxes[at].nodes], parents, is_row=len(part) > 1))
    for box in kept:
        box.parents = {place[parent] for parent in box.parents}
    return kept


def _place(boxes: Sequence[Box]) -> None:
    """Place the boxes layer by layer, in each by the middle of their parents, so that few paths cross."""
    layers = graph.layers([sorted(box.parents) for box in boxes])
    highest = max(map(len, layers))
    for number, layer in enumerate(layers):
        top = (highest - len(layer)) * (BOX_HEIGHT + GAP_Y) // 2
        for row, at in enumerate(sorted(layer, key=lambda at: _middle(boxes, at))):
            boxes[at].layer = number
            boxes[at].x = MARGIN + number * (BOX_WIDTH + GAP_X)
            boxes[at].y = MARGIN + top + row * (BOX_HEIGHT + GAP_Y)
    if any(box.layer > boxes[parent].layer + 1 for box in boxes for parent in box.parents):
        for box in boxes:
            box.y += GAP_Y


def _middle(boxes: Sequence[Box], at: int) -> float:
    parents = boxes[at].parents
    return sum(boxes[parent].y for parent in parents) / max(len(parents), 1)


def _path(parent: Box, child: Box) -> str:
    x, y = parent.x + BOX_WIDTH, parent.y + BOX_HEIGHT // 2
    to_x, to_y = child.x, child.y + BOX_HEIGHT // 2
    half = GAP_X // 2
    if child.layer == parent.layer + 1:
        return f"M{x} {y}C{x + half} {y} {to_x - half} {to_y} {to_x} {to_y}"
    # Over the boxes of the layers between.
    there, back = x + GAP_X, to_x - GAP_X
    up = f"M{x} {y}C{x + half} {y} {x + half} {LANE} {there} {LANE}"
    return f"{up}H{back}C{to_x - half} {LANE} {to_x - half} {to_y} {to_x} {to_y}"
