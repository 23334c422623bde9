//! Stories across real processes: agent, collector, their links, disks and terminals.
//!
//! Each module is one subject of the acceptance. Tests return errors with what was waited for.

mod architecture;
mod attack;
mod byte_exact;
mod discovery;
mod failing_line;
mod fixture;
mod installers;
mod joining;
mod nothing_lost;
mod power_loss;
mod structure;
mod terminal;
mod token;
