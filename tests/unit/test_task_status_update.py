"""The state machine, as far as it can be seen without a database."""

import itertools

import pytest
from sqlalchemy.dialects import postgresql

from app.db.postgresql.transitions import transition
from app.models.task import ACTIVE, TERMINAL, TRANSITIONS, TaskStatus

PAIRS = list(itertools.product(TaskStatus, TaskStatus))


def sql(source: TaskStatus, to: TaskStatus) -> str:
    """The statement of this move; nothing, where it is refused."""
    try:
        return transition(to, sources=[source]).compile(dialect=postgresql.dialect()).string
    except ValueError as error:
        assert "no transition" in str(error)  # noqa: PT017 (the others are built)
        return ""


def test_every_state_has_a_row_in_the_table_and_success_is_the_end() -> None:
    assert set(TRANSITIONS) == set(TaskStatus)
    assert set(TaskStatus) == TERMINAL | ACTIVE
    assert not TRANSITIONS[TaskStatus.SUCCEEDED]


def test_a_statement_is_built_for_the_known_moves_alone_and_raises_the_version_that_clients_see() -> None:
    built = {(source, to): sql(source, to) for source, to in PAIRS}
    assert {pair for pair in PAIRS if built[pair]} == {
        (source, to) for source in TaskStatus for to in TRANSITIONS[source]
    }
    known = {pair: text for pair, text in built.items() if text}
    assert [pair for pair, text in known.items() if "WHERE tasks.status = %(status_1)s" not in text] == []
    assert [pair for pair, text in known.items() if "version=(tasks.version + " not in text] == []


def test_none_is_built_for_an_unknown_source_among_known_ones_and_for_none() -> None:
    with pytest.raises(ValueError, match="succeeded"):
        transition(TaskStatus.PENDING, sources=[TaskStatus.FAILED, TaskStatus.SUCCEEDED])
    with pytest.raises(ValueError, match="no transition"):
        transition(TaskStatus.REVOKED, sources=[])
