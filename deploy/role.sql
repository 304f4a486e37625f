-- The service's role, run once by the image of Postgres when its volume is empty: it owns its database and nothing
-- else. The superuser then has no password, so that it signs in only over the socket inside the container.
\set password `cat /run/secrets/postgres_password`
CREATE ROLE rankloop LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
ALTER DATABASE rankloop OWNER TO rankloop;
ALTER ROLE postgres PASSWORD NULL;
