-- Written by `python -m tests.support.golden_sql --write`.

SELECT anon_1.name
FROM unnest(%(p_queues)s::TEXT[]) AS anon_1(name)
JOIN LATERAL (
  SELECT tasks.id AS id
  FROM tasks
  WHERE tasks.queue = anon_1.name
  AND tasks.status = %(status_1)s
  AND tasks.turn IS NOT NULL
  AND tasks.held IS NULL
  ORDER BY tasks.priority, tasks.turn, tasks.id
  LIMIT %(param_1)s) AS first ON true;

SELECT claim_holds.name, claim_holds.since, claim_holds.reason, claim_holds.held_by
FROM claim_holds
WHERE claim_holds.kind = %(kind_1)s
AND claim_holds.name != %(name_1)s;

SET LOCAL lock_timeout = 200;

WITH due AS (
  SELECT tasks.id AS id, tasks.user_id AS user_id, tasks.queue AS queue, tasks.priority AS priority
  FROM tasks
  WHERE tasks.status = %(status_1)s
  AND tasks.turn IS NULL
  AND tasks.due_at <= statement_timestamp()
  ORDER BY tasks.due_at
  LIMIT %(param_1)s
  FOR UPDATE SKIP LOCKED), placed AS (
  SELECT due.id AS id, due.user_id AS user_id, due.queue AS queue, due.priority AS priority, row_number() OVER
      (PARTITION BY due.user_id, due.queue, due.priority
    ORDER BY due.id) AS nth
  FROM due
  WHERE due.id IS NOT NULL), wanted AS (
  SELECT placed.user_id AS user_id, placed.queue AS queue, placed.priority AS priority, count(*) AS number,
      CAST(coalesce(min(users.weight), %(coalesce_2)s) AS FLOAT) AS weight
  FROM placed
  LEFT OUTER JOIN users ON users.id = placed.user_id
  GROUP BY placed.user_id, placed.queue, placed.priority), at AS (
  SELECT wanted.user_id AS user_id, wanted.queue AS queue, wanted.priority AS priority, wanted.number AS number,
      wanted.weight AS weight, coalesce((
      SELECT max(claimed_turns.turn) AS max_1
      FROM claimed_turns
      WHERE claimed_turns.queue = wanted.queue
      AND claimed_turns.priority = wanted.priority), %(coalesce_1)s) AS clock
  FROM wanted), given AS (
  INSERT INTO user_turns (user_id, queue, priority, clock, last)
  SELECT at.user_id AS user_id, at.queue AS queue, at.priority AS priority, at.clock AS clock, at.clock + at.number /
      CAST(at.weight AS FLOAT) AS anon_1
  FROM at
  ORDER BY at.user_id, at.queue, at.priority
  ON CONFLICT (user_id, queue, priority)
  DO UPDATE SET last = (greatest(user_turns.last, excluded.clock) + (excluded.last - excluded.clock)), clock =
      excluded.clock
  RETURNING user_turns.user_id, user_turns.queue, user_turns.priority, user_turns.last)
UPDATE tasks
SET turn=turns.turn
FROM (
  SELECT placed.id AS id, given.last - (wanted.number - placed.nth) / CAST(wanted.weight AS FLOAT) AS turn
  FROM placed, given, wanted
  WHERE placed.user_id = wanted.user_id
  AND placed.queue = wanted.queue
  AND placed.priority = wanted.priority
  AND placed.user_id = given.user_id
  AND placed.queue = given.queue
  AND placed.priority = given.priority) AS turns
WHERE tasks.id = turns.id;
