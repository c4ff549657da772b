CREATE TABLE cluster_chart (
    subject uuid NOT NULL,
    resource_id uuid NOT NULL,
    recorded timestamptz NOT NULL,
    begins timestamptz,
    ends timestamptz,
    version integer NOT NULL,
    retracted boolean NOT NULL,
    resource_type text NOT NULL,
    source text NOT NULL,
    status text NOT NULL,
    category_code text NOT NULL,
    code text NOT NULL,
    date text NOT NULL,
    encounter_id uuid,
    clinic text NOT NULL,
    seqs bigint[] NOT NULL,
    tokens bigint[] NOT NULL,
    PRIMARY KEY (resource_id, subject, source)
);
COMMENT ON TABLE cluster_chart IS 'Current resources of every patient, and which events of the ledger hold their versions';

-- The key finds a resource by its id; this one a patient's resources (few bytes a row: the equal entries share one).
CREATE INDEX cluster_chart_subject ON cluster_chart (subject, resource_type);
-- And this one the directory's entries of a type, which are few.
CREATE INDEX cluster_chart_directory ON cluster_chart (resource_type, resource_id) WHERE source = 'directory';

CREATE TABLE cluster_chart_word (
    subject uuid NOT NULL,
    place integer NOT NULL,
    source text NOT NULL,
    part text NOT NULL,
    word text NOT NULL,
    PRIMARY KEY (subject, source, place)
);
COMMENT ON TABLE cluster_chart_word IS 'The parts of the names of patients and of the entries of the directory';

-- Names are looked for by how they begin.
CREATE INDEX cluster_chart_word_word ON cluster_chart_word (word COLLATE "C");
