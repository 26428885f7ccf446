"""pyproject.toml names what requirements.txt pins, in ranges; each package stands in one place."""

import tomllib
from importlib.metadata import EntryPoint
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.__main__ import main
from tests.support.requirements_files import PROJECT, ROOT, beside_the_image, locked, of_full, of_slim
from tests.support.sources import assert_none

EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
# The service imports these itself; requirements.txt leaves them to celery[redis].
OF_CELERY = {"billiard", "kombu"}
UNIT_TESTS = {"pytest", "pytest-timeout"}
CLIENT: dict[str, Any] = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


class TestRequirementsFiles:
    def test_the_image_holds_the_dependencies_the_client_s_mcp_and_every_driver(self) -> None:
        assert of_slim().keys() == (names(PROJECT["dependencies"]) - OF_CELERY) | names(
            CLIENT["dependencies"] + EXTRAS["mcp"] + EXTRAS["mysql"]
        )

    def test_the_full_one_holds_the_tables_and_the_models_besides(self) -> None:
        assert of_full().keys() == names(EXTRAS["data"] + EXTRAS["ml"])

    def test_beside_it_are_the_embedded_servers_and_the_tools_of_the_unit_tests(self) -> None:
        assert beside_the_image().keys() == names(EXTRAS["embedded"]) | UNIT_TESTS


class TestRanges:
    def test_hold_the_tested_version(self) -> None:
        ranges = [Requirement(line) for extra in ("mcp", "ml", "mysql", "embedded") for line in EXTRAS[extra]]
        ranges += map(Requirement, PROJECT["dependencies"] + CLIENT["dependencies"])
        tested = [*beside_the_image().items(), *((pin.name, pin.version) for pin in locked())]
        of = {
            str(wanted): [each for name, each in tested if name == canonicalize_name(wanted.name)] for wanted in ranges
        }
        assert_none(f"{wanted} is tested in no version" for wanted, versions in of.items() if not versions)
        assert_none(
            f"pyproject.toml: {wanted}, of which {version} is tested"
            for wanted in ranges
            for version in of[str(wanted)]
            if version not in wanted.specifier
        )
        exact = [wanted for wanted in ranges if any(each.operator == "==" for each in wanted.specifier)]
        assert_none(f"pyproject.toml: {wanted} is no range" for wanted in exact)

    def test_all_extras_together_are_one_more(self) -> None:
        (both,) = EXTRAS["all"]
        assert Requirement(both).extras == EXTRAS.keys() - {"all"}


def test_the_command_is_there() -> None:
    (value,) = PROJECT["scripts"].values()
    assert EntryPoint("x", value, "console_scripts").load() is main
