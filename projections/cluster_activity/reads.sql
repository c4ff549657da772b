-- The sum over the partitions, which nobody needs to see.
SELECT operator, clinic, month, event_type, diagnosis_group, sum(events)::bigint AS events
FROM cluster_activity
GROUP BY operator, clinic, month, event_type, diagnosis_group
