-- Who is who: keyed digests of (operator, type, system, value), never the identifiers themselves.
CREATE TABLE journal.identifier (
    digest bytea PRIMARY KEY,
    resource_id uuid NOT NULL
);

-- Which operators may write about a subject.
CREATE TABLE journal.member (
    subject uuid NOT NULL,
    operator text NOT NULL,
    PRIMARY KEY (subject, operator)
);
