"""The table of the hand-written endpoint, and a token for it: importing the endpoint itself would open its pool."""

from jose import jwt

TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id uuid PRIMARY KEY, user_id text NOT NULL, name text NOT NULL, task_type text NOT NULL,
    celery_task_name text NOT NULL, args jsonb NOT NULL, kwargs jsonb NOT NULL, priority text NOT NULL,
    status text NOT NULL DEFAULT 'pending', created_at timestamptz NOT NULL DEFAULT now()
)"""
INDEX = "CREATE INDEX IF NOT EXISTS jobs_user ON jobs (user_id, created_at DESC)"


def token_for(user: str, secret: str) -> str:
    return str(jwt.encode({"sub": user, "exp": 4102444800}, secret, algorithm="HS256"))
