"""OpenTelemetry is asked in each request only where the environment configures it."""

from app.api.http.middleware import telemetry


def test_an_environment_with_opentelemetry_leaves_it_to_fastapi() -> None:
    for name in ("OTEL_SERVICE_NAME", "OTEL_EXPORTER_OTLP_ENDPOINT", "FASTAPI_OTEL_AUTO_CONFIGURE"):
        assert telemetry(["PATH", name]) == {}, name


def test_another_environment_turns_it_off() -> None:
    assert telemetry(["PATH", "HOTEL_OTEL_X"]) == {"tracing": False, "metrics": False, "logs": False}
