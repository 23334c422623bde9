-- See the file of the same name for SQLite.

alter table grant_of_access add column proved_at bigint;
