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
-- record value holds its number, so it comes in two parts, and the number is put between them. `streams_at` counts in what
-- comes behind it.
CREATE FUNCTION journal.append_next(
    slices int[],
    recorded timestamptz[], subjects uuid[], event_slices smallint[],
    streams_at smallint[], stream_lengths smallint[], befores bytea[], afters bytea[]
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    wanted int;
    e record;
    next int;
    before bytea;
BEGIN
    FOREACH wanted IN ARRAY slices LOOP
        PERFORM pg_advisory_xact_lock(wanted);
    END LOOP;
    FOR e IN
        SELECT * FROM unnest(recorded, subjects, event_slices, streams_at, stream_lengths, befores, afters)
            AS u (recorded, subject, slice, stream_at, stream_length, before, after)
    LOOP
        INSERT INTO journal.head AS h (subject, seq) VALUES (e.subject, 1)
        ON CONFLICT (subject) DO UPDATE SET seq = h.seq + 1
        RETURNING h.seq INTO next;
        before := e.before || journal.avro_long(next);
        INSERT INTO journal.event (recorded, subject, seq, slice, stream_at, stream_length, value)
        VALUES (e.recorded, e.subject, next, e.slice,
                octet_length(before) + e.stream_at, e.stream_length, before || e.after);
    END LOOP;
    PERFORM journal.move_tails(slices);
END $$;
