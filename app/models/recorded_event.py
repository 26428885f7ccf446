"""What the audit records: enumerations that stand with the models of their objects."""

from enum import StrEnum


class RecordedEvent(StrEnum):
    """The base of all events: one enumeration for each kind of object, which stands with its model.

    A value never changes: old rows keep it.
    """


def recorded_events() -> list[RecordedEvent]:
    """The events of all models, by their values."""
    return sorted(event for of_one in RecordedEvent.__subclasses__() for event in of_one)
