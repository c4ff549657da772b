-- Keep the sealed original before anything is decided, and occupy its subjects. Where some are busy, a new message is not
-- kept, one that was kept before occupies nothing any more, and whose messages they wait for comes back.
CREATE FUNCTION inbox.record(
    id uuid, received timestamptz, operator text, clinic text, door text, key uuid, original bytea, subjects uuid[],
    their_codes bytea
) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    others uuid[];
BEGIN
    INSERT INTO inbox.message VALUES ($1, $2, $3, $4, $5, 'received', $6, $7, NULL, $9)
    ON CONFLICT ON CONSTRAINT message_pkey DO UPDATE SET state = 'received'
    WHERE message.state = 'done' AND message.result ? 'refused';

    INSERT INTO inbox.busy (subject, message) SELECT s, $1 FROM unnest($8) AS s ORDER BY s
    ON CONFLICT (subject) DO NOTHING;

    SELECT array_agg(DISTINCT b.message) INTO others FROM inbox.busy AS b WHERE b.subject = ANY ($8) AND b.message <> $1;
    IF others IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'EPBSY', MESSAGE = 'busy';
    END IF;
    RETURN '{}';
EXCEPTION WHEN SQLSTATE 'EPBSY' THEN
    DELETE FROM inbox.busy WHERE message = $1;
    RETURN others;
END $$;
