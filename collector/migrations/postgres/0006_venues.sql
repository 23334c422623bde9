-- Organisations and their venues. The first of each is there without a row, until somebody gives it a name.

create table organisation (
    id   text not null primary key,
    name text not null
);

create table venue (
    id              text not null primary key,
    organisation_id text not null,
    name            text not null,
    unique (organisation_id, name)
);

-- Empty: for all of the organisation's venues.
alter table saved_search add column venue_id text not null default '';

create index deployment_venue on deployment (organisation_id, venue_id, started_at desc, id desc);
