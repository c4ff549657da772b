-- Take the locks that only the process that handles a message holds, for as long as it lives, and see what came of each
-- message so far: behind the lock, so that it is the last word. Those of `given` are given back.
DROP FUNCTION inbox.watch;

CREATE FUNCTION inbox.watch(given uuid[], wanted uuid[])
RETURNS TABLE (id uuid, state text, result jsonb) LANGUAGE plpgsql AS $$
DECLARE
    locked uuid[];
BEGIN
    PERFORM pg_advisory_unlock(hashtextextended(g::text, 0)) FROM unnest(given) AS g;
    locked := ARRAY(SELECT w FROM unnest(wanted) AS w WHERE pg_try_advisory_lock(hashtextextended(w::text, 0)));
    RETURN QUERY SELECT l, m.state, m.result FROM unnest(locked) AS l LEFT JOIN inbox.message AS m ON m.id = l;
END $$;
