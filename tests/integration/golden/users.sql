-- Written by `python -m tests.support.golden_sql --write`.

DELETE FROM users
WHERE users.id = %(id_1)s::UUID;

SELECT EXISTS (
  SELECT *
  FROM tasks
  WHERE tasks.user_id = %(user_id_1)s::UUID
  AND tasks.status IN (%(status_1_1)s, …)) AS anon_1;

SELECT users.id
FROM users
WHERE users.role = %(role_1)s
AND users.is_active
ORDER BY users.id
FOR UPDATE;

SELECT users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at
FROM users
ORDER BY users.id DESC
LIMIT %(param_1)s
OFFSET %(param_2)s;

SELECT users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at
FROM users
WHERE users.id < %(id_1)s::UUID
ORDER BY users.id DESC
LIMIT %(param_1)s
OFFSET %(param_2)s;

UPDATE api_keys
SET revoked_at=clock_timestamp()
WHERE api_keys.user_id = %(user_id_1)s::UUID
AND api_keys.revoked_at IS NULL;

UPDATE users
SET is_active=%(is_active)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

UPDATE users
SET max_priority=%(max_priority)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

UPDATE users
SET password_hash=%(password_hash)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

UPDATE users
SET role=%(role)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

UPDATE users
SET role=%(role)s, weight=%(weight)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

UPDATE users
SET username=%(username)s, username_normalized=%(username_normalized)s, email=%(email)s,
    email_normalized=%(email_normalized)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;

UPDATE users
SET username=%(username)s, username_normalized=%(username_normalized)s, updated_at=clock_timestamp()
WHERE users.id = %(id_1)s::UUID
RETURNING users.id, users.username, users.username_normalized, users.email, users.email_normalized, users.password_hash,
    users.role, users.is_active, users.weight, users.max_priority, users.created_at, users.updated_at;
