-- Count a message's unmapped codes. Beyond 10,000 different ones of an operator (it sends something else as codes) the rest
-- is counted together, as the empty code of no system.
CREATE FUNCTION inbox.list(wanted uuid, their_systems text[], their_codes text[]) RETURNS void LANGUAGE sql AS $$
INSERT INTO inbox.unmapped AS u (operator, system, code, messages, first, last)
SELECT DISTINCT m.operator, CASE WHEN fits THEN s ELSE '' END, CASE WHEN fits THEN c ELSE '' END, 1, m.received, m.received
FROM inbox.message AS m
CROSS JOIN unnest(their_systems, their_codes) AS sent (s, c)
CROSS JOIN LATERAL (SELECT
    EXISTS (SELECT FROM inbox.unmapped AS k WHERE k.operator = m.operator AND k.system = s AND k.code = c)
    OR (SELECT count(*) FROM inbox.unmapped AS k WHERE k.operator = m.operator) < 10000 AS fits) AS cap
WHERE m.id = wanted
ORDER BY 2, 3
ON CONFLICT (operator, system, code) DO UPDATE SET messages = u.messages + 1, last = greatest(u.last, excluded.last)
$$;
