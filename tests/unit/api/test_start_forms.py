"""Every command that starts the API sets the bounds and shows no banner."""

from app.launcher.options import api_command, parser
from tests.support.containers import compose, image_command

OPTIONS = {"--no-server-header", "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none"}


def test_the_image() -> None:
    assert set(image_command()) >= OPTIONS
    assert "uvicorn" not in str(compose()["services"])  # they run the image's command


def test_run_server() -> None:
    assert set(api_command(parser().parse_args([]), 8000)) >= OPTIONS
