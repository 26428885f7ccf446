"""The endpoint one would write by hand: sync FastAPI, psycopg2, `send_task`, Starlette's forty threads.

It checks a bearer token, commits a row, sends a message and answers 201. No validation beyond the body's shape, no
quota, no revocation of tokens, nothing that sends again what the broker lost: it does less, which is in its favour.
"""

import os
from typing import Annotated, Any
from uuid import uuid4

from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jose import JWTError, jwt
from psycopg2.extras import Json
from psycopg2.pool import ThreadedConnectionPool
from pydantic import BaseModel

from tests.performance.comparators.raw import app as celery

SECRET = os.environ.get("HANDWRITTEN_SECRET", "")
THREADS = 40
INSERT = """
INSERT INTO jobs (id, user_id, name, task_type, celery_task_name, args, kwargs, priority)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING created_at"""


class Job(BaseModel):  # type: ignore[no-redef]  # (the plugin gives it **kwargs)
    name: str
    task_type: str
    celery_task_name: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    priority: str = "normal"


app = FastAPI()
bearer = HTTPBearer()
pool = ThreadedConnectionPool(THREADS, THREADS, os.environ.get("HANDWRITTEN_DATABASE", ""))


def current_user(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    try:
        return str(jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"])["sub"])
    except JWTError as error:
        raise HTTPException(401) from error


@app.post("/jobs", status_code=201)
def create(job: Job, user: Annotated[str, Depends(current_user)]) -> dict[str, Any]:
    job_id = str(uuid4())
    connection = pool.getconn()
    try:
        with connection, connection.cursor() as cursor:
            values = (job.name, job.task_type, job.celery_task_name, Json(job.args), Json(job.kwargs), job.priority)
            cursor.execute(INSERT, (job_id, user, *values))
            (created,) = cursor.fetchone()
    finally:
        pool.putconn(connection)
    celery.send_task(job.celery_task_name, job.args, job.kwargs, task_id=job_id)
    return {"id": job_id, "user_id": user, "status": "pending", "created_at": created, **job.model_dump()}
