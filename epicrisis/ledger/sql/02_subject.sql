-- Where each subject's chain stands: how many events, and the last link.
CREATE TABLE ledger.subject (
    subject uuid PRIMARY KEY,
    n bigint NOT NULL,
    link bytea NOT NULL
) WITH (fillfactor = 70);
