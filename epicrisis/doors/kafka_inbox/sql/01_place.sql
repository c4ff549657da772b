-- Where each partition of the operators' inboxes is read on, beside the messages that came from them: restored together.
-- The answer to a refused message is kept until it is acknowledged: judged anew, it might be another.
CREATE TABLE inbox.place (
    topic_id uuid NOT NULL,
    partition integer NOT NULL,
    topic text NOT NULL,
    next_offset bigint NOT NULL,
    refusal bytea,
    PRIMARY KEY (topic_id, partition)
);
