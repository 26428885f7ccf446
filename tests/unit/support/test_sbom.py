"""reports/sbom.json names what the image holds."""

import json
import re
from typing import Any

import pytest

from tests.report import sbom
from tests.support.requirements_files import direct, locked
from tests.support.tools import imported


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return sbom.document()


def test_is_valid_cyclonedx(document: dict[str, Any]) -> None:
    validator, version = imported("cyclonedx.validation.json"), imported("cyclonedx.schema").SchemaVersion.V1_6
    assert validator.JsonStrictValidator(version).validate_str(json.dumps(document)) is None


def test_lists_each_package_of_the_lock_once_in_the_version_of_the_images_python(document: dict[str, Any]) -> None:
    found = [(each["name"], each["version"]) for each in document["components"]]
    assert len(found) == len(dict(found))
    unmarked = {(pin.name, str(pin.version)) for pin in locked() if not pin.marker}
    assert unmarked | {(name, str(version)) for name, version in direct().items()} <= set(found)
    assert "async-timeout" not in dict(found)  # is for an old Python


def test_has_hashes_and_says_what_needs_what(document: dict[str, Any]) -> None:
    for each in document["components"]:
        assert re.fullmatch(r"[0-9a-f]{64}", each["externalReferences"][0]["hashes"][0]["content"]), each["name"]
    needs = {each["ref"].split("@")[0]: each["dependsOn"] for each in document["dependencies"]}
    assert len(needs["task-service"]) == len(direct())
    assert any(ref.startswith("pkg:pypi/kombu@") for ref in needs["pkg:pypi/celery"])
    assert {each["bom-ref"] for each in document["components"]} == {ref for refs in needs.values() for ref in refs}
