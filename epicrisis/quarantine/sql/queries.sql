-- waiting: the id under which a message waits already, and how many messages and bytes of its operator wait
SELECT
    (SELECT id FROM quarantine.message WHERE same = %(same)s AND state = 'waiting'),
    count(*), coalesce(sum(bytes), 0)::bigint
FROM quarantine.message WHERE operator = %(operator)s AND state = 'waiting'

-- keep: a refused message, or that it came once more; nothing where the same waits under another id since just now
INSERT INTO quarantine.message AS m (id, same, operator, clinic, door, first, last, problems, bytes, key, sealed)
VALUES (%(id)s, %(same)s, %(operator)s, %(clinic)s, %(door)s, %(at)s, %(at)s, %(problems)s, %(bytes)s, %(key)s, %(sealed)s)
ON CONFLICT (same) WHERE state = 'waiting' DO UPDATE SET
    last = excluded.last, times = m.times + 1, problems = excluded.problems, bytes = excluded.bytes,
    sealed = excluded.sealed
WHERE m.id = excluded.id
RETURNING id

-- rows: what is or was in quarantine, oldest first
SELECT id, operator, clinic, door, first, last, times, problems, bytes, state, settled, by, reason, message
FROM quarantine.message
WHERE (%(id)s::uuid IS NULL OR id = %(id)s) AND (%(operator)s::text IS NULL OR operator = %(operator)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY first, id LIMIT %(limit)s

-- sealed: the sealed original, and its key's id
SELECT key, sealed FROM quarantine.message WHERE id = %(id)s

-- settle: it was sent again, or discarded. The inbox keeps what was sent again, under its patient's key: here it goes
UPDATE quarantine.message SET
    state = %(state)s, settled = %(at)s, by = %(by)s, reason = %(reason)s, message = %(message)s,
    sealed = CASE WHEN %(state)s = 'resubmitted' THEN NULL ELSE sealed END
WHERE id = %(id)s AND state = 'waiting'
RETURNING id
