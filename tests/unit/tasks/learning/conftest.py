"""Small tables that can be learnt, and models of them."""

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.tasks.data.tables import Data, opened
from app.tasks.learning.training import train

MAX_BYTES = 10**8
SHA256 = "5e" * 32
ROWS = 120

Open = Callable[..., Data]
Train = Callable[..., dict[str, Any]]


def silent(percent: float | None, detail: Any) -> None:
    """Reports to nobody."""


def flowers(rows: int = ROWS, seed: int = 1) -> dict[str, list[Any]]:
    """Flowers: `height` follows from `width` and `colour`, and `species` from these two."""
    draw = random.Random(seed)
    widths = [round(draw.uniform(-3, 3), 3) for _ in range(rows)]
    colours = [draw.choice(["red", "blue", "white"]) for _ in range(rows)]
    heights = [
        2 * width + 3 * (colour == "red") + draw.gauss(0, 0.1) for width, colour in zip(widths, colours, strict=True)
    ]
    return {
        "width": widths,
        "colour": colours,
        "noise": [draw.random() for _ in range(rows)],
        "height": heights,
        "species": ["tall" if height + draw.gauss(0, 1) > 1 else "low" for height in heights],
    }


@pytest.fixture
def open_table(tmp_path: Path) -> Iterator[Open]:
    """Opens a table of these columns, or a file with this content, until the end of the test."""
    with ExitStack() as stack:

        def open_content(content: dict[str, Any] | pl.DataFrame | str | bytes, name: str = "data") -> Data:
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.table"
            if isinstance(content, str):
                path.write_text(content, encoding="utf-8")
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                pl.DataFrame(content).write_parquet(path)
            return stack.enter_context(opened(path, name, max_bytes=MAX_BYTES))

        yield open_content


@pytest.fixture
def learn(open_table: Open, tmp_path: Path) -> Train:
    """Trains a model of a table, in `tmp_path / "model"`; linear and with two folds if nothing else is said."""

    def learn(content: Any, **options: Any) -> dict[str, Any]:
        directory = tmp_path / "model"
        directory.mkdir(exist_ok=True)
        defaults = {"model": "linear", "folds": 2, "max_bytes": MAX_BYTES, "sha256": SHA256, "report": silent}
        return train(open_table(content), directory, **defaults | options)

    return learn


# The targets and the features of the models below: with categories, and without.
TARGETS = {
    "species": ["width", "colour", "noise"],
    "height": ["width", "colour", "noise"],
    "colour": ["width", "height"],
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of models of flowers, some without a colour, by target and model: `species linear`, for example."""
    table = tmp_path_factory.mktemp("flowers") / "flowers.parquet"
    rows = flowers()
    rows["colour"][:5] = [None] * 5
    pl.DataFrame(rows).write_parquet(table)
    found = {}
    for target, features in TARGETS.items():
        for model in ("linear", "gradient_boosting"):
            directory = tmp_path_factory.mktemp("model")
            options: Any = {"target": target, "features": features, "model": model, "folds": 2, "sha256": SHA256}
            with opened(table, "flowers", max_bytes=MAX_BYTES) as data:
                train(data, directory, max_bytes=MAX_BYTES, report=silent, **options)
            found[f"{target} {model}"] = directory / "model.skops"
    return found
