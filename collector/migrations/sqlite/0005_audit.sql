-- Who did what: a chain of entries (see `audit`), of which none is ever changed or taken out, and the signed points of it.

create table audit (
    position        integer not null primary key,
    at              integer not null,
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
    hash            blob    not null
) strict;

create index audit_action on audit (action, position);
create index audit_subject on audit (subject_id, position);

create table audit_checkpoint (
    position  integer not null primary key,
    hash      blob    not null,
    at        integer not null,
    signature blob    not null
) strict;
