-- Who is let in: consoles with certificates, and the codes that they join with.

create table enrolled_console (
    console_id      text    not null primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    template        text    not null,
    -- enrolled, revoked, locked
    standing        text    not null,
    enrolled_at     bigint  not null,
    changed_at      bigint  not null
);

-- Certificates made for them, the newest with the highest number.
create table console_certificate (
    serial     text    not null primary key,
    console_id text    not null,
    number     bigint  not null,
    key        text    not null,
    ends_at    bigint  not null,
    used_at    bigint
);

create index console_certificate_of on console_certificate (console_id, number);

create table join_token (
    id              text    not null primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    template        text    not null,
    hash            text    not null,
    uses            bigint  not null,
    most_uses       bigint  not null,
    created_at      bigint  not null,
    expires_at      bigint  not null,
    revoked_at      bigint
);
