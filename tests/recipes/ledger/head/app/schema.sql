-- Every step runs once, whatever version the database comes from; two apps that start at once take turns.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
BEGIN;
SELECT pg_advisory_xact_lock(15) \g /dev/null

CREATE TABLE IF NOT EXISTS schema_version (
    version integer PRIMARY KEY,
    applied timestamptz NOT NULL DEFAULT now()
);

SELECT NOT EXISTS (SELECT FROM schema_version WHERE version = 1) AS todo \gset
\if :todo
CREATE TABLE entries (
    id serial PRIMARY KEY,
    cents integer NOT NULL,
    purpose text NOT NULL CHECK (purpose <> ''),
    booked timestamptz NOT NULL DEFAULT now()
);
INSERT INTO schema_version (version) VALUES (1);
\endif

SELECT NOT EXISTS (SELECT FROM schema_version WHERE version = 2) AS todo \gset
\if :todo
ALTER TABLE entries ADD COLUMN currency char(3) NOT NULL DEFAULT 'EUR';
CREATE TABLE rates (
    currency char(3) PRIMARY KEY,
    euro numeric NOT NULL
);
INSERT INTO rates VALUES ('EUR', 1);
INSERT INTO schema_version (version) VALUES (2);
\endif

COMMIT;
