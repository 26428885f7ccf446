"""What several tests of the tables use."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from app.tasks.data.tables import Data, opened

Open = Callable[..., Data]


@pytest.fixture
def open_table(tmp_path: Path) -> Iterator[Open]:
    """Opens a table with this content, until the end of the test."""
    with ExitStack() as stack:

        def open_content(content: str | bytes, name: str = "data.csv", **options: Any) -> Data:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.data"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            return stack.enter_context(opened(path, name, **{"max_bytes": 10**9, **options}))

        yield open_content
