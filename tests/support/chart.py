"""The Helm chart, rendered by Helm itself: `python -m tests.support.chart` tells whether its README is out of date.

With `--write` it writes the table of the values into the README.
"""

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "task-service"
README = CHART / "README.md"
NEEDED = {"existingSecret": "task-service", "storage.url": "s3://bucket/prefix"}
MARK = "<!-- values: made by `python -m tests.support.chart --write` -->\n"


# -- Helm, of the package helm-binary ----------------------------------------------------------------------------------


def helm() -> str | None:
    """The path of Helm; None where there is none."""
    return shutil.which("helm", path=sysconfig.get_path("scripts")) or shutil.which("helm")


def run_helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = helm()
    assert command is not None
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=check, timeout=60)


def options(values: Mapping[str, Any]) -> list[str]:
    """Helm's options of these values, each named by its path."""
    return [part for name, value in values.items() for part in ("--set-json", f"{name}={json.dumps(value)}")]


def render(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The objects that an installation makes, beside those that need no value of a user."""
    made = run_helm("template", "release", str(CHART), *options({**NEEDED, **(values or {})})).stdout
    return [each for each in yaml.safe_load_all(made) if each]


def refusal(values: Mapping[str, Any]) -> str:
    """What Helm says to values that it refuses."""
    answer = run_helm("template", "release", str(CHART), *options(values), check=False)
    assert answer.returncode != 0
    return answer.stderr


def notes(values: Mapping[str, Any]) -> str:
    """What an installation prints. Helm renders it as a template alone: for an installation it wants a cluster."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(folder, CHART.name)
        shutil.copytree(CHART, chart)
        text = (chart / "templates" / "NOTES.txt").read_text(encoding="utf-8")
        template = f'{{{{- define "notes" }}}}{text}{{{{ end -}}}}notes: {{{{ include "notes" . | toJson }}}}\n'
        (chart / "templates" / "notes.yaml").write_text(template, encoding="utf-8")
        given = options({**NEEDED, **values})
        made = run_helm("template", "release", str(chart), "--show-only", "templates/notes.yaml", *given)
    return str(yaml.safe_load(made.stdout)["notes"])


def named(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """The one object of this kind whose name ends so."""
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(name)]
    return found


def pod_specs(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"]
        for each in objects
        if each["kind"] in {"Deployment", "Job"}
    }


# -- The values of values.yaml as a table ------------------------------------------------------------------------------


def rows() -> Iterator[tuple[str, str, str]]:
    """Each value's path, default and meaning. A block with a comment of its own is one value."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    yield from _rows(yaml.compose(text), text.splitlines(), "")


def _rows(node: yaml.Node | None, lines: list[str], prefix: str) -> Iterator[tuple[str, str, str]]:
    assert isinstance(node, yaml.MappingNode)
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        comment = re.fullmatch(r"\s*# -- (.*)", lines[key.start_mark.line - 1]) if key.start_mark.line else None
        if isinstance(value, yaml.MappingNode) and not value.flow_style and comment is None:
            yield from _rows(value, lines, f"{path}.")
        else:
            default = yaml.safe_load(yaml.serialize(value))
            yield path, f"`{json.dumps(default)}`", comment[1] if comment else ""


def readme() -> str:
    """The README with the table of today's values."""
    head, mark, _ = README.read_text(encoding="utf-8").partition(MARK)
    table = ["| value | default | meaning |", "|---|---|---|", *(f"| `{a}` | {b} | {c} |" for a, b, c in rows())]
    return "\n".join([head + mark, *table]) + "\n"


if __name__ == "__main__":
    stale = README.read_text(encoding="utf-8") != readme()
    if "--write" in sys.argv:
        README.write_text(readme(), encoding="utf-8")
    elif stale:
        sys.exit("charts/task-service/README.md is out of date: python -m tests.support.chart --write")
