-- Operators whom a provider of logins vouches for.

-- How an admin says that a provider knows them: an e-mail address, or its own name for them; null: by the login, if that is an address.
alter table operator add column identity text;

-- As whom a provider knew them when they first came by its word: its own name for them, which stays theirs.
create table operator_identity (
    issuer      text   not null,
    subject     text   not null,
    operator_id text   not null,
    created_at  bigint not null,
    primary key (issuer, subject),
    unique (issuer, operator_id)
);
