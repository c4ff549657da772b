-- The same columns, in the order in which people read them.
SELECT
    subject,
    resource_type,
    resource_id,
    version,
    status,
    category_code,
    code,
    date,
    encounter_id,
    clinic,
    recorded,
    retracted,
    source,
    seqs,
    begins,
    ends,
    tokens,
    shaped_by
FROM cluster_chart
