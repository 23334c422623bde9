//! The console side of Deckport.
//!
//! `deckport-agent wrap` runs any command under a PTY, keeps every byte of it in a durable [`spool`]
//! and streams it to a collector. At run time it is three processes of this one program:
//!
//! * the [`recorder`] (the process the operator started) owns the PTY and the spool and never touches
//!   the network, so that no fault of the network can hurt an installation;
//! * the [`stage`] leads the command's terminal session, as a shell would, so that the command's
//!   background processes and job control behave as they do without us;
//! * the [`uplink`] reads the spool and talks to the collector. It may die, hang or be replaced.
//!
//! The library exists so that tests and benchmarks can use the parts; it promises nothing to others.

pub mod ask;
mod checkpoints;
pub mod checkup;
pub mod cli;
pub mod clock;
pub mod context;
pub mod control;
pub mod deploy;
pub mod disk;
pub mod enrol;
pub mod flush;
pub mod identity;
pub mod mask;
pub mod pieces;
pub mod recorder;
pub mod serve;
pub mod service;
pub mod simulate;
pub mod spool;
pub mod stage;
pub mod state;
pub mod uplink;
