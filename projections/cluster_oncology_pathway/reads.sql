-- Oncology patients only; a limit that has run out without an answer is a promise broken, though no event says so.
SELECT
    subject,
    status,
    code,
    display,
    stage_group,
    suspected_at,
    confirmed_at,
    refuted_at,
    referred_at,
    accepted_at,
    admitted_at,
    first_treatment_at,
    hours_to_diagnosis,
    hours_to_referral,
    round(extract(epoch FROM admitted_at - suspected_at) / 3600, 1) AS hours_to_admission,
    round(extract(epoch FROM first_treatment_at - suspected_at) / 3600, 1) AS hours_to_treatment,
    coalesce(promise_kept, CASE WHEN due_at < now() THEN false END) AS promise_kept,
    due_at,
    updated,
    shaped_by
FROM cluster_oncology_pathway
WHERE status <> ''
