"""Faults on real processes; fixtures in `tests/support/fixtures.py`, the library in `tests/support/faults/`.

scene           `scene(**settings) -> Scene`: a deployment with ledger tasks and a witness, nothing started yet
broker          a Valkey of a file's own, which its tests kill, flush and freeze
class_scene     one Scene for all tests of a class, with the class's SETTINGS
tell            `tell("webhooks: …")`: a line for whoever reads the run
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.support.faults.broker_server import BrokerServer
from tests.support.faults.scene import Scene, fault_scene
from tests.support.fixtures import STARTED
from tests.support.services import Services


@pytest.fixture
def scene(services: Services, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., Scene]]:
    """`scene(SETTING="…")`, on the session's servers; `scene(on=own_services)` on others."""
    numbers = count(1)
    stacks = request.node.stash.setdefault(STARTED, [])
    with ExitStack() as opened:

        def build(on: Services = services, **settings: Any) -> Scene:
            built = opened.enter_context(fault_scene(on, tmp_path / f"scene-{next(numbers)}", **settings))
            stacks.append(built.stack)
            return built

        yield build


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerServer]:
    with BrokerServer(tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture(scope="class")
def class_scene(
    services: Services, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Scene]:
    with fault_scene(services, tmp_path_factory.mktemp("scene"), **getattr(request.cls, "SETTINGS", {})) as built:
        request.node.stash.setdefault(STARTED, []).append(built.stack)
        yield built


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    def write(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)  # noqa: T201

    return write
