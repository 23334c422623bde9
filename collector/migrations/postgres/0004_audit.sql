-- Who did what: a chain of entries (see `audit`), of which none is ever changed or taken out, and the signed points of it.

create table audit (
    position        bigint not null primary key,
    at              bigint not null,
    organisation_id text    not null,
    venue_id        text    not null,
    -- JSON: the protocol's actor, or a stranger
    actor           text    not null,
    address         text,
    action          text    not null,
    subject_kind    text,
    subject_id      text,
    detail          text    not null,
    -- done, denied, failed
    outcome         text    not null,
    hash            bytea   not null
);

create index audit_action on audit (action, position);
create index audit_subject on audit (subject_id, position);

create table audit_checkpoint (
    position  bigint not null primary key,
    hash      bytea   not null,
    at        bigint not null,
    signature bytea   not null
);
