"""Files of models, good ones and hostile ones: read without running code in them, or refused in words."""

import io
import json
import os
import pickle
import random
import shutil
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer

from app.tasks.learning import model_file
from app.tasks.learning.model_file import TYPES, TrainedModel, UnusableModel, load_model, save_model

Models = dict[str, Path]
ALL = ["species linear", "species gradient_boosting", "height linear", "height gradient_boosting"]


@pytest.fixture
def changed(models: Models, tmp_path: Path) -> Callable[..., Path]:
    """Writes a copy of a model in which a function has changed members: a dict of their names and bytes."""

    def changed(change: Callable[[dict[str, bytes]], Any], name: str = "species linear") -> Path:
        with zipfile.ZipFile(models[name]) as archive:
            members = {each: archive.read(each) for each in archive.namelist()}
        change(members)
        path = tmp_path / "changed.skops"
        write(path, members)
        return path

    return changed


@pytest.fixture
def resaved(models: Models, tmp_path: Path) -> Callable[..., Path]:
    """Writes a model again after a function has changed its pipeline."""

    def resaved(change: Callable[[Any], Any], name: str = "species gradient_boosting") -> Path:
        model = load_model(models[name])
        change(model.pipeline)
        save_model(tmp_path / "resaved.skops", model)
        return tmp_path / "resaved.skops"

    return resaved


def with_pipeline(pipeline: Any) -> Callable[[dict[str, bytes]], None]:
    """Replaces the pipeline and keeps the card."""

    def change(members: dict[str, bytes]) -> None:
        with zipfile.ZipFile(io.BytesIO(skops.io.dumps(pipeline))) as archive:
            members.update({name: archive.read(name) for name in archive.namelist()})

    return change


def with_card(**values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(members: dict[str, bytes]) -> None:
        members["model.json"] = json.dumps(json.loads(members["model.json"]) | values).encode()

    return change


class TestGoodModels:
    @pytest.mark.parametrize("name", ALL)
    def test_predict_the_same_after_they_are_written_and_read(self, models: Models, tmp_path: Path, name: str) -> None:
        model = load_model(models[name])
        rows = np.array([[0.5, 1.0, 0.1], [-1.0, -1.0, 0.2], [np.nan, np.nan, np.nan]])
        save_model(tmp_path / "again.skops", model)
        assert (load_model(tmp_path / "again.skops").pipeline.predict(rows) == model.pipeline.predict(rows)).all()

    @pytest.mark.parametrize("name", ALL)
    def test_are_skops_files_that_anyone_can_read(self, models: Models, name: str) -> None:
        untrusted = skops.io.get_untrusted_types(file=models[name])
        assert {*untrusted} <= TYPES
        assert skops.io.load(models[name], trusted=untrusted).predict([[1.0, 0.0, 0.0]]).shape == (1,)

    def test_no_more_types_are_trusted_than_such_models_have(self, models: Models) -> None:
        found = set()
        for path in models.values():
            with zipfile.ZipFile(path) as archive:
                nodes = model_file._schema_nodes(json.loads(archive.read("schema.json")))
                found |= {f"{node['__module__']}.{node['__class__']}" for node in nodes}
        assert found == TYPES


class TestNoModels:
    def test_a_pickle_is_not_loaded(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(tmp_path / "ran"),)

        (tmp_path / "model.skops").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UnusableModel, match="the file is no model: train_model writes"):
            load_model(tmp_path / "model.skops")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"PK\x03\x04", b"PK\x05\x06" + bytes(17)])
    def test_another_file_is_named_as_none(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "model.skops").write_bytes(content)
        with pytest.raises(UnusableModel, match="the file is no model"):
            load_model(tmp_path / "model.skops")

    def test_a_zip_archive_of_other_things_is_none(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
            archive.writestr("hello.txt", "hello")
        with pytest.raises(UnusableModel, match=r"an archive without model\.json and schema\.json"):
            load_model(tmp_path / "model.skops")

    @pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
    def test_a_truncated_one_is_refused(self, models: Models, tmp_path: Path, kept: float) -> None:
        content = models["height gradient_boosting"].read_bytes()
        (tmp_path / "model.skops").write_bytes(content[: int(len(content) * kept)])
        with pytest.raises(UnusableModel):
            load_model(tmp_path / "model.skops")


class TestTypes:
    def test_code_to_run_is_refused_by_name_and_does_not_run(self, changed: Any, tmp_path: Path) -> None:
        def change(members: dict[str, bytes]) -> None:
            schema = json.loads(members["schema.json"])
            path = {
                "__class__": "str",
                "__module__": "builtins",
                "__loader__": "JsonNode",
                "content": f'["{tmp_path}/ran"]',
            }
            code = {
                "__class__": "mkdir",
                "__module__": "os",
                "__loader__": "ConstructorFromReduceNode",
                "content": path,
            }
            schema["content"]["content"]["verbose"] = code
            members["schema.json"] = json.dumps(schema).encode()

        with pytest.raises(UnusableModel, match=r"types that no model here needs: 'os\.mkdir'"):
            load_model(changed(change))
        assert not (tmp_path / "ran").exists()

    def test_a_function_of_a_transformer_is_refused_by_name(self, changed: Any) -> None:
        with pytest.raises(UnusableModel, match=r"types that no model here needs: 'posix\.getcwd'"):
            load_model(changed(with_pipeline(FunctionTransformer(os.getcwd))))

    def test_an_estimator_that_skops_trusts_is_refused_where_no_model_needs_it(self, changed: Any) -> None:
        forest = RandomForestClassifier(2).fit([[0.0], [1.0]], [0, 1])
        with pytest.raises(UnusableModel, match=r"'sklearn\.ensemble\._forest\.RandomForestClassifier'"):
            load_model(changed(with_pipeline(forest)))

    def test_a_loader_of_code_is_refused(self, changed: Any) -> None:
        def change(members: dict[str, bytes]) -> None:
            schema = json.loads(members["schema.json"])
            schema["__loader__"] = "MethodNode"
            members["schema.json"] = json.dumps(schema).encode()

        with pytest.raises(UnusableModel, match="'MethodNode'"):
            load_model(changed(change))

    @pytest.mark.parametrize("protocol", [0, 1, 3, None, "2"])
    def test_another_protocol_is_refused(self, changed: Any, protocol: Any) -> None:
        def change(members: dict[str, bytes]) -> None:
            members["schema.json"] = json.dumps(json.loads(members["schema.json"]) | {"protocol": protocol}).encode()

        with pytest.raises(UnusableModel, match="protocol 2 of skops"):
            load_model(changed(change))


class TestBombs:
    def test_of_many_bytes_are_refused_before_they_are_unpacked(
        self, changed: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = changed(lambda members: members.update({"0.npy": bytes(2**21)}))
        monkeypatch.setattr(model_file, "MAX_BYTES", 2**20)
        with pytest.raises(UnusableModel, match="unpacked it is larger than a model can be"):
            load_model(path)

    @pytest.mark.parametrize("member", ["schema.json", "model.json"])
    def test_of_many_values_are_refused_before_they_are_parsed(
        self, changed: Any, monkeypatch: pytest.MonkeyPatch, member: str
    ) -> None:
        """14 MiB of `{}` in a file of 17 KB took 415 MiB."""
        path = changed(lambda members: members.update({member: b"[" + b"{}," * 600_000 + b"{}]"}))
        parsed: list[int] = []
        monkeypatch.setattr(json, "loads", lambda text: parsed.append(len(text)))
        with pytest.raises(UnusableModel, match="its description has more values than a model can have"):
            load_model(path)
        assert not parsed

    def test_that_name_a_small_size_are_not_unpacked_either(self, models: Models, tmp_path: Path) -> None:
        path = tmp_path / "bomb.skops"
        shutil.copy(models["species linear"], path)
        size = 2**26
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("bomb.npy", bytes(size))
        path.write_bytes(path.read_bytes().replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little")))
        tracemalloc.start()
        with pytest.raises(UnusableModel, match="damaged"):
            load_model(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**23

    def test_of_many_members_and_of_other_compressions_are_refused(
        self, models: Models, tmp_path: Path, changed: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with zipfile.ZipFile(tmp_path / "lzma.skops", "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr("model.json", "{}")
            archive.writestr("schema.json", "{}")
        with pytest.raises(UnusableModel, match="another compression"):
            load_model(tmp_path / "lzma.skops")
        monkeypatch.setattr(model_file, "MAX_MEMBERS", 5)
        with pytest.raises(UnusableModel, match=r"an archive of \d+ members"):
            load_model(models["species linear"])


def first_tree(pipeline: Any) -> Any:
    """The nodes of the first tree, and the index of its first one that is no leaf."""
    return pipeline.named_steps["model"]._predictors[0][0]


class TestTrees:
    """scikit-learn follows the nodes without bounds checks: each of these would read foreign memory, or never end."""

    @pytest.mark.parametrize(
        ("field", "value"),
        [("left", 0), ("right", 0), ("left", 2**31), ("feature_idx", 99), ("feature_idx", -1), ("bitset_idx", 10**6)],
    )
    def test_that_point_to_what_is_not_there_are_refused(self, resaved: Any, field: str, value: int) -> None:
        def change(pipeline: Any) -> None:
            nodes = first_tree(pipeline).nodes
            nodes[field][0] = value
            if field == "bitset_idx":
                nodes["is_categorical"][0] = 1
                nodes["feature_idx"][0] = 0  # scikit-learn puts the categories first

        with pytest.raises(UnusableModel, match="a tree of it points to what is not there"):
            load_model(resaved(change))

    def test_with_categories_of_a_number_are_refused(self, resaved: Any) -> None:
        def change(pipeline: Any) -> None:
            nodes = first_tree(pipeline).nodes
            nodes["is_categorical"][0] = 1
            nodes["feature_idx"][0] = 2

        with pytest.raises(UnusableModel, match="points to what is not there"):
            load_model(resaved(change))

    def test_without_nodes_or_bitsets_are_refused(self, resaved: Any) -> None:
        def no_nodes(pipeline: Any) -> None:
            first_tree(pipeline).nodes = first_tree(pipeline).nodes[:0]

        def no_bitsets(pipeline: Any) -> None:
            first_tree(pipeline).raw_left_cat_bitsets = np.zeros((0, 8), dtype=np.uint32)
            first_tree(pipeline).nodes["is_categorical"] = 1
            first_tree(pipeline).nodes["feature_idx"] = 0

        for change in (no_nodes, no_bitsets):
            with pytest.raises(UnusableModel, match="points to what is not there"):
                load_model(resaved(change))


class TestOtherPipelines:
    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("species linear", lambda pipeline: pipeline.named_steps["columns"].set_params(n_jobs=1000)),
            ("species linear", lambda pipeline: pipeline.set_params(memory="/tmp/elsewhere")),
            ("species linear", lambda pipeline: pipeline.named_steps["model"].set_params(C=2.0)),
            ("height linear", lambda pipeline: pipeline.steps.pop(0)),
        ],
    )
    def test_than_the_card_describes_are_refused(self, resaved: Any, name: str, change: Any) -> None:
        with pytest.raises(UnusableModel, match=r"not the one that its model\.json describes"):
            load_model(resaved(change, name))

    def test_of_fewer_classes_are_refused(self, changed: Any) -> None:
        with pytest.raises(UnusableModel, match="does not have the classes"):
            load_model(
                changed(
                    with_card(target={"name": "y", "kind": "classification", "data_type": "text", "classes": ["a"]})
                )
            )


class TestCards:
    @pytest.mark.parametrize("package", ["python", "numpy", "scikit_learn"])
    def test_of_another_major_version_are_refused_with_both(self, models: Models, changed: Any, package: str) -> None:
        versions = load_model(models["species linear"]).card.versions.model_dump()
        with pytest.raises(UnusableModel, match=rf"made with {package.replace('_', '-')} 9\.1, which .* cannot read"):
            load_model(changed(with_card(versions=versions | {package: "9.1"})))

    def test_of_another_minor_version_are_read(self, models: Models, changed: Any) -> None:
        versions = load_model(models["species linear"]).card.versions.model_dump()
        assert load_model(changed(with_card(versions=versions | {"numpy": "2.0.0"})))

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"format": 2}, "has format 2, and 1 is read"),
            ({"versions": None}, "names no versions"),
            ({"columns": []}, "is not valid at columns"),
            ({"columns": [{"name": "x", "kind": "magic"}]}, r"is not valid at columns\.0\.kind"),
            ({"rows": "many"}, "is not valid at rows"),
            ({"colour": "red"}, "is not valid at colour"),
        ],
    )
    def test_that_are_no_cards_are_refused(self, changed: Any, values: dict[str, Any], message: str) -> None:
        with pytest.raises(UnusableModel, match=message):
            load_model(changed(with_card(**values)))

    @pytest.mark.parametrize("member", ["model.json", "schema.json"])
    @pytest.mark.parametrize("content", [b"", b"null", b"[]", b"\xff", b"[" * 100_000])
    def test_and_schemas_of_other_json_are_refused(self, changed: Any, member: str, content: bytes) -> None:
        with pytest.raises(UnusableModel):
            load_model(changed(lambda members: members.update({member: content})))


@pytest.mark.parametrize("name", ALL)
def test_a_schema_with_any_value_changed_is_refused_in_words_or_predicts(
    models: Models, tmp_path: Path, name: str
) -> None:
    """Some random changes, always the same: nothing but UnusableModel comes out."""
    draw = random.Random(name)
    with zipfile.ZipFile(models[name]) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    schema = json.loads(members["schema.json"])
    found = [*places(schema)]
    for _ in range(10):
        node, key = draw.choice(found)
        before, node[key] = node[key], draw.choice([None, -1, 10**12, "", "x", [], {}, True, 0.5])
        write(tmp_path / "changed.skops", members | {"schema.json": json.dumps(schema).encode()})
        node[key] = before
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                model = load_model(tmp_path / "changed.skops")
            except UnusableModel:
                continue
        assert isinstance(model, TrainedModel)


def write(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def places(value: Any) -> Any:
    """Each container of a JSON document with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)
