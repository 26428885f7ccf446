"""reports/sbom.json: what the image `task-service-full` is made of, as CycloneDX 1.6; `make sbom` and each run of the tests write it. No network is asked.

It is told from the locks, which are what the image installs: names, versions, the hashes of the files, and who needs
whom. The environment of the tests holds other packages besides, and may hold other versions.
"""

import importlib.metadata
import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name

from tests.report.model import REPORTS, ROOT
from tests.support.requirements_files import Pin, direct, locked

PYTHON = re.compile(r"^ARG PYTHON_IMAGE=python:(\d+\.\d+)", re.MULTILINE)


def image_python() -> str:
    found = PYTHON.search((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert found
    return found[1]


def image_pins() -> list[Pin]:
    """The packages that pip takes from the lock on the image's Python and Linux."""
    version = image_python()
    platform = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux"}
    platform |= {"platform_system": "Linux", "os_name": "posix", "implementation_name": "cpython"}
    return [pin for pin in locked() if not pin.marker or Marker(pin.marker).evaluate(platform)]


def document() -> dict[str, Any]:
    """Without time and random numbers: the same lock gives the same document."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    service = {"type": "application", "bom-ref": project["name"], "name": project["name"]}
    service |= {"version": project["version"], "description": project["description"]}
    pins = image_pins()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {**service, "licenses": [{"license": {"id": project["license"]}}]}},
        "components": [_component(pin) for pin in pins],
        "dependencies": _dependencies(project["name"], pins),
    }


def _purl(pin: Pin) -> str:
    return f"pkg:pypi/{pin.name}@{pin.version}"


def _component(pin: Pin) -> dict[str, Any]:
    files = {
        "type": "distribution",
        "url": _purl(pin),  # which index it comes from is for those to say who install it
        "comment": "its files: the image installs only one with a hash of these",
        "hashes": [{"alg": "SHA-256", "content": each} for each in pin.hashes],
    }
    named = {
        "type": "library",
        "bom-ref": _purl(pin),
        "name": pin.name,
        "version": str(pin.version),
        "purl": _purl(pin),
    }
    return {**named, **_licences(pin), "externalReferences": [files]}


def _licences(pin: Pin) -> dict[str, Any]:
    """As the package declares them, where this very version is installed here."""
    try:
        about = importlib.metadata.metadata(pin.name)
    except importlib.metadata.PackageNotFoundError:
        return {}
    if about["Version"] != str(pin.version):
        return {}
    if "License-Expression" in about:
        return {"licenses": [{"expression": about["License-Expression"]}]}
    classified = [each for each in about.get_all("Classifier", []) if each.startswith("License :: ")]
    return {"licenses": [{"license": {"name": each}} for each in classified]} if classified else {}


def _dependencies(service: str, pins: list[Pin]) -> list[dict[str, Any]]:
    refs = {pin.name: _purl(pin) for pin in pins}
    needs: dict[str, set[str]] = {service: {refs[name] for name in direct()}, **{ref: set() for ref in refs.values()}}
    for pin in pins:
        for name in pin.needed_by:
            needs[refs[canonicalize_name(name)]].add(_purl(pin))
    return [{"ref": ref, "dependsOn": sorted(needed)} for ref, needed in needs.items()]


def write() -> Path:
    REPORTS.mkdir(exist_ok=True)
    path = REPORTS / "sbom.json"
    path.write_text(json.dumps(document(), indent=2) + "\n", encoding="utf-8")
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{write()}\n")
