-- Streams as received, and what is known of each deployment. Times are integer microseconds since the
-- Unix epoch by the collector's clock unless the name says otherwise; ids are text UUIDs.

create table meta (
    key   text primary key,
    value text not null
) strict;

create table console (
    id              text primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    name            text    not null,
    hardware        text,
    first_seen_at   integer not null,
    last_seen_at    integer not null
) strict;

-- One stream a deployment. `stream` is its short key in the tables that hold many rows of it.
create table stream (
    stream          integer primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    deployment_id   text    not null unique,
    stream_id       text    not null,
    incarnation     integer not null,
    created_at      integer not null,
    quarantined_at  integer,
    quarantined_why text
) strict;

-- One row a received frame. `first_row` counts the rows that began before the frame, `rows`
-- those that began in it. `state_before` restores the row deriver in front of the frame; where it is
-- null the nearest frame before that has one is the place to start from.
create table frame (
    stream       integer not null,
    first_seq    integer not null,
    last_seq     integer not null,
    first_row    integer not null,
    rows         integer not null,
    first_byte   integer not null,
    bytes        integer not null,
    errors       integer not null,
    warnings     integer not null,
    received_at  integer not null,
    state_before blob,
    payload      blob    not null,
    primary key (stream, first_seq)
) strict, without rowid;

-- Frames that are not in `frame` yet, in the order of their arrival: a commit writes them side by side. Moved later, many
-- of one stream at once.
create table tail (
    id           integer primary key,
    stream       integer not null,
    first_seq    integer not null,
    last_seq     integer not null,
    first_row    integer not null,
    rows         integer not null,
    first_byte   integer not null,
    bytes        integer not null,
    errors       integer not null,
    warnings     integer not null,
    received_at  integer not null,
    state_before blob,
    payload      blob    not null
) strict;

-- Every few dozen frames of a stream: where a row stands, without reading every frame.
create table segment (
    stream    integer not null,
    first_row integer not null,
    first_seq integer not null,
    errors    integer not null,
    warnings  integer not null,
    primary key (stream, first_row, first_seq)
) strict, without rowid;

create table event (
    stream integer not null,
    seq    integer not null,
    at     integer not null,
    row    integer not null,
    body   text    not null,
    primary key (stream, seq)
) strict, without rowid;

-- `document` is the deployment as viewers see it and `resume` what folding its stream goes on from,
-- both after the record `applied_seq`; frames behind it are folded again when the collector starts.
create table deployment (
    id              text primary key,
    organisation_id text    not null,
    venue_id        text    not null,
    stream          integer not null unique,
    console_id      text    not null,
    name            text    not null,
    template        text    not null,
    state           text    not null,
    started_at      integer not null,
    finished_at     integer,
    updated_at      integer not null,
    applied_seq     integer not null,
    document        text    not null,
    resume          blob    not null
) strict;

create index deployment_newest on deployment (started_at desc, id desc);
create index deployment_state on deployment (state, started_at desc);

-- How long each phase of each deployment that succeeded took; what estimates are made from.
create table phase_history (
    deployment_id   text    not null,
    organisation_id text    not null,
    venue_id        text    not null,
    template        text    not null,
    position        integer not null,
    name            text    not null,
    duration_us     integer not null,
    finished_at     integer not null,
    primary key (deployment_id, position)
) strict, without rowid;

create index phase_history_template on phase_history (template, finished_at desc);
