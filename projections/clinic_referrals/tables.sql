CREATE TABLE clinic_referrals (
    clinic_id text NOT NULL,
    subject uuid NOT NULL,
    referral_id text NOT NULL,
    direction text NOT NULL,
    from_clinic text NOT NULL,
    to_clinic text NOT NULL,
    purpose text NOT NULL,
    purpose_code text NOT NULL,
    priority text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    condition_id text NOT NULL,
    requested_at timestamptz,
    accepted_at timestamptz,
    declined_at timestamptz,
    scheduled_for text NOT NULL,
    completed_at timestamptz,
    cancelled_at timestamptz,
    updated timestamptz NOT NULL,
    PRIMARY KEY (clinic_id, subject, referral_id)
);
COMMENT ON TABLE clinic_referrals IS 'Referrals as each of the two clinics sees them: sent, received, how far, since when';
