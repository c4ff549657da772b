-- Waiting ends with the first answer, or with the referral itself; until then it goes on.
SELECT
    clinic_referrals.*,
    status = 'requested' AS waiting,
    round(
        extract(epoch FROM coalesce(least(accepted_at, declined_at, completed_at, cancelled_at), now()) - requested_at)
        / 3600,
        1
    ) AS waiting_hours
FROM clinic_referrals
