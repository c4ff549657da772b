-- Keep the sealed original before anything is decided, and occupy its subjects. Where some are busy, a new message is not
-- kept, one that was kept before occupies nothing any more, and whose messages they wait for comes back. One that is done
-- occupies nothing: who was frozen while others finished its message comes late, and may even come in between, so what a
-- message that is done has occupied all the same is freed by the first that meets it.
-- (11_record.sql has it anew, for several messages at once.)
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

    IF EXISTS (SELECT FROM inbox.message AS m WHERE m.id = $1 AND m.state = 'done') THEN
        RETURN '{}';
    END IF;

    INSERT INTO inbox.busy (subject, message) SELECT s, $1 FROM unnest($8) AS s ORDER BY s
    ON CONFLICT (subject) DO NOTHING;

    SELECT array_agg(DISTINCT b.message) INTO others FROM inbox.busy AS b WHERE b.subject = ANY ($8) AND b.message <> $1;
    IF others IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'EPBSY', MESSAGE = 'busy';
    END IF;
    RETURN '{}';
EXCEPTION WHEN SQLSTATE 'EPBSY' THEN
    DELETE FROM inbox.busy WHERE message = $1;
    DELETE FROM inbox.busy AS b WHERE b.message = ANY (others)
        AND NOT EXISTS (SELECT FROM inbox.message AS m WHERE m.id = b.message AND m.state = 'received');
    RETURN others;
END $$;
