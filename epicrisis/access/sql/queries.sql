-- delivered: what left of a patient to an operator by reading, up to a moment, in the order in which it did
SELECT recorded, delivered FROM read.cluster_access
WHERE subject = %(patient)s AND operator = %(operator)s AND outcome = '0' AND delivered <> '{}'::jsonb
    AND (%(until)s::timestamptz IS NULL OR recorded <= %(until)s)
ORDER BY recorded, id

-- log: who was given what of a patient, the newest first
SELECT recorded, operator, clinic, client, user_id, interaction, action, resource_type, outcome, status, purpose, reason,
    break_glass_id, request_id, delivered, id
FROM read.cluster_access
WHERE subject = %(patient)s AND (%(since)s::timestamptz IS NULL OR recorded >= %(since)s)
ORDER BY recorded DESC, id

-- glasses: all that were ever broken, the oldest first
SELECT * FROM read.cluster_access_break_glass ORDER BY started, break_glass_id
