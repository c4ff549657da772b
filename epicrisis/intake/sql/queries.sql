-- find: what came of this message
SELECT state, result FROM inbox.message WHERE id = %(id)s

-- record: keep the sealed original before anything is decided
INSERT INTO inbox.message (id, received, operator, clinic, door, state, key, original)
VALUES (%(id)s, %(received)s, %(operator)s, %(clinic)s, %(door)s, 'received', %(key)s, %(original)s)
ON CONFLICT (id) DO UPDATE SET state = 'received' WHERE message.state = 'done' AND message.result ? 'refused'

-- occupy: one message at a time writes to a subject
INSERT INTO inbox.busy (subject, message)
SELECT subject, %(message)s FROM unnest(%(subjects)s::uuid[]) AS subject
ON CONFLICT (subject) DO NOTHING
RETURNING subject

-- occupied_by: whose message these subjects wait for
SELECT DISTINCT message FROM inbox.busy WHERE subject = ANY(%(subjects)s) AND message <> %(message)s

-- leave: the subjects are free again
DELETE FROM inbox.busy WHERE message = %(message)s

-- finish: what came of it
UPDATE inbox.message SET state = 'done', result = %(result)s WHERE id = %(id)s

-- forget: a refused message of which nothing was appended
DELETE FROM inbox.message WHERE id = %(id)s AND state = 'received' AND result IS NULL

-- occupied: the subjects that wait for this message
SELECT subject FROM inbox.busy WHERE message = %(message)s

-- watch: only the process that handles a message holds this lock, for as long as it lives
SELECT pg_try_advisory_lock(hashtextextended(%(id)s::text, 0))

-- unwatch: done with it
SELECT pg_advisory_unlock(hashtextextended(%(id)s::text, 0))

-- unfinished: messages to be finished, oldest first
SELECT id, received, operator, clinic, door, key, original FROM inbox.message
WHERE state = 'received' AND (%(id)s::uuid IS NULL OR id = %(id)s) ORDER BY received LIMIT 100

-- index_unfinished: whether anything is unfinished
SELECT count(*) FROM inbox.message WHERE state = 'received'
