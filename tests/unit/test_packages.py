"""pyproject.toml names what requirements.txt pins, in ranges; each package stands in one place."""

import tomllib
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.__main__ import main
from tests.support.requirements_files import ROOT, beside_the_image, direct, locked, tools

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# The service imports these itself; requirements.txt leaves them to celery[redis].
OF_CELERY = {"billiard", "kombu"}
UNIT_TESTS = {"httpx", "pytest", "pytest-timeout"}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


class TestRequirementsFiles:
    def test_the_image_holds_the_dependencies_the_models_and_every_driver(self) -> None:
        assert direct().keys() == (names(PROJECT["dependencies"]) - OF_CELERY) | names(EXTRAS["ml"] + EXTRAS["mysql"])

    def test_beside_it_are_the_embedded_servers_and_the_tools_of_the_unit_tests(self) -> None:
        assert beside_the_image().keys() == names(EXTRAS["embedded"]) | UNIT_TESTS

    def test_no_package_is_pinned_twice(self) -> None:
        assert (direct() | beside_the_image()).keys() & tools().keys() == set()


class TestRanges:
    @pytest.mark.parametrize("line", [*PROJECT["dependencies"], *EXTRAS["ml"], *EXTRAS["mysql"], *EXTRAS["embedded"]])
    def test_hold_the_tested_version(self, line: str) -> None:
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        tested = [pin.version for pin in locked() if pin.name == name] or [beside_the_image()[name]]
        assert all(version in wanted.specifier for version in tested), tested
        assert not any(each.operator == "==" for each in wanted.specifier)

    def test_all_extras_together_are_one_more(self) -> None:
        (both,) = EXTRAS["all"]
        assert Requirement(both).extras == EXTRAS.keys() - {"all"}


def test_the_command_is_there() -> None:
    (value,) = PROJECT["scripts"].values()
    assert EntryPoint("x", value, "console_scripts").load() is main
