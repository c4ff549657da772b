-- Keep the sealed originals of messages before anything is decided, and occupy their subjects (`whose` message wants
-- which of `subjects`). Where some are busy, a new message is not kept, one that was kept before occupies nothing any
-- more, and whose messages they wait for comes back. One that is done occupies nothing: who was frozen while others
-- finished its message comes late, and may even come in between, so what a message that is done has occupied all the same
-- is freed by the first that meets it.
DROP FUNCTION inbox.record;

CREATE FUNCTION inbox.record(
    ids uuid[], times timestamptz[], operators text[], clinics text[], doors text[], keys uuid[], originals bytea[],
    code_maps bytea[], whose uuid[], subjects uuid[]
) RETURNS TABLE (waiting uuid, others uuid[]) LANGUAGE plpgsql AS $$
DECLARE
    fresh uuid[];
    stuck uuid[];
    holders uuid[];
BEGIN
    WITH new AS (
        INSERT INTO inbox.message (id, received, operator, clinic, door, state, key, original, codes)
        SELECT n.id, n.at, n.operator, n.clinic, n.door, 'received', n.key, n.original, n.codes
        FROM unnest(ids, times, operators, clinics, doors, keys, originals, code_maps)
            AS n (id, at, operator, clinic, door, key, original, codes)
        ORDER BY n.id
        ON CONFLICT ON CONSTRAINT message_pkey DO NOTHING
        RETURNING message.id
    )
    SELECT array_agg(n.id) INTO fresh FROM new AS n;

    INSERT INTO inbox.busy (subject, message)
    SELECT w.subject, w.message FROM unnest(subjects, whose) AS w (subject, message)
    JOIN inbox.message AS m ON m.id = w.message AND (m.state = 'received' OR m.result ? 'refused')
    ORDER BY w.subject
    ON CONFLICT (subject) DO NOTHING;

    SELECT array_agg(DISTINCT w.message), array_agg(DISTINCT b.message) INTO stuck, holders
    FROM unnest(subjects, whose) AS w (subject, message)
    JOIN inbox.message AS m ON m.id = w.message AND (m.state = 'received' OR m.result ? 'refused')
    JOIN inbox.busy AS b ON b.subject = w.subject AND b.message <> w.message;

    IF stuck IS NOT NULL THEN
        RETURN QUERY
        SELECT w.message, array_agg(DISTINCT b.message) FROM unnest(subjects, whose) AS w (subject, message)
        JOIN inbox.busy AS b ON b.subject = w.subject AND b.message <> w.message
        WHERE w.message = ANY (stuck) GROUP BY w.message;

        DELETE FROM inbox.busy AS b WHERE b.message = ANY (stuck);
        DELETE FROM inbox.busy AS b WHERE b.message = ANY (holders) AND b.message <> ALL (ids)
            AND NOT EXISTS (SELECT FROM inbox.message AS m WHERE m.id = b.message AND m.state = 'received');
        DELETE FROM inbox.message AS m WHERE m.id = ANY (stuck) AND m.id = ANY (fresh);
    END IF;

    UPDATE inbox.message AS m SET state = 'received'
    WHERE m.id = ANY (ids) AND m.state = 'done' AND m.result ? 'refused' AND (stuck IS NULL OR m.id <> ALL (stuck));
END $$;
