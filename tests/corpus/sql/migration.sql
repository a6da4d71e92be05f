-- Votes of a poll.
BEGIN;
CREATE TABLE votes (id bigint PRIMARY KEY, "odd;name" text DEFAULT 'a;b''c' /* ; /* nested; */ */);
INSERT INTO votes VALUES (1, E'it\'s; one'), (2, $$a;b$$), (3, $x$ ; $$ ; $x$), (4, U&'d\0061;t');
CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END;
CREATE RULE r AS ON INSERT TO votes DO (SELECT 1; SELECT 2);
CREATE INDEX CONCURRENTLY votes_poll ON votes (poll);
COMMIT;
