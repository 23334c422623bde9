-- See the file of the same name for SQLite.

alter table block add column takes_over bigint not null default 0;
