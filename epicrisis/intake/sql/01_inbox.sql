-- The inbound messages: the sealed original of each, and what came of it.
CREATE SCHEMA inbox;

CREATE TABLE inbox.message (
    id uuid PRIMARY KEY,
    received timestamptz NOT NULL,
    operator text NOT NULL,
    clinic text NOT NULL,
    door text NOT NULL,
    state text NOT NULL CHECK (state IN ('received', 'done')),
    key uuid NOT NULL,
    original bytea STORAGE EXTERNAL NOT NULL,
    result jsonb
);
