-- Waiting ends with the first answer, or with the referral itself; until then it goes on.
SELECT
    clinic_referrals.*,
    status = 'requested' AS waiting,
    CASE
        WHEN requested_at IS NOT NULL THEN
            round(extract(epoch FROM greatest(
                coalesce(least(accepted_at, declined_at, completed_at, cancelled_at), now()) - requested_at,
                interval '0'
            )) / 3600, 1)
    END AS waiting_hours
FROM clinic_referrals
