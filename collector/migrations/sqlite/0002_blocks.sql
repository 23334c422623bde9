-- The log in blocks. What a former version stored in `frame` is packed when the log is opened; the table stays,
-- empty, since a half-packed one must be found again.

-- What was in the tail joins the sealed frames: all of it is packed anew.
insert or ignore into frame (stream, first_seq, last_seq, first_row, rows, first_byte, bytes, errors, warnings, received_at,
    state_before, payload)
select stream, first_seq, last_seq, first_row, rows, first_byte, bytes, errors, warnings, received_at, state_before, payload
from tail order by stream, first_seq;

drop table tail;
drop table segment;

-- Frames that are not in a block yet, in the order of their arrival: a commit writes them side by side. `goes_on`, `open_row`: a
-- row is open before it, and behind it. `notes` is what folding found out about rows (see `log::notes`).
create table tail (
    id           integer primary key,
    stream       integer not null,
    first_seq    integer not null,
    last_seq     integer not null,
    first_row    integer not null,
    rows_count   integer not null,
    first_byte   integer not null,
    bytes        integer not null,
    first_at     integer not null,
    last_at      integer not null,
    received_at  integer not null,
    goes_on      integer not null,
    open_row     integer not null,
    state_before blob,
    notes        blob    not null,
    payload      blob    not null
) strict;

-- A stretch of a stream, packed: where it stands, and its parts (see `log::block`). `state_before` restores the row deriver
-- in front of it; where it is null the nearest block before that has one is the place to start from.
create table block (
    id         integer primary key,
    stream     integer not null,
    first_seq  integer not null,
    last_seq   integer not null,
    first_row  integer not null,
    rows_count integer not null,
    first_byte integer not null,
    bytes      integer not null,
    first_at   integer not null,
    last_at    integer not null,
    errors     integer not null,
    warnings   integer not null,
    levels     integer not null,
    kinds      integer not null,
    stored     integer not null
) strict;

create table block_part (
    block_id     integer primary key,
    state_before blob,
    rows_part    blob not null,
    records_part blob not null,
    text_part    blob not null
) strict;

create index block_stream on block (stream, first_seq);

-- Filters of blocks that are not sliced yet, and the slices of the others: see `log::filter`.
create table block_filter (
    block_id integer primary key,
    bits     blob not null
) strict;

create table filter_group (
    id     integer primary key,
    blocks blob not null
) strict;

create table filter_slice (
    chunk    integer not null,
    group_id integer not null,
    bits     blob    not null,
    primary key (chunk, group_id)
) strict, without rowid;

-- Who looks for runs that changed.
create index deployment_updated on deployment (updated_at);
