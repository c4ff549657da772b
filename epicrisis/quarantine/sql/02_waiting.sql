-- The same message waits once. What was settled stays as it is: refused again, it waits anew in a row of its own.
CREATE UNIQUE INDEX message_waiting ON quarantine.message (same) WHERE state = 'waiting';
-- How much of an operator's waits, without looking at the rows.
CREATE INDEX message_of_operator ON quarantine.message (operator) INCLUDE (bytes) WHERE state = 'waiting';
-- From a message, thus from an event, back to what was refused.
CREATE INDEX message_came_of ON quarantine.message (message) WHERE message IS NOT NULL;
