-- An operator sees its own: whoever is not bound to one sees nothing. The auditor's own policy is made with its rights.
ALTER TABLE quarantine.message ENABLE ROW LEVEL SECURITY;
ALTER TABLE quarantine.message FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON quarantine.message
USING (operator = current_setting('epicrisis.operator', true))
WITH CHECK (operator = current_setting('epicrisis.operator', true));
