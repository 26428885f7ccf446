"""What a model file must not do to the worker that reads it.

skops runs no code of a file, and builds objects of trusted types only. It trusts all estimators of scikit-learn, of
which the pipelines here need a dozen; and it does not look into objects. Therefore, in this order:

1. bounds of the archive, before anything is unpacked (a bomb);
2. each type in the file is one of `TYPES`, before anything is built;
3. the pipeline has the estimators and parameters that `make_pipeline` gives for its card (`n_jobs` processes, say);
4. the trees of gradient boosting point to nodes and features that are there, and never backwards: scikit-learn follows
   them without bounds checks (https://github.com/scikit-learn/scikit-learn/pull/34558).
"""

import io
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.tasks.learning.card import Card
from app.tasks.learning.columns import quoted
from app.tasks.learning.matrix import category_indexes, width
from app.tasks.learning.measures import predict_rows
from app.tasks.learning.pipelines import make_pipeline

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


def unpacked(path: Path, needed: Sequence[str]) -> io.BytesIO:
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
    nodes = [*_nodes(schema)]
    types = {f"{node.get('__module__')}.{node.get('__class__')}" for node in nodes} - TYPES
    loaders = {str(node.get("__loader__")) for node in nodes} - LOADERS
    if types or loaders:
        raise UnusableModel(
            f"the model file is refused: it has types that no model here needs: {quoted(sorted(types or loaders))}"
        )


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """All that skops may build: each object of JSON that names a class or a loader."""
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
    _try(pipeline, card)


def _try(pipeline: Any, card: Card) -> None:
    """Predict one row, so that what is missing shows before the table is read."""
    predicted = predict_rows(pipeline, card.target.kind, np.zeros((1, width(card.columns))))
    decoded = card.target.decode(predicted.values)
    shape = (1, len(card.target.classes)) if card.target.classes else None
    if len(decoded) != 1 or (shape and predicted.probabilities.shape != shape):
        raise UnusableModel("the model file is damaged: its pipeline does not have the classes of its model.json")


def _parameters(pipeline: Any) -> dict[str, Any]:
    """The parameters of all estimators, where these themselves stand as their types."""
    return {name: _plain(value) for name, value in pipeline.get_params().items()}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
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
