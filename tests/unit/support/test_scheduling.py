"""Which process of a parallel run gets which tests."""

from collections.abc import Sequence
from types import SimpleNamespace

from tests.support.databases import ENGINE
from tests.support.scheduling import EngineScheduling

POSTGRES = ["a.py::1", "a.py::2", "b.py::1", "t.py::1", "t.py::2", "u.py::1"]
SECONDS = {"a.py": 1.0, "b.py": 9.0, "t.py": 5.0, "u.py": 50.0}


class Node:
    def __init__(self, name: str, engine: str = "") -> None:
        env = {"TEST_DATABASE": engine} if engine else {}
        self.gateway = SimpleNamespace(id=name, spec=SimpleNamespace(env=env))
        self.shutting_down = False
        self.given: list[int] = []

    def send_runtest_some(self, indices: Sequence[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def scheduling(*nodes: Node, cores: int = 2) -> EngineScheduling:
    engines = {node.gateway.spec.env.get("TEST_DATABASE", ENGINE) for node in nodes}
    made = EngineScheduling(engines, lambda _, file, tests: SECONDS[file], lambda file: file in {"t.py", "u.py"}, cores)
    for node in nodes:
        made.add_node(node)
    return made


def collect(made: EngineScheduling, node: Node, tests: list[str] = POSTGRES) -> None:
    made.add_node_collection(node, tests)
    made.schedule()


def run(made: EngineScheduling, node: Node, tests: list[str] = POSTGRES) -> list[str]:
    """Let it run what it may: a node runs a test once it knows the next one, or that there is none."""
    ran = []
    while node.given and (len(node.given) > 1 or node.shutting_down):
        index = node.given.pop(0)
        ran.append(tests[index])
        made.mark_test_complete(node, index)
    return ran


def test_the_longest_file_comes_first_and_timed_ones_last() -> None:
    node = Node("a")
    made = scheduling(node)
    collect(made, node)
    assert run(made, node) == ["b.py::1", "a.py::1", "a.py::2", "u.py::1", "t.py::1", "t.py::2"]
    assert made.tests_finished


def test_a_file_stays_in_one_process() -> None:
    nodes = [Node("a"), Node("b")]
    made = scheduling(*nodes)
    for node in nodes:
        collect(made, node)
    ran = [run(made, node) for node in nodes]
    files = [{name.partition("::")[0] for name in names} for names in ran]
    assert files[0].isdisjoint(files[1])
    assert sum(map(len, ran)) == len(POSTGRES)


def test_timed_files_wait_until_as_many_processes_are_left_as_there_are_cores() -> None:
    nodes = [Node("a"), Node("b"), Node("c")]
    made = scheduling(*nodes, cores=1)
    for node in nodes:
        collect(made, node)
    ran = [name for _ in range(4) for node in nodes for name in run(made, node)]
    assert sorted(ran) == sorted(POSTGRES)
    assert sum(node.shutting_down for node in nodes) == 3
    assert ran.index("u.py::1") > max(ran.index("b.py::1"), ran.index("a.py::2"))


def test_each_engine_has_its_own_tests() -> None:
    postgres, sqlite = Node("a"), Node("b", "sqlite")
    made = scheduling(postgres, sqlite)
    collect(made, sqlite, ["b.py::1", "b.py::2"])
    assert run(made, sqlite, ["b.py::1", "b.py::2"]) == ["b.py::1", "b.py::2"]  # before the other has collected
    assert not made.tests_finished
    collect(made, postgres)
    run(made, postgres)
    assert made.tests_finished


def test_the_test_in_which_a_process_died_is_told_and_its_others_go_to_another() -> None:
    first, second = Node("a"), Node("b")
    made = scheduling(first)
    collect(made, first, ["a.py::1", "a.py::2", "b.py::1"])
    made.mark_test_complete(first, first.given.pop(0))  # b.py::1
    assert made.remove_node(first) == "a.py::1"
    made.add_node(second)
    collect(made, second, ["a.py::1", "a.py::2", "b.py::1"])
    assert run(made, second, ["a.py::1", "a.py::2", "b.py::1"]) == ["a.py::2"]
    assert made.tests_finished
