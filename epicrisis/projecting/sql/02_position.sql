-- The last seq that a consumer has applied, per subject and service.
CREATE TABLE projection.position (
    consumer text NOT NULL,
    subject uuid NOT NULL,
    seqs jsonb NOT NULL,
    PRIMARY KEY (subject, consumer)
) WITH (fillfactor = 70);
