-- for_subjects: the keys of these subjects, those offered where there were none; a key that another made just now is absent
WITH offered AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(subjects)s::uuid[], %(wrapped)b::bytea[]) AS o (id, subject, wrapped)
),
made AS (
    INSERT INTO keys.data_key (id, subject, wrapped, wrapping)
    SELECT o.id, o.subject, o.wrapped, %(wrapping)s
    FROM offered AS o
    WHERE NOT EXISTS (SELECT FROM keys.data_key AS k WHERE k.subject = o.subject)
    ORDER BY o.subject
    ON CONFLICT (subject) DO NOTHING
    RETURNING id, subject, wrapped
)
SELECT id, subject, wrapped FROM made
UNION ALL
SELECT k.id, k.subject, k.wrapped FROM keys.data_key AS k JOIN offered AS o ON k.subject = o.subject

-- by_ids: the keys with these ids that were not destroyed
SELECT id, subject, wrapped FROM keys.data_key WHERE id = ANY(%(ids)s::uuid[]) AND wrapped IS NOT NULL

-- destroy: forget the key of a subject for good
UPDATE keys.data_key SET wrapped = NULL, destroyed = now() WHERE subject = %(subject)s AND wrapped IS NOT NULL
RETURNING id

-- remember_wrapping_key: the first one is the one
INSERT INTO keys.wrapping_key (fingerprint) VALUES (%(fingerprint)s) ON CONFLICT DO NOTHING

-- wrapping_key: the fingerprint of the one
SELECT fingerprint FROM keys.wrapping_key
