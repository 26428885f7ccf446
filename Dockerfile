# Two images for API, workers, beat and migrations, started by role: `docker run task-service serve` (or worker, beat,
# migrate). `task-service` is this file as it stands; `task-service-full` has the extras `data` and `ml` besides:
#   docker build -t task-service .
#   docker build -t task-service-full --build-arg VARIANT=full .
# Images with tasks of your own are made FROM these: docs/deployment.md.

# A digest pins the base: --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:…
ARG PYTHON_IMAGE=python:3.13-slim
ARG VARIANT=slim

FROM ${PYTHON_IMAGE} AS slim
# The packages that the service needs at run time, each file checked by its hash (`make lock`).
COPY requirements.lock /tmp/
# task-service-client, whose packages are among them, and the lock of its build.
COPY client /tmp/client
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: --no-compile \
       -r /tmp/requirements.lock -r /tmp/client/build.lock \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps --no-build-isolation \
       /tmp/client

FROM slim AS full
COPY requirements-full.lock /tmp/
RUN /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: --no-deps \
    -r /tmp/requirements-full.lock

FROM ${VARIANT} AS packages
# What an image made FROM this one installs keeps to these versions, with which the service was tested.
RUN /venv/bin/pip freeze --disable-pip-version-check --exclude task-service-client > /venv/constraints.txt \
    && /venv/bin/pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="task-service" \
      org.opencontainers.image.description="Background tasks over HTTP, on Celery and a database" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT"
RUN useradd --system --uid 10001 --home-dir /srv --shell /usr/sbin/nologin app \
    && install --directory --owner app /data /files
COPY --from=packages /venv /venv
COPY alembic.ini /srv/
COPY app /srv/app
# Modules below it are found as `app` is: tasks of your own belong there.
WORKDIR /srv
# Without bytecode in the image, every process compiles the code at its start and uses 22 MiB more. Of the packages only
# what is imported has some: 25 MB less.
RUN /venv/bin/python -m compileall -q app && /venv/bin/python -c \
    "from app.launcher.fork_server import import_the_application as imports; imports('postgresql'); import app.mcp.server"
# The service writes only to /tmp, /data and /files: docker-compose.yml mounts the rest read-only. The pip of the base
# image installs into /venv.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_PYTHON=/venv/bin/python \
    PIP_CONSTRAINT=/venv/constraints.txt PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
USER app
EXPOSE 8000
# Of `serve`. docker-compose.yml has those of the other roles.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["python", "-m", "app"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
