-- A number as Avro writes a long: zigzag, then seven bits a byte, lowest first.
CREATE FUNCTION journal.avro_long(number bigint) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    rest bigint := number << 1;
    written bytea := '';
BEGIN
    WHILE rest > 127 LOOP
        written := written || set_byte('\x00', 0, (rest & 127 | 128)::int);
        rest := rest >> 7;
    END LOOP;
    RETURN written || set_byte('\x00', 0, rest::int);
END $$;

-- Events behind whatever their subjects have: nothing is read, nothing is expected, and nobody is in anybody's way. A
-- record value holds its number, so it comes in two parts, and the number is put between them.
CREATE FUNCTION journal.append_next(
    slices int[],
    subjects uuid[], event_ids uuid[], event_slices smallint[], recorded timestamptz[],
    types text[], event_streams text[], befores bytea[], afters bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted int;
    e record;
    next bigint;
BEGIN
    FOREACH wanted IN ARRAY slices LOOP
        PERFORM pg_advisory_xact_lock(wanted);
    END LOOP;
    FOR e IN
        SELECT * FROM unnest(subjects, event_ids, event_slices, recorded, types, event_streams, befores, afters)
            AS u (subject, id, slice, recorded, type, stream, before, after)
    LOOP
        INSERT INTO journal.head AS h (subject, seq) VALUES (e.subject, 1)
        ON CONFLICT (subject) DO UPDATE SET seq = h.seq + 1
        RETURNING h.seq INTO next;
        INSERT INTO journal.event (seq, recorded, subject, id, slice, type, stream, value)
        VALUES (next, e.recorded, e.subject, e.id, e.slice, e.type, e.stream,
                e.before || journal.avro_long(next) || e.after);
    END LOOP;
    PERFORM journal.move_tails(slices);
END $$;
