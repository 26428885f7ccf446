"""Whoever is told what becomes of tasks, and how far behind each is.

A consumer stands in a module of its own, which imports `app/services/outbox.py`; its line here has maintenance serve
it. Numbers are not used again: rows of the outbox and `tasks.followers` may have them.
"""

import sqlalchemy as sa

from app.core.metrics import OutboxLag
from app.db.session import SessionLocal
from app.ddl.clock import NOW
from app.models.outbox import OutboxRow
from app.services.outbox import Consumer
from app.services.webhooks.new_deliveries import CONSUMER as WEBHOOKS
from app.services.workflows.dependents import CONSUMER as CHILDREN


def with_own_numbers(*consumers: Consumer) -> tuple[Consumer, ...]:
    """Return the consumers. Raises ValueError if two have one number: the rows of both would go to the first one."""
    names: dict[int, str] = {}
    for one in consumers:
        if one.number in names:
            raise ValueError(
                f"the consumers {names[one.number]} and {one.name} both have the number {one.number}: give the newer "
                "one a number that none has had, in app/models/outbox.py"
            )
        names[one.number] = one.name
    return consumers


CONSUMERS = with_own_numbers(WEBHOOKS, CHILDREN)


def read_lags() -> list[OutboxLag]:
    """Return the lag of each consumer, and of each number that none has and rows are of. On a connection of its own."""
    set_aside = OutboxRow.set_aside_at.is_not(None)
    found = sa.select(OutboxRow.consumer, set_aside, sa.func.count(), sa.func.min(OutboxRow.created_at), NOW)
    with SessionLocal() as db:
        groups = db.execute(found.group_by(OutboxRow.consumer, set_aside)).all()
    numbers = {(number, bool(aside)): many for number, aside, many, _, _ in groups}
    names = {number: f"number {number}" for number, *_ in groups} | {each.number: each.name for each in CONSUMERS}
    ages = {number: (now - since).total_seconds() for number, aside, _, since, now in groups if not aside}
    return [
        OutboxLag(
            name,
            waiting=numbers.get((number, False), 0),
            oldest_seconds=max(0.0, ages.get(number, 0.0)),
            set_aside=numbers.get((number, True), 0),
        )
        for number, name in names.items()
    ]
