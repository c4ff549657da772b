-- Days in: from admission to discharge, or until now.
SELECT
    clinic_oncology_ward.*,
    round(extract(epoch FROM coalesce(discharged_at, now()) - admitted_at) / 86400, 1) AS days_in
FROM clinic_oncology_ward
