-- The signed statements that clients got access tokens for: each counts once, for all server processes together.
CREATE SCHEMA smart;

CREATE TABLE smart.assertion (
    digest bytea PRIMARY KEY,
    expires timestamptz NOT NULL
);

CREATE INDEX assertion_expires ON smart.assertion (expires);
