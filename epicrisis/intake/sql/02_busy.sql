-- Subjects whose message is not finished: one message at a time writes to a subject, over all services.
CREATE TABLE inbox.busy (
    subject uuid PRIMARY KEY,
    message uuid NOT NULL REFERENCES inbox.message
);

CREATE INDEX busy_message ON inbox.busy (message);
