-- A message that is done, or was refused after a part of it was appended, stays for ever.
ALTER TABLE inbox.message ENABLE ROW LEVEL SECURITY;
CREATE POLICY reads ON inbox.message FOR SELECT USING (true);
CREATE POLICY records ON inbox.message FOR INSERT WITH CHECK (true);
CREATE POLICY finishes ON inbox.message FOR UPDATE USING (true) WITH CHECK (true);
CREATE POLICY forgets ON inbox.message FOR DELETE USING (state = 'received' AND result IS NULL);
