"""FastAPI's own OpenTelemetry support: on where the environment configures it.

Without a configured provider, FastAPI asks OpenTelemetry for one in each request, which takes 3 µs and always fails.
"""

import os
from collections.abc import Iterable

from fastapi.telemetry import TelemetryConfig

_PREFIXES = ("OTEL_", "FASTAPI_OTEL_")


def telemetry(names: Iterable[str] = os.environ) -> TelemetryConfig:
    """Return FastAPI's `telemetry`. `names` are those of the environment's variables."""
    if any(name.startswith(_PREFIXES) for name in names):
        return {}
    return {"tracing": False, "metrics": False, "logs": False}
