-- Written by `python -m tests.support.golden_sql --write`.

ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only;

ALTER TABLE audit_events ENABLE ALWAYS TRIGGER audit_events_append_only;

DELETE FROM audit_events
WHERE id IN (
  SELECT id
  FROM audit_events
  WHERE at < %(before)s
  ORDER BY at
  LIMIT %(limit)s);

GRANT DELETE ON audit_events TO CURRENT_USER;

REVOKE DELETE ON audit_events
FROM CURRENT_USER;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_1)s;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
WHERE (audit_events.at, audit_events.id) < (%(param_1)s, %(param_2)s::UUID)
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_3)s;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
WHERE audit_events.actor_id = %(actor_id_1)s::UUID
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_1)s;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
WHERE audit_events.at < %(at_1)s
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_1)s;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
WHERE audit_events.at > %(at_1)s
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_1)s;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
WHERE audit_events.event IN (%(event_1_1)s, …)
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_1)s;

SELECT audit_events.id, audit_events.at, audit_events.event, audit_events.origin, audit_events.actor_id,
    audit_events.actor_name, audit_events.object_kind, audit_events.object_id, audit_events.address,
    audit_events.request_id, audit_events.detail
FROM audit_events
WHERE audit_events.object_id = %(object_id_1)s
ORDER BY audit_events.at DESC, audit_events.id DESC
LIMIT %(param_1)s;

SELECT count(*)
FROM audit_events
WHERE at < %(before)s;

SELECT now() - %(age)s;

SET LOCAL lock_timeout = '5s';
