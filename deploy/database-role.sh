#!/bin/bash
# Run once by PostgreSQL's image, when the volume is new: the service's role, which owns one database and nothing else.
# The superuser keeps no password, so that it can be reached through the socket in the database's own container alone.
set -euo pipefail
psql --username postgres --no-psqlrc --set ON_ERROR_STOP=1 --set password="$(< "${POSTGRES_PASSWORD_FILE}")" <<'SQL'
CREATE ROLE idv LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
CREATE DATABASE idv OWNER idv ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE idv, postgres, template1 FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
SQL
