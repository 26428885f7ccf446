"""Somebody who hears of each success, loaded with TASK_MODULES: a child then writes it itself, as all its other ends."""

import os
from typing import Any

from celery import signals

MODULE = "tests.support.faults.followed"


def hear(**_: Any) -> None:
    """And do nothing about it."""


if MODULE in os.environ.get("TASK_MODULES", ""):  # not where a test asks for the name alone
    signals.task_success.connect(hear)
