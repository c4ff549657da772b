-- heads: where the chains of these subjects stand
SELECT subject, n, link FROM ledger.subject WHERE subject = ANY(%(subjects)s)

-- copy_events: archive
COPY ledger.event (seq, n, recorded, subject, slice, source, link, value) FROM STDIN (FORMAT BINARY)

-- save_heads: where the chains stand now
INSERT INTO ledger.subject (subject, n, link)
SELECT * FROM unnest(%(subjects)s::uuid[], %(numbers)s::bigint[], %(links)s::bytea[])
ON CONFLICT (subject) DO UPDATE SET n = EXCLUDED.n, link = EXCLUDED.link

-- history: one subject's events in log order
SELECT n, source, seq, recorded, link, value FROM ledger.event
WHERE subject = %(subject)s AND slice = %(slice)s
ORDER BY n

-- digest: how many events, and one digest over all chains
SELECT count(*), md5(coalesce(string_agg(subject::text || n || encode(link, 'hex'), ',' ORDER BY subject), ''))
FROM ledger.subject
