-- Local codes that no code map has, for the integration engineer. No message and no patient is named.
CREATE TABLE inbox.unmapped (
    operator text NOT NULL,
    system text NOT NULL,
    code text NOT NULL,
    messages bigint NOT NULL,
    first timestamptz NOT NULL,
    last timestamptz NOT NULL,
    PRIMARY KEY (operator, system, code)
);
