"""What tests of several folders use: a Celery application, a web server, a certificate authority."""

from collections.abc import Iterator

import pytest
from celery import Celery

from tests.support.tls import Authority
from tests.unit.outbound.web_server import Web, web_server


@pytest.fixture
def app() -> Celery:
    """An application of its own: the catalogue lists what is registered with the real one."""
    return Celery("tests", task_cls="app.tasks.base:SQLAlchemyTask", broker="memory://", set_as_current=False)


@pytest.fixture
def web() -> Iterator[Web]:
    with web_server() as started:
        yield started


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))
