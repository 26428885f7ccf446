"""Every command that starts the API sets the bounds and shows no banner."""

from app.launcher.options import api_command, parser
from tests.support.containers import compose, image_command

OPTIONS = {"--no-server-header", "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none"}


def test_the_image() -> None:
    """`serve` is `api_command`, which is looked at below."""
    assert image_command()[:4] == ["python", "-m", "app", "serve"]
    assert "uvicorn" not in str(compose()["services"])
    assert [
        name
        for name, each in compose()["services"].items()
        if each.get("image", "").startswith("${TASK") and "entrypoint" in each
    ] == ["migrate"]  # the others run the image's entrypoint


def test_run_server() -> None:
    assert set(api_command(parser().parse_args([]), 8000)) >= OPTIONS
