-- find: what came of this message
SELECT state, result FROM inbox.message WHERE id = %(id)s

-- record: keep the sealed original and occupy its subjects; see 06_record.sql
SELECT inbox.record(
    %(id)s, %(received)s, %(operator)s, %(clinic)s, %(door)s, %(key)s, %(original)s, %(subjects)s::uuid[], %(codes)s
)

-- finish: what came of it; its subjects are free again
WITH free AS (DELETE FROM inbox.busy WHERE message = %(id)s)
UPDATE inbox.message SET state = 'done', result = %(result)s WHERE id = %(id)s

-- finish_and_list: the same, and its unmapped codes are counted
WITH free AS (DELETE FROM inbox.busy WHERE message = %(id)s),
done AS (UPDATE inbox.message SET state = 'done', result = %(result)s WHERE id = %(id)s)
SELECT inbox.list(%(id)s, %(systems)s::text[], %(codes)s::text[])

-- keep_codes: a version of a code map
INSERT INTO inbox.code_map (digest, rows) VALUES (%(digest)s, %(rows)s) ON CONFLICT DO NOTHING

-- codes: a version of a code map that was kept
SELECT rows FROM inbox.code_map WHERE digest = %(digest)s

-- unmapped: the local codes that no code map has, most frequent first
SELECT operator, system, code, messages, first, last FROM inbox.unmapped ORDER BY messages DESC, operator, system, code

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
SELECT id, received, operator, clinic, door, key, original, codes FROM inbox.message
WHERE state = 'received' AND (%(id)s::uuid IS NULL OR id = %(id)s) ORDER BY received LIMIT 100

-- index_unfinished: whether anything is unfinished
SELECT count(*) FROM inbox.message WHERE state = 'received'
