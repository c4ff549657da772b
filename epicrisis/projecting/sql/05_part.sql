-- The parts in which a generation is filled: slices of the ledger. How many events, once it is done.
CREATE TABLE projection.part (
    schema text NOT NULL REFERENCES projection.generation ON DELETE CASCADE,
    first smallint NOT NULL,
    last smallint NOT NULL,
    events bigint,
    PRIMARY KEY (schema, first)
);
