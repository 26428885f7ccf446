"""The graph of a workflow."""

import random
from collections.abc import Iterator

import pytest

from app.workflows import graph

Parents = list[list[int]]


def acyclic() -> Iterator[tuple[random.Random, Parents]]:
    """Nodes in any order, each with parents among those before it in another order."""
    for seed in range(300):
        chance = random.Random(seed)
        before = chance.sample(range(12), chance.randint(1, 12))
        before = [sorted(before).index(each) for each in before]
        parents: Parents = [[] for _ in before]
        for at, node in enumerate(before):
            parents[node] = chance.sample(before[:at], chance.randint(0, at))
        yield chance, parents


class TestOrder:
    def test_has_each_node_once_and_after_its_parents(self) -> None:
        for _, parents in acyclic():
            order = graph.order(parents)
            assert sorted(order) == [*range(len(parents))]
            place = {node: at for at, node in enumerate(order)}
            assert all(place[parent] < place[node] for node, its in enumerate(parents) for parent in its)

    def test_of_a_cycle_names_it(self) -> None:
        for chance, parents in acyclic():
            way = chance.sample(range(len(parents)), chance.randint(1, len(parents)))
            for at, node in enumerate(way):
                parents[node] = [*parents[node], way[at - 1]]
            with pytest.raises(graph.Cycle) as cycle:
                graph.order(parents)
            nodes = cycle.value.nodes
            assert nodes
            assert all(nodes[at - 1] in parents[node] for at, node in enumerate(nodes))


class TestLayers:
    def test_have_each_node_right_below_its_lowest_parent(self) -> None:
        for _, parents in acyclic():
            layers = graph.layers(parents)
            depth = {node: at for at, layer in enumerate(layers) for node in layer}
            assert sorted(depth) == [*range(len(parents))]
            for node, its in enumerate(parents):
                assert depth[node] == max((depth[parent] + 1 for parent in its), default=0)
