-- delivered: what left of a patient to an operator by reading, up to a moment, in the order in which it did
SELECT recorded, delivered FROM read.cluster_access
WHERE subject = %(patient)s AND operator = %(operator)s AND outcome = '0' AND delivered <> '{}'::jsonb
    AND (%(until)s::timestamptz IS NULL OR recorded <= %(until)s)
ORDER BY recorded, id
