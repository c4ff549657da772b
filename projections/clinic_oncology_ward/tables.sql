CREATE TABLE clinic_oncology_ward (
    clinic_id text NOT NULL,
    subject uuid NOT NULL,
    stay_id text NOT NULL,
    status text NOT NULL,
    location_id text NOT NULL,
    stage text NOT NULL,
    stage_since timestamptz,
    stages jsonb NOT NULL,
    from_clinic text NOT NULL,
    condition_id text NOT NULL,
    referral_id text NOT NULL,
    requested_at timestamptz,
    admitted_at timestamptz,
    discharged_at timestamptz,
    cancelled_at timestamptz,
    updated timestamptz NOT NULL,
    PRIMARY KEY (clinic_id, subject, stay_id)
);
COMMENT ON TABLE clinic_oncology_ward IS 'Stays at an oncology clinic: who is in or expected, where, in which stage of treatment';
