-- find: what came of these messages
SELECT id, state, result FROM inbox.message WHERE id = ANY(%(ids)s::uuid[])

-- record: keep the sealed originals and occupy their subjects; see 11_record.sql
SELECT waiting, others FROM inbox.record(
    %(ids)s::uuid[], %(times)b::timestamptz[], %(operators)b::text[], %(clinics)b::text[], %(doors)b::text[],
    %(keys)s::uuid[], %(originals)b::bytea[], %(codes)b::bytea[], %(whose)s::uuid[], %(subjects)s::uuid[]
)

-- end: what came of these messages, and which are forgotten; their subjects are free again, unmapped codes are counted
WITH free AS (DELETE FROM inbox.busy WHERE message = ANY(%(ids)s::uuid[] || %(forgotten)s::uuid[])),
gone AS (
    DELETE FROM inbox.message WHERE id = ANY(%(forgotten)s::uuid[]) AND state = 'received' AND result IS NULL
),
done AS (
    UPDATE inbox.message AS m SET state = 'done', result = n.result
    FROM unnest(%(ids)s::uuid[], %(results)b::jsonb[]) AS n (id, result) WHERE m.id = n.id
)
SELECT inbox.list(u.id, array_agg(u.system), array_agg(u.code))
FROM unnest(%(listed)s::uuid[], %(systems)b::text[], %(codes)b::text[]) AS u (id, system, code) GROUP BY u.id

-- keep_codes: a version of a code map
INSERT INTO inbox.code_map (digest, rows) VALUES (%(digest)s, %(rows)s) ON CONFLICT DO NOTHING

-- codes: a version of a code map that was kept
SELECT rows FROM inbox.code_map WHERE digest = %(digest)s

-- unmapped: the local codes that no code map has, most frequent first
SELECT operator, system, code, messages, first, last FROM inbox.unmapped ORDER BY messages DESC, operator, system, code

-- occupied: the subjects that wait for this message
SELECT subject FROM inbox.busy WHERE message = %(message)s

-- watch: only the process that handles a message holds this lock, for as long as it lives; see 10_watch.sql
SELECT id, state, result FROM inbox.watch(%(given)s::uuid[], %(wanted)s::uuid[])

-- unfinished: messages to be finished, oldest first
SELECT id, received, operator, clinic, door, key, original, codes FROM inbox.message
WHERE state = 'received' AND (%(id)s::uuid IS NULL OR id = %(id)s) ORDER BY received LIMIT 100

-- index_unfinished: whether anything is unfinished
SELECT count(*) FROM inbox.message WHERE state = 'received'
