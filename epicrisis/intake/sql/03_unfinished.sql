-- The recovery loop looks for what is unfinished: normally nothing.
CREATE INDEX message_unfinished ON inbox.message (received) WHERE state = 'received';
