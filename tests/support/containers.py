"""Dockerfile and docker-compose.yml, read as Docker reads them, as far as this project uses them."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = re.compile(r"\$\$|\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, its text) in order, continuation lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(first, rest.strip()) for first, _, rest in (line.partition(" ") for line in lines)]


def image_command(*arguments: str) -> list[str]:
    """What a container runs that gets these arguments; without any, when nobody says otherwise."""
    entrypoint, command = (
        json.loads(text) for wanted in ("ENTRYPOINT", "CMD") for name, text in dockerfile() if name == wanted
    )
    return [*entrypoint, *(arguments or command)]


def compose() -> dict[str, Any]:
    """Merged (`<<`), with the variables as they stand."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return loaded


def required_variables() -> set[str]:
    """Those that docker compose does not start without."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    return {found["name"] for found in VARIABLE.finditer(text) if found["kind"] == "?"}


def documented_secrets() -> str:
    """The command of docs/deployment.md that writes the secrets to `.env`."""
    text = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
    return "for name in SECRET_KEY" + text.partition("for name in SECRET_KEY")[2].partition("docker compose up")[0]


def roles_script() -> str:
    """The SQL that PostgreSQL's container runs on an empty volume; `$NAME` stands for the shell's variables."""
    script: str = compose()["services"]["postgres"]["entrypoint"][2]
    return script.partition("<<SQL\n")[2].partition("SQL\n")[0].replace("$$", "$")


def resolve(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME:-default}`, `${NAME:?why}` and `$$`, as docker compose does it; KeyError where one is missing."""

    def value(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        given = variables.get(found["name"], "")
        return given or (found["rest"] if found["kind"] == "-" else variables[found["name"]])

    return VARIABLE.sub(value, text)
