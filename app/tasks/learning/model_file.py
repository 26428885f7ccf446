"""The file of a model: a skops file of its pipeline with one member more, `model.json`, its card.

`skops.io.load` reads it. Never a pickle. A file may come from anyone, so that `load_model` trusts nothing in it: it
checks the archive, the types, the pipeline and the trees before anything is predicted.
"""

import io
import json
import platform
import shutil
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app.tasks.learning.columns import MAX_FEATURES, Column, quoted
from app.tasks.learning.measures import predict_rows
from app.tasks.learning.pipelines import Model, category_indexes, make_pipeline, width
from app.tasks.learning.target import Target

FORMAT: Literal[1] = 1  # of the model file; another number is another meaning of its members


class Versions(BaseModel):
    """Versions of the packages that made the model."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    python: str
    numpy: str
    scikit_learn: str
    skops: str


class Card(BaseModel):
    """The card of a model.

    `columns` are in the order of the pipeline's matrix, in which a text is the index of its category (-1: unknown), a
    date is its year, month, day and weekday (a date with a time also its hour), a time of the day is in seconds, and a
    missing value is NaN. `sha256` is that of the training file, `rows` the rows that the model was trained with,
    `skipped` the rows without a target, and `left_out` the reasons why columns are no features.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal[1] = FORMAT
    model: Model
    target: Target
    columns: list[Column] = Field(min_length=1, max_length=MAX_FEATURES)
    rows: int = Field(ge=1)
    skipped: int = Field(ge=0)
    left_out: dict[str, str]
    folds: int
    seed: int
    metrics: dict[str, dict[str, float]]
    importance: dict[str, dict[str, float]]
    sha256: str
    versions: Versions

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def installed_versions() -> Versions:
    import numpy as np
    import sklearn
    import skops

    return Versions(
        python=platform.python_version(),
        numpy=np.__version__,
        scikit_learn=sklearn.__version__,
        skops=skops.__version__,
    )


# -- What a model file must not do to the worker that reads it ---------------------------------------------------------
# skops runs no code of a file, and builds objects of trusted types only. It trusts all estimators of scikit-learn, of
# which the pipelines here need a dozen; and it does not look into objects. Therefore, in this order:
#
# 1. bounds of the archive, before anything is unpacked (a bomb);
# 2. each type in the file is one of `TYPES`, before anything is built;
# 3. the pipeline has the estimators and parameters that `make_pipeline` gives for its card (`n_jobs` processes, say);
# 4. the trees of gradient boosting point to nodes and features that are there, and never backwards: scikit-learn
#    follows them without bounds checks (https://github.com/scikit-learn/scikit-learn/pull/34558).

# 50 classes with all rounds make 5,000 trees of 3 members each, and a schema of 20 MiB.
MAX_MEMBERS = 30_000
MAX_SCHEMA_BYTES = 24 * 2**20
# Of JSON: each becomes an object of 64 bytes and more, of two bytes in the file. Those of skops take 65 bytes each.
MAX_SCHEMA_VALUES = 600_000
MAX_BYTES = 256 * 2**20  # unpacked
PIECE_BYTES = 2**16

PROTOCOL = 2  # of skops; others have other loaders

BOOSTING = "sklearn.ensemble._hist_gradient_boosting"
# Exactly the types of the pipelines of `make_pipeline`, fitted.
TYPES = frozenset(
    {
        "builtins.dict", "builtins.int", "builtins.list", "builtins.slice", "builtins.str", "builtins.tuple",
        "functools.partial",
        "numpy.dtype", "numpy.float64", "numpy.ndarray", "numpy.uint64",
        "sklearn._loss._loss.CyHalfBinomialLoss", "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss.link.IdentityLink", "sklearn._loss.link.Interval", "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss", "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.compose._column_transformer.ColumnTransformer",
        f"{BOOSTING}.binning._BinMapper",
        f"{BOOSTING}.gradient_boosting.HistGradientBoostingClassifier",
        f"{BOOSTING}.gradient_boosting.HistGradientBoostingRegressor",
        f"{BOOSTING}.predictor.TreePredictor",
        "sklearn.impute._base.SimpleImputer",
        "sklearn.linear_model._logistic.LogisticRegression",
        "sklearn.linear_model._ridge.Ridge",
        "sklearn.pipeline.Pipeline",
        "sklearn.preprocessing._data.StandardScaler",
        "sklearn.preprocessing._encoders.OneHotEncoder", "sklearn.preprocessing._encoders.OrdinalEncoder",
        "sklearn.preprocessing._function_transformer.FunctionTransformer",
        "sklearn.preprocessing._label.LabelEncoder",
        "sklearn.utils.validation.check_array",
    }
)  # fmt: skip
LOADERS = frozenset(
    {
        "DTypeNode", "DictNode", "FunctionNode", "JsonNode", "ListNode", "LossNode", "NdArrayNode", "ObjectNode",
        "PartialNode", "SliceNode", "TupleNode", "TypeNode",
    }
)  # fmt: skip


class UnusableModel(ValueError):
    """The file is no model that this service can use; the message says why, and what to do."""


def unpacked_archive(path: Path, needed: Sequence[str]) -> io.BytesIO:
    """Return the archive without compression, after a check of its bounds and of the members that it needs.

    Raises UnusableModel if it is larger than a model can be or lacks a member, and BadZipFile if it is damaged. zipfile
    is to give small pieces only: asked for a whole member, it unpacks 2 GiB, whatever size the archive names.
    """
    repacked = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(repacked, "w") as copy:
        members = archive.infolist()
        _check_members(members, needed)
        for member in members:
            with archive.open(member) as source, copy.open(member.filename, "w") as target:
                shutil.copyfileobj(source, target, PIECE_BYTES)
    return repacked


def _check_members(members: Sequence[zipfile.ZipInfo], needed: Sequence[str]) -> None:
    sizes = {member.filename: member.file_size for member in members}
    if not all(name in sizes for name in needed):
        raise UnusableModel(f"the file is no model of this service: an archive without {' and '.join(needed)}")
    if len(members) > MAX_MEMBERS or len(sizes) < len(members):
        raise UnusableModel(f"the file is no model of this service: an archive of {len(members)} members")
    if not {member.compress_type for member in members} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UnusableModel("the file is no model of this service: an archive of another compression")
    if sum(sizes.values()) > MAX_BYTES or any(sizes[name] > MAX_SCHEMA_BYTES for name in needed):
        raise UnusableModel("the model file is refused: unpacked it is larger than a model can be")


def check_values(text: bytes) -> None:
    """Raise UnusableModel if this text of JSON, which is not parsed yet, has more values than a model can have."""
    if text.count(b",") + text.count(b"[") + text.count(b"{") > MAX_SCHEMA_VALUES:
        raise UnusableModel("the model file is refused: its description has more values than a model can have")


def check_types(schema: Any) -> None:
    """Raise UnusableModel, which names them, if the schema of a skops file has types that no model here needs."""
    if not isinstance(schema, dict) or schema.get("protocol") != PROTOCOL:
        raise UnusableModel(f"the model file is refused: it is not written in protocol {PROTOCOL} of skops")
    nodes = [*_schema_nodes(schema)]
    types = {f"{node.get('__module__')}.{node.get('__class__')}" for node in nodes} - TYPES
    loaders = {str(node.get("__loader__")) for node in nodes} - LOADERS
    if types or loaders:
        raise UnusableModel(
            f"the model file is refused: it has types that no model here needs: {quoted(sorted(types or loaders))}"
        )


def _schema_nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all that skops may build: each object of JSON that names a class or a loader."""
    to_read = [schema]
    while to_read:
        value = to_read.pop()
        if isinstance(value, list):
            to_read += value
        elif isinstance(value, dict):
            to_read += value.values()
            if not {"__class__", "__module__", "__loader__"}.isdisjoint(value):
                yield value


def check_pipeline(pipeline: Any, card: Card) -> None:
    """Raise UnusableModel unless the pipeline is of the card, and safe to predict with."""
    fresh = make_pipeline(card.target.kind, card.model, card.columns, card.rows, card.seed)
    if type(pipeline) is not type(fresh) or _parameters(pipeline) != _parameters(fresh):
        raise UnusableModel("the model file is damaged: its pipeline is not the one that its model.json describes")
    estimator = pipeline.named_steps["model"]
    if card.model == "gradient_boosting":
        _check_preprocessor(estimator, card)
        _check_trees(estimator, width(card.columns))
    _try_to_predict(pipeline, card)


def _try_to_predict(pipeline: Any, card: Card) -> None:
    """Predict one row, so that what is missing shows before the table is read."""
    predicted = predict_rows(pipeline, card.target.kind, np.zeros((1, width(card.columns))))
    decoded = card.target.decode(predicted.values)
    shape = (1, len(card.target.classes)) if card.target.classes else None
    if len(decoded) != 1 or (shape and predicted.probabilities.shape != shape):
        raise UnusableModel("the model file is damaged: its pipeline does not have the classes of its model.json")


def _parameters(pipeline: Any) -> dict[str, Any]:
    """Return the parameters of all estimators, where these themselves stand as their types."""
    return {name: _plain_parameter(value) for name, value in pipeline.get_params().items()}


def _plain_parameter(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain_parameter(part) for part in value]
    return type(value) if hasattr(value, "get_params") else repr(value)


def _check_preprocessor(estimator: Any, card: Card) -> None:
    """Gradient boosting sorts its columns itself where it has categories: into as many as there were."""
    features = width(card.columns)
    preprocessor = estimator._preprocessor  # noqa: SLF001 - scikit-learn predicts with it
    if category_indexes(card.columns):
        if preprocessor.n_jobs is None and preprocessor.transform(np.zeros((1, features))).shape == (1, features):
            return
    elif preprocessor is None:
        return
    raise UnusableModel("the model file is damaged: its columns are not those of its card")


def _check_trees(estimator: Any, features: int) -> None:
    mapper = estimator._bin_mapper  # noqa: SLF001 - scikit-learn predicts with it
    categorical = np.asarray(mapper.is_categorical_, dtype=bool)
    good = categorical.shape == (features,) and len(mapper.bin_thresholds_) == features
    for trees in estimator._predictors if good else ():  # noqa: SLF001 - see above
        good = good and len(trees) == estimator.n_trees_per_iteration_
        good = good and all(_is_sound(tree, features, categorical) for tree in trees)
    if not good:
        raise UnusableModel("the model file is damaged: a tree of it points to what is not there")


def _is_sound(tree: Any, features: int, categorical: Any) -> bool:
    nodes, bitsets = tree.nodes, tree.raw_left_cat_bitsets
    if nodes.ndim != 1 or not len(nodes) or bitsets.ndim != 2 or bitsets.shape[1] != 8:  # noqa: PLR2004 - 256 bits
        return False
    at = np.flatnonzero(~nodes["is_leaf"].astype(bool))
    inner = nodes[at]
    ahead = all(((inner[side] > at) & (inner[side] < len(nodes))).all() for side in ("left", "right"))
    if not ahead or not ((inner["feature_idx"] >= 0) & (inner["feature_idx"] < features)).all():
        return False
    by_category = inner[inner["is_categorical"].astype(bool)]
    return bool(categorical[by_category["feature_idx"]].all() and (by_category["bitset_idx"] < len(bitsets)).all())


# -- How a model is saved and loaded -----------------------------------------------------------------------------------

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
        unpacked_file = unpacked_archive(path, (CARD, SCHEMA))
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
