CREATE TABLE clinic_patients (
    clinic_id text NOT NULL,
    subject uuid NOT NULL,
    last_event text NOT NULL,
    last_event_at timestamptz NOT NULL,
    events bigint NOT NULL,
    updated timestamptz NOT NULL,
    PRIMARY KEY (clinic_id, subject)
);
COMMENT ON TABLE clinic_patients IS 'Which subjects a clinic knows, and the last that it heard of each';

CREATE TABLE clinic_patients_person (
    subject uuid NOT NULL,
    family text NOT NULL,
    given text NOT NULL,
    birth_date text NOT NULL,
    gender text NOT NULL,
    deceased boolean NOT NULL,
    deceased_at text NOT NULL,
    problems jsonb NOT NULL,
    ruled_out text[] NOT NULL,
    entered_in_error boolean NOT NULL,
    updated timestamptz NOT NULL,
    PRIMARY KEY (subject)
);
COMMENT ON TABLE clinic_patients_person IS 'Who a patient is and which problems are open: the same for every clinic that knows the patient';
