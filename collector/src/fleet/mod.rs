//! Consoles: who they are, how they do, and when they were last heard.
//!
//! A console that is not enrolled is whoever its deployments say it is.

pub mod link;

use crate::store::{Row, Table};
use deckport_protocol::{ConsoleId, Tenant};

const CONSOLE: Table = Table {
    insert: "insert into console (id, organisation_id, venue_id, name, hardware, first_seen_at, \
             last_seen_at)",
    columns: 7,
    conflict: "on conflict (id) do update set name = excluded.name, \
               hardware = coalesce(excluded.hardware, console.hardware), \
               last_seen_at = excluded.last_seen_at \
               where console.organisation_id = excluded.organisation_id \
               and console.venue_id = excluded.venue_id",
    last_wins: true,
};

static SEEN: Table = CONSOLE;

static MENTIONED: Table = Table { conflict: "on conflict (id) do nothing", ..CONSOLE };

static JOINED: Table = Table {
    conflict: "on conflict (id) do update set name = excluded.name, \
               organisation_id = excluded.organisation_id, venue_id = excluded.venue_id, \
               last_seen_at = excluded.last_seen_at",
    ..CONSOLE
};

/// What is written when a console is added: it belongs to `tenant` from now on.
pub fn joined(tenant: Tenant, console: ConsoleId, name: &str, now_us: i64) -> Row {
    Row { table: &JOINED, ..seen(tenant, console, name, None, now_us) }
}

/// The same of a run that was taken in from a file: who wrote that says nothing of a console that is known.
pub fn mentioned(seen: Row) -> Row {
    Row { table: &MENTIONED, ..seen }
}

/// What is written when a console describes itself. Of one that belongs elsewhere nothing is.
pub fn seen(
    tenant: Tenant,
    console: ConsoleId,
    name: &str,
    hardware: Option<&str>,
    now_us: i64,
) -> Row {
    Row {
        table: &SEEN,
        values: vec![
            console.to_string().into(),
            tenant.organisation_id.to_string().into(),
            tenant.venue_id.to_string().into(),
            name.into(),
            hardware.into(),
            now_us.into(),
            now_us.into(),
        ],
    }
}
