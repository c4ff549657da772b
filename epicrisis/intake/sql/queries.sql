-- find: what came of this message
SELECT state, result FROM inbox.message WHERE id = %(id)s

-- record: keep the sealed original and occupy its subjects; see 06_record.sql
SELECT inbox.record(
    %(id)s, %(received)s, %(operator)s, %(clinic)s, %(door)s, %(key)s, %(original)s, %(subjects)s::uuid[]
)

-- finish: what came of it; its subjects are free again
WITH free AS (DELETE FROM inbox.busy WHERE message = %(id)s)
UPDATE inbox.message SET state = 'done', result = %(result)s WHERE id = %(id)s

-- forget: a refused message of which nothing was appended; its subjects are free again
WITH free AS (DELETE FROM inbox.busy WHERE message = %(id)s)
DELETE FROM inbox.message WHERE id = %(id)s AND state = 'received' AND result IS NULL

-- occupied: the subjects that wait for this message
SELECT subject FROM inbox.busy WHERE message = %(message)s

-- watch: only the process that handles a message holds this lock, for as long as it lives; see 05_watch.sql
SELECT mine, state, result FROM inbox.watch(%(id)s)

-- unwatch: done with it
SELECT pg_advisory_unlock(hashtextextended(%(id)s::text, 0))

-- unfinished: messages to be finished, oldest first
SELECT id, received, operator, clinic, door, key, original FROM inbox.message
WHERE state = 'received' AND (%(id)s::uuid IS NULL OR id = %(id)s) ORDER BY received LIMIT 100

-- index_unfinished: whether anything is unfinished
SELECT count(*) FROM inbox.message WHERE state = 'received'
