"""The graph of a workflow: an order in which each node comes after its parents, and the layers of a picture."""

from collections.abc import Sequence


class Cycle(ValueError):
    """Nodes that wait for each other. `nodes` are their positions, each a parent of the next, the last of the first."""

    def __init__(self, nodes: Sequence[int]) -> None:
        super().__init__(nodes)
        self.nodes = list(nodes)


def order(parents: Sequence[Sequence[int]]) -> list[int]:
    """Return the positions so that each comes after its parents, else as they are (Kahn's algorithm). Raises Cycle."""
    left = [len(set(each)) for each in parents]
    children: list[list[int]] = [[] for _ in parents]
    for node, its in enumerate(parents):
        for parent in set(its):
            children[parent].append(node)
    ready = [node for node, number in enumerate(left) if not number]
    for node in ready:  # which grows
        for child in children[node]:
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    if len(ready) < len(parents):
        raise Cycle(_a_cycle(parents, [number > 0 for number in left]))
    return ready


def layers(parents: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the nodes by how many are on the longest way to them: those without parents first. Raises Cycle."""
    depth = [0] * len(parents)
    for node in order(parents):
        depth[node] = max((depth[parent] + 1 for parent in parents[node]), default=0)
    found: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for node, layer in enumerate(depth):
        found[layer].append(node)
    return found


def _a_cycle(parents: Sequence[Sequence[int]], is_left: Sequence[bool]) -> list[int]:
    """Return a circle of nodes: each that is left has a parent that is left, so the way up comes back."""
    way: list[int] = []
    seen: dict[int, int] = {}
    node = next(node for node, left in enumerate(is_left) if left)
    while node not in seen:
        seen[node] = len(way)
        way.append(node)
        node = next(parent for parent in parents[node] if is_left[parent])
    return way[seen[node] :][::-1]
