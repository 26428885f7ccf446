"""Which process of a parallel run gets which tests, for pytest-xdist.

A process serves one engine (`--tx popen//env:TEST_DATABASE=sqlite`) and takes whole files, since their fixtures are
shared. The longest file comes first, by the durations that are kept. Tests that measure how long a process takes to
start, freeze or die come last, in as many processes as there are cores: beside more they would start too late to tell.
A plugin that `tests/conftest.py` names.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from tests.report import durations
from tests.support.shared_servers import engine_of
from tests.tiers import is_timed

# A worker runs a test once it knows the next one.
AHEAD = 2


class EngineScheduling:
    """xdist's protocol `Scheduling`; the nodes are its `WorkerController`s, the tests node ids.

    `engines` are those of the run, `seconds(engine, file, nodeids)` is how long these tests of a file take,
    `is_timed(file)` whether it comes last.
    """

    def __init__(
        self,
        engines: Iterable[str],
        seconds: Callable[[str, str, Iterable[str]], float],
        is_timed: Callable[[str], bool],
        cores: int = 0,
    ) -> None:
        self._engines = {*engines}
        self._seconds, self._is_timed = seconds, is_timed
        self._cores = cores or os.cpu_count() or 1
        self._collected: set[Any] = set()
        self._queues: dict[str, deque[list[str]]] = {}
        self._tests: dict[str, list[str]] = {}
        self._indexes: dict[str, dict[str, int]] = {}
        self._pending: dict[Any, list[str]] = {}

    # -- what the session asks ---------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[Any]:
        return list(self._pending)

    @property
    def collection_is_completed(self) -> bool:
        """A node begins when it has collected: one of another engine has less to read."""
        return bool(self._queues)

    @property
    def tests_finished(self) -> bool:
        if self._queues.keys() != self._engines or any(self._queues.values()):
            return False
        return all(len(pending) < AHEAD for pending in self._pending.values())

    @property
    def has_pending(self) -> bool:
        return any(self._queues.values()) or any(self._pending.values())

    # -- what happens to nodes ---------------------------------------------------------------------------------------

    def add_node(self, node: Any) -> None:
        self._pending[node] = []

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        self._collected.add(node)
        engine = engine_of(node.gateway.spec)
        if engine not in self._queues:
            self._tests[engine] = list(collection)
            self._indexes[engine] = {nodeid: at for at, nodeid in enumerate(collection)}
            self._queues[engine] = deque(self._units(engine, collection))
        elif list(collection) != self._tests[engine]:
            raise RuntimeError(f"{node.gateway.id} has collected other tests on {engine} than the process before it")

    def has_tests_of(self, node: Any) -> bool:
        """Whether it was given tests that have not ended."""
        return bool(self._pending.get(node))

    def remove_node(self, node: Any) -> str | None:
        """The test in which it died; what else it had is given to another."""
        pending = self._pending.pop(node)
        if not pending:
            return None
        died, *others = pending
        if others:
            self._queues[engine_of(node.gateway.spec)].appendleft(others)
        return died

    def mark_test_complete(self, node: Any, item_index: int, duration: float = 0) -> None:
        del duration
        self._pending[node].remove(self._tests[engine_of(node.gateway.spec)][item_index])
        self._give(node)

    def schedule(self) -> None:
        for node in self.nodes:
            if node in self._collected:
                self._give(node)

    def mark_test_pending(self, item: str) -> None:
        raise NotImplementedError(item)

    def remove_pending_tests_from_node(self, node: Any, indices: Sequence[int]) -> None:
        raise NotImplementedError((node, indices))

    # -- the order ---------------------------------------------------------------------------------------------------

    def _units(self, engine: str, collection: Iterable[str]) -> list[list[str]]:
        files: dict[str, list[str]] = {}
        for nodeid in collection:
            files.setdefault(file_of(nodeid), []).append(nodeid)
        order = sorted(files, key=lambda file: (self._is_timed(file), -self._seconds(engine, file, files[file])))
        return [files[file] for file in order]

    def _give(self, node: Any) -> None:
        """Files until the node can run one more test; none, and its end, where nothing is left for it."""
        engine = engine_of(node.gateway.spec)
        queue, pending = self._queues[engine], self._pending[node]
        while len(pending) < AHEAD and not node.shutting_down:
            if not queue or (self._is_timed(file_of(queue[0][0])) and self._serving(engine) > self._cores):
                node.shutdown()
                return
            unit = queue.popleft()
            pending.extend(unit)
            node.send_runtest_some([self._indexes[engine][nodeid] for nodeid in unit])

    def _serving(self, engine: str) -> int:
        return sum(engine_of(node.gateway.spec) == engine and not node.shutting_down for node in self._pending)


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config) -> EngineScheduling:
    from execnet.xspec import XSpec
    from xdist.workermanage import parse_tx_spec_config

    engines = {engine_of(XSpec(spec)) for spec in parse_tx_spec_config(config)}
    return EngineScheduling(engines, durations.of_tests(), is_timed)
