-- first_use: remember an assertion until it expires, forget those that have; no row where it was used before
WITH over AS (DELETE FROM smart.assertion WHERE expires < %(now)s)
INSERT INTO smart.assertion (digest, expires) VALUES (%(digest)s, %(expires)s)
ON CONFLICT (digest) DO NOTHING RETURNING 1

-- of_subject: all rows of a subject, with the events of their versions
SELECT resource_id, source, resource_type, version, recorded, retracted, seqs[version], seqs
FROM read.cluster_chart_seen WHERE subject = %(subject)s

-- by_ids: the rows of these resources, of whatever service, oldest first
SELECT resource_id, subject, source, resource_type, version, recorded, retracted, seqs[version], seqs
FROM read.cluster_chart_seen WHERE resource_id = ANY(%(ids)s::uuid[])
ORDER BY resource_id, recorded, source

-- sees: whether a patient is in the clinic's roster, or a glass was broken for them
SELECT 1 FROM read.roster WHERE clinic_id = current_setting('epicrisis.clinic', true) AND subject = %(subject)s
UNION ALL SELECT 1 WHERE %(subject)s::uuid = nullif(current_setting('epicrisis.opened', true), '')::uuid

-- incomplete: whether events of these subjects wait before the chart, the roster or the ledger
SELECT EXISTS (
    SELECT FROM projection.parked WHERE subject = ANY(%(subjects)s::uuid[]) AND (
        consumer = 'ledger' OR consumer IN (
            SELECT schema FROM projection.generation
            WHERE state = 'live' AND projection IN ('cluster_chart', 'clinic_patients')
        )
    )
)

-- versions_of: how many versions of these resources can be read, and whether they were retracted
SELECT resource_id, sum(version)::int, bool_or(retracted)
FROM read.cluster_chart_seen WHERE resource_id = ANY(%(ids)s::uuid[])
GROUP BY resource_id

-- recorded: when each event of a subject was recorded
SELECT source, seq, recorded FROM read.ledger_seen WHERE subject = %(subject)s AND slice = %(slice)s

-- events_of_one: one subject's events by their place, in the one part of the ledger where they are
SELECT source, seq, n, recorded, value FROM read.ledger_seen
WHERE slice = %(slice)s AND subject = %(subject)s
    AND source = ANY(%(sources)b::text[]) AND seq = ANY(%(seqs)s::bigint[])

-- events_of_several: more than were asked for
SELECT subject, source, seq, n, recorded, value FROM read.ledger_seen
WHERE slice = ANY(%(slices)s::smallint[]) AND subject = ANY(%(subjects)s::uuid[])
    AND source = ANY(%(sources)b::text[]) AND seq = ANY(%(seqs)s::bigint[])

-- histories: the events of some subjects in the order of their histories
SELECT subject, n, source, seq, recorded, value FROM read.ledger_seen
WHERE slice = ANY(%(slices)s::smallint[]) AND subject = ANY(%(subjects)s::uuid[])
ORDER BY subject, n

-- origin: a subject's event by its number
SELECT source, seq FROM read.ledger_seen WHERE slice = %(slice)s AND subject = %(subject)s AND n = %(n)s
