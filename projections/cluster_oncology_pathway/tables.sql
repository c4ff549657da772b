CREATE TABLE cluster_oncology_pathway (
    subject uuid NOT NULL,
    status text NOT NULL,
    code text NOT NULL,
    display text NOT NULL,
    stage_group text NOT NULL,
    suspected_at timestamptz,
    confirmed_at timestamptz,
    refuted_at timestamptz,
    referred_at timestamptz,
    accepted_at timestamptz,
    admitted_at timestamptz,
    first_treatment_at timestamptz,
    hours_to_diagnosis double precision,
    hours_to_referral double precision,
    promise_kept boolean,
    due_at timestamptz,
    conditions jsonb NOT NULL,
    referrals jsonb NOT NULL,
    stays jsonb NOT NULL,
    updated timestamptz NOT NULL,
    PRIMARY KEY (subject)
);
COMMENT ON TABLE cluster_oncology_pathway IS 'Milestones of each oncology patient, and the facts of three services that they come from';
