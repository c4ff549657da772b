-- What checkpoints are made of, written by the role `checkpoint` alone, in the transaction of each checkpoint.
CREATE SCHEMA proof;

-- The Merkle trees as tiles: those of the log's partitions by number, and -1, the log of heads. A tile only grows.
CREATE TABLE proof.tile (
    tree smallint NOT NULL,
    level smallint NOT NULL,
    number bigint NOT NULL,
    hashes bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (tree, level, number)
) WITH (fillfactor = 50);

-- What each checkpoint of the cluster says. Trusted: as many witnesses have cosigned it as the policy asks for.
CREATE TABLE proof.head (
    number bigint PRIMARY KEY,
    entry text NOT NULL,
    trusted boolean NOT NULL DEFAULT false
);

-- The map of all subjects: buckets of members, and shelves of bucket hashes, as of the trusted head and the newest.
CREATE TABLE proof.bucket (
    bucket integer NOT NULL,
    head bigint NOT NULL,
    members bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (bucket, head)
);
CREATE INDEX bucket_head ON proof.bucket (head);
CREATE TABLE proof.shelf (
    shelf smallint NOT NULL,
    head bigint NOT NULL,
    hashes bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (shelf, head)
);

-- The signed notes of the trusted head and what came later, cosignatures included.
CREATE TABLE proof.note (
    tree smallint NOT NULL,
    size bigint NOT NULL,
    note text NOT NULL,
    PRIMARY KEY (tree, size)
);

-- What heads name by its SHA-256: keys with their dates, policy, schemas.
CREATE TABLE proof.file (
    digest text PRIMARY KEY,
    content text NOT NULL
);

-- The public keys that have signed for the log, and when.
CREATE TABLE proof.key (
    key text PRIMARY KEY,
    since timestamptz NOT NULL,
    until timestamptz
);

-- How far each witness knows each tree.
CREATE TABLE proof.witnessed (
    witness text NOT NULL,
    tree smallint NOT NULL,
    size bigint NOT NULL,
    PRIMARY KEY (witness, tree)
);
