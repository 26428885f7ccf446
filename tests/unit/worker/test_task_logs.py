"""What the settings of logs mean."""

import logging

import pytest

from app.core.config import ConfigurationError, get_settings
from app.worker.child.log_capture import TaskLogs
from tests.support.settings import settings


@pytest.mark.parametrize("variables", [{"TASK_LOG_LEVEL": "OFF"}, {"TASK_LOG_BYTES": "0"}])
def test_nothing_is_kept(variables: dict[str, str]) -> None:
    with settings(variables):
        assert TaskLogs.of(get_settings()) is None


def test_bounds_are_those_of_the_settings() -> None:
    with settings({"TASK_LOG_LEVEL": "DEBUG", "TASK_LOG_BYTES": "65536"}):
        logs = TaskLogs.of(get_settings())
    assert logs is not None
    assert logs._bounds == (logging.DEBUG, 65536)


@pytest.mark.parametrize(
    "variables", [{"TASK_LOG_LEVEL": "LOUD"}, {"TASK_LOG_BYTES": "65535"}, {"TASK_LOG_BYTES": "-1"}]
)
def test_nonsense_is_refused(variables: dict[str, str]) -> None:
    with settings(variables), pytest.raises(ConfigurationError, match=next(iter(variables))):
        get_settings()
