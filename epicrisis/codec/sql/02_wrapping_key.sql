-- Which wrapping key this installation has: a fingerprint, one row, written once.
CREATE TABLE keys.wrapping_key (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    fingerprint bytea NOT NULL CHECK (length(fingerprint) = 16)
);
