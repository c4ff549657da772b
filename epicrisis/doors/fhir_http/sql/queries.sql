-- first_use: remember an assertion until it expires, forget those that have; no row where it was used before
WITH over AS (DELETE FROM smart.assertion WHERE expires < %(now)s)
INSERT INTO smart.assertion (digest, expires) VALUES (%(digest)s, %(expires)s)
ON CONFLICT (digest) DO NOTHING RETURNING 1
