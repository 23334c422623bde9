-- People who use the collector, how they are let in, and what was handed to programs of theirs.

create table operator (
    id              text    not null primary key,
    organisation_id text    not null,
    login           text    not null,
    name            text    not null,
    -- A PHC string, argon2id.
    password        text    not null,
    -- In base 32; null: no second factor.
    totp            text,
    -- The step of the last code that was accepted: each is good once.
    totp_step       integer not null,
    created_at      integer not null,
    disabled_at     integer,
    unique (organisation_id, login)
) strict, without rowid;

-- Roles, each in one venue or (venue_id is empty) in all of the organisation's.
create table operator_role (
    operator_id text not null,
    venue_id    text not null,
    role        text not null,
    primary key (operator_id, venue_id)
) strict, without rowid;

-- What somebody is known by after logging in (kind `session`), or what a program was given (kind `token`). Only hashes are kept.
create table grant_of_access (
    id          text    not null primary key,
    operator_id text    not null,
    kind        text    not null,
    hash        text    not null unique,
    name        text    not null,
    -- The most that it allows; what the operator may do is asked at each use as well.
    role        text    not null,
    created_at  integer not null,
    seen_at     integer not null,
    expires_at  integer not null
) strict, without rowid;

create index grant_of_access_of on grant_of_access (operator_id);
