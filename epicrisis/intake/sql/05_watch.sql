-- Take the lock that only the process that handles a message holds, for as long as it lives, and see what came of the
-- message so far: behind the lock, so that it is the last word.
-- (10_watch.sql has it anew, for several messages at once.)
CREATE FUNCTION inbox.watch(wanted uuid, OUT mine boolean, OUT state text, OUT result jsonb) LANGUAGE plpgsql AS $$
BEGIN
    mine := pg_try_advisory_lock(hashtextextended(wanted::text, 0));
    IF mine THEN
        SELECT m.state, m.result INTO state, result FROM inbox.message AS m WHERE m.id = wanted;
    END IF;
END $$;
