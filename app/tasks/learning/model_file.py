"""The file of a model: a skops file of its pipeline (`skops.io.load` reads it) with one member more, `model.json`.

Never a pickle. A file may come from anyone, so that `load_model` trusts nothing in it: see `hostile_models.py`.
"""

import json
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from app.tasks.learning.card import FORMAT, Card, installed_versions
from app.tasks.learning.hostile_models import TYPES, UnusableModel, check_pipeline, check_types, check_values, unpacked

CARD = "model.json"
SCHEMA = "schema.json"
# What skops and the estimators raise at a file that names good types and has other faults.
BROKEN = (
    ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError, MemoryError, OSError,
    RuntimeError, SyntaxError, TypeError, ValueError, struct.error, tokenize.TokenError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class TrainedModel:
    """A fitted pipeline and its card."""

    card: Card
    pipeline: Any


def save_model(path: Path, model: TrainedModel) -> None:
    """Write the model to `path`."""
    import skops.io

    _forget_training(model.pipeline)
    skops.io.dump(model.pipeline, path, compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(CARD, model.card.model_dump_json(indent=1))


def _forget_training(pipeline: Any) -> None:
    """Take out a generator of random numbers, which only training uses, and whose type would have to be trusted."""
    estimator = pipeline.named_steps["model"]
    if hasattr(estimator, "_feature_subsample_rng"):
        estimator._feature_subsample_rng = None  # noqa: SLF001 - skops writes all attributes


def load_model(path: Path) -> TrainedModel:
    """Read a model that `save_model` wrote.

    Raises UnusableModel, which says what is wrong: a file that is no model, is damaged, is larger than a model can be,
    names a type that no such model has, or was written with another major version of a package.
    """
    try:
        unpacked_file = unpacked(path, (CARD, SCHEMA))
        with zipfile.ZipFile(unpacked_file) as archive:
            texts = {name: archive.read(name) for name in (CARD, SCHEMA)}
            for text in texts.values():
                check_values(text)
            card = _read_card(texts[CARD])
            check_types(json.loads(texts[SCHEMA]))
        return TrainedModel(card, _read_pipeline(unpacked_file, card))
    except UnusableModel:
        raise
    except BROKEN as error:
        if not zipfile.is_zipfile(path):
            raise UnusableModel("the file is no model: train_model writes the ones that can be used") from None
        raise UnusableModel(f"the model file is damaged ({type(error).__name__}): train the model again") from error


def _read_card(text: bytes) -> Card:
    _check_versions(json.loads(text))
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        places = ", ".join(sorted({".".join(map(str, each["loc"])) for each in error.errors()})[:5])
        raise UnusableModel(f"the model file is damaged: its {CARD} is not valid at {places}") from None


def _check_versions(card: Any) -> None:
    """Raise UnusableModel for another format or another major version, whose card may look otherwise."""
    versions = card.get("versions") if isinstance(card, dict) else None
    if not isinstance(versions, dict):
        raise UnusableModel(f"the model file is damaged: its {CARD} names no versions")
    if card.get("format") != FORMAT:
        raise UnusableModel(f"the model file has format {card.get('format')!r}, and {FORMAT} is read: train it again")
    for package, installed in installed_versions().model_dump().items():
        written = str(versions.get(package))
        if written.partition(".")[0] != installed.partition(".")[0]:
            name = package.replace("_", "-")
            raise UnusableModel(
                f"the model was made with {name} {written:.20}, which {name} {installed} cannot read: train it again"
            )


def _read_pipeline(file: BinaryIO, card: Card) -> Any:
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        pipeline = skops.io.load(file, trusted=sorted(TYPES))
    except UntrustedTypesFoundException as error:
        raise UnusableModel(f"the model file is refused: {error}") from None
    check_pipeline(pipeline, card)
    return pipeline
