-- When whoever has a session last showed that it is they who sit there.

alter table grant_of_access add column proved_at integer;
