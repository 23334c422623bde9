-- What the log of many runs says together, searches that are kept, and runs whose log was given back.

-- Lines that taught the templates of failing lines something, in order: replayed, they come to the same templates.
create table lesson (
    position integer primary key,
    version  integer not null,
    line     text    not null
) strict;

-- A failure that is recognised again. `title` is the failing line's template when it was seen last.
create table signature (
    id              text    not null,
    organisation_id text    not null,
    version         integer not null,
    title           text    not null,
    primary key (organisation_id, id)
) strict, without rowid;

-- A run that failed so.
create table signature_run (
    deployment_id   text    not null primary key,
    organisation_id text    not null,
    signature_id    text    not null,
    at              integer not null,
    row             integer
) strict, without rowid;

create index signature_run_of on signature_run (organisation_id, signature_id, at desc);

create table saved_search (
    id              text    not null primary key,
    organisation_id text    not null,
    name            text    not null,
    query           text    not null,
    alert           integer not null,
    created_at      integer not null,
    updated_at      integer not null
) strict, without rowid;

-- When the log of a run was given back; what it was numbered and chained up to stays, so that nothing comes twice.
alter table deployment add column retired_at integer;
