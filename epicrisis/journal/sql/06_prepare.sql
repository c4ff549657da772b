-- What an append does before its events are copied, in one call: it takes the slices' locks, moves the heads from what
-- the writer expects, indexes identifiers, admits members. False: somebody else was first, and all is rolled back by the
-- caller. Events of known subjects may be there already (`ids` in `streams`): then somebody else was first, too.
CREATE FUNCTION journal.prepare(
    slices int[],
    subjects uuid[], expected bigint[], counts bigint[],
    ids uuid[], streams text[],
    digests bytea[], resources uuid[],
    admitted uuid[], operators text[]
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    wanted int;
    fresh bigint;
    moved bigint;
BEGIN
    FOREACH wanted IN ARRAY slices LOOP
        PERFORM pg_advisory_xact_lock(wanted);
    END LOOP;

    INSERT INTO journal.head (subject, seq)
    SELECT a.subject, a.count FROM unnest(subjects, expected, counts) AS a (subject, expected, count)
    WHERE a.expected = 0
    ON CONFLICT (subject) DO NOTHING;
    GET DIAGNOSTICS fresh = ROW_COUNT;
    IF fresh < cardinality(subjects) THEN
        IF EXISTS (
            SELECT FROM journal.event AS e
            JOIN unnest(streams) AS s (stream) ON hashtextextended(e.stream, 0) = hashtextextended(s.stream, 0)
            WHERE e.id = ANY (ids)
        ) THEN
            RETURN false;
        END IF;
        UPDATE journal.head AS h SET seq = h.seq + a.count
        FROM unnest(subjects, expected, counts) AS a (subject, expected, count)
        WHERE a.expected > 0 AND h.subject = a.subject AND h.seq = a.expected;
        GET DIAGNOSTICS moved = ROW_COUNT;
        IF fresh + moved < cardinality(subjects) THEN
            RETURN false;
        END IF;
    END IF;

    INSERT INTO journal.identifier (digest, resource_id)
    SELECT * FROM unnest(digests, resources)
    ON CONFLICT (digest) DO NOTHING;
    IF EXISTS (
        SELECT FROM unnest(digests, resources) AS c (digest, resource)
        JOIN journal.identifier AS i ON i.digest = c.digest AND i.resource_id <> c.resource
    ) THEN
        RETURN false;
    END IF;

    INSERT INTO journal.member (subject, operator)
    SELECT * FROM unnest(admitted, operators)
    ON CONFLICT DO NOTHING;
    RETURN true;
END $$;

-- Tell the relays; not behind a slice's last event, and for appends to several slices a little ahead.
CREATE FUNCTION journal.move_tails(slices int[]) RETURNS void LANGUAGE sql AS $$
    UPDATE journal.tail SET pos = currval('journal.pos') WHERE slice = ANY (slices)
$$;
