"""The table of slots between a worker's parent and its children."""

import pytest

from app.worker.shared.slot_table import SlotTable


@pytest.fixture
def table() -> SlotTable:
    return SlotTable(4)
