-- Who is let in: consoles with certificates, and the codes that they join with.

create table enrolled_console (
    console_id      text    not null primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    template        text    not null,
    -- enrolled, revoked, locked
    standing        text    not null,
    enrolled_at     integer not null,
    changed_at      integer not null
) strict, without rowid;

-- Certificates made for them, the newest with the highest number.
create table console_certificate (
    serial     text    not null primary key,
    console_id text    not null,
    number     integer not null,
    key        text    not null,
    ends_at    integer not null,
    used_at    integer
) strict, without rowid;

create index console_certificate_of on console_certificate (console_id, number);

create table join_token (
    id              text    not null primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    template        text    not null,
    hash            text    not null,
    uses            integer not null,
    most_uses       integer not null,
    created_at      integer not null,
    expires_at      integer not null,
    revoked_at      integer
) strict, without rowid;
