-- Written by `python -m tests.support.golden_sql --write`.

SELECT %(moment)s <= clock_timestamp() AS anon_1;

SELECT api_keys.id, api_keys.user_id, api_keys.name, api_keys.prefix, api_keys.digest, api_keys.scopes,
    api_keys.created_at, api_keys.expires_at, api_keys.last_used_at, api_keys.revoked_at
FROM api_keys
WHERE api_keys.id = %(id_1)s::UUID
AND api_keys.user_id = %(user_id_1)s::UUID;

SELECT api_keys.id, api_keys.user_id, api_keys.name, api_keys.prefix, api_keys.digest, api_keys.scopes,
    api_keys.created_at, api_keys.expires_at, api_keys.last_used_at, api_keys.revoked_at
FROM api_keys
WHERE api_keys.user_id = %(user_id_1)s::UUID
AND api_keys.id < %(id_1)s::UUID
ORDER BY api_keys.id DESC
LIMIT %(param_1)s
OFFSET %(param_2)s;

SELECT api_keys.id, api_keys.user_id, api_keys.name, api_keys.prefix, api_keys.digest, api_keys.scopes,
    api_keys.created_at, api_keys.expires_at, api_keys.last_used_at, api_keys.revoked_at
FROM api_keys
WHERE api_keys.user_id = %(user_id_1)s::UUID
ORDER BY api_keys.id DESC
LIMIT %(param_1)s
OFFSET %(param_2)s;

UPDATE api_keys
SET revoked_at=clock_timestamp()
WHERE api_keys.id = %(id_1)s::UUID
AND api_keys.revoked_at IS NULL
RETURNING api_keys.id;
