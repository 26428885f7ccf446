# One image for API, workers, beat and migrations. docker-compose.yml sets the command of each.

# A digest pins the base: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim
FROM ${PYTHON_IMAGE} AS packages
# The packages that the service needs at run time, each file checked by its hash (`make lock`).
COPY requirements.lock /tmp/
# task-service-client, whose packages are among them, and the lock of its build.
COPY client /tmp/client
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
       -r /tmp/requirements.lock -r /tmp/client/build.lock \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation /tmp/client \
    && /venv/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --home-dir /srv --shell /usr/sbin/nologin app \
    && install --directory --owner app /data /files
COPY --from=packages /venv /venv
COPY alembic.ini /srv/
COPY app /srv/app
WORKDIR /srv
# Without bytecode in the image, every process compiles the code at its start and uses 22 MiB more.
RUN ["python", "-m", "compileall", "-q", "app"]
# The service writes only to /tmp, /data and /files: docker-compose.yml mounts the rest read-only.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER app
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000", "--no-server-header", "--no-access-log", \
     "--http", "app.api.http.protocol:BoundedProtocol", "--ws", "none", "--timeout-graceful-shutdown", "10"]
