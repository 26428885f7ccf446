"""Somebody who hears of each success, loaded with TASK_MODULES: a child then writes it itself, as all its other ends."""

from typing import Any

from celery import signals

MODULE = "tests.support.faults.followed"


@signals.task_success.connect
def hear(**_: Any) -> None:
    """And do nothing about it."""
