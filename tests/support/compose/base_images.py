"""The base images under the names that Dockerfile and docker-compose.yml use by default, made of Debian's packages."""

import re
import shutil
from pathlib import Path

from tests.support.compose.engine import CommandFailed, Engine, EngineUnavailable

FILES = Path(__file__).with_name("images")
RELEASE = "trixie"  # it has Python 3.13 and PostgreSQL 17
MIRROR = "http://deb.debian.org/debian"
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
IMAGES = {
    "docker.io/library/python:3.13-slim": "python.Dockerfile",
    "docker.io/library/postgres:18": "postgres.Dockerfile",
    "docker.io/valkey/valkey:9": "valkey.Dockerfile",
}


def make_base_images(engine: Engine) -> None:
    """Make those that the engine does not have yet: about a minute for all of them. Raises EngineUnavailable."""
    try:
        if not _exists(engine, "localhost/debian"):
            _make_debian(engine)
        engine.run("podman", "run", "--rm", "localhost/debian", "true")
        context = engine.directory / "context"
        shutil.copytree(FILES, context, dirs_exist_ok=True)
        shutil.copy(AUTHORITIES, context)
        for tag, dockerfile in IMAGES.items():
            if not _exists(engine, tag):
                engine.build(tag, context / dockerfile, context)
    except (CommandFailed, OSError) as error:
        raise EngineUnavailable(" · ".join(str(error).splitlines())) from error


def _exists(engine: Engine, tag: str) -> bool:
    try:
        engine.run("podman", "image", "exists", tag)
    except CommandFailed:
        return False
    return True


def _make_debian(engine: Engine) -> None:
    root = engine.directory / "debian"
    shutil.rmtree(root, ignore_errors=True)
    packages = "--include=python3,python3-pip,python3-venv,ca-certificates"
    engine.run("debootstrap", "--variant=minbase", packages, RELEASE, root, _mirror(), seconds=600)
    archive = engine.directory / "debian.tar"
    engine.run("tar", "-C", root, "-cf", archive, ".", seconds=120)
    engine.run("podman", "import", archive, "localhost/debian", seconds=120)
    archive.unlink()
    shutil.rmtree(root)


def _mirror() -> str:
    """That of this machine, where it is a Debian."""
    about = Path("/etc/os-release").read_text(encoding="utf-8")
    sources = Path("/etc/apt").glob("sources.list*/*.sources")
    texts = [path.read_text(encoding="utf-8") for path in [*sources, *Path("/etc/apt").glob("sources.list*/*.list")]]
    found = re.search(r"https?://\S+/debian\b(?!-)", "\n".join(texts))
    return found[0] if found and re.search(r"^ID=debian$", about, re.MULTILINE) else MIRROR
