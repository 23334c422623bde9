//! What the stories, benchmarks and soaks share: real processes, their faults, and independent eyes.
//!
//! * [`programs`]: the built binaries; [`collector`], [`agent`]: those programs as processes
//! * [`api`]: the collector's HTTP side; [`viewer`]: its live `records`, every frame checked
//! * [`console`], [`sink`]: either end of `/ws/deployment/…` in a few lines, to say or take exactly
//!   what a story wants
//! * [`proxy`]: a link that can be cut, stalled, slowed; [`pty`]: a terminal that is not the agent's
//! * [`feed`]: a command whose output the test itself writes; [`faults`]: the fault run of the
//!   stories and the soak
//! * [`spool`]: reads what an agent keeps on disk; [`powerloss`]: the disk after a power cut
//! * [`desktop`]: a screen, a session bus and the app's page, driven and watched
//! * [`spools`]: consoles without a terminal: their spools and how they are delivered
//! * [`measure`]: figures; [`printing`], [`stamped`]: consoles whose lines tell when they were printed,
//!   and who follows them
//! * [`roots`]: other machines: roots of their own in network namespaces of their own
//! * [`attack`]: many who mean no good, and what the honest notice; [`report`]: the table of figures
//! * [`wait`], [`dice`]: time and chance
//!
//! Everything here fails with an error that says what was waited for; nothing sleeps and hopes.

pub mod agent;
pub mod api;
pub mod attack;
pub mod collector;
pub mod console;
pub mod desktop;
pub mod dice;
pub mod faults;
pub mod feed;
pub mod measure;
pub mod powerloss;
pub mod printing;
pub mod programs;
pub mod proxy;
pub mod pty;
pub mod report;
pub mod roots;
pub mod sink;
pub mod spool;
pub mod spools;
pub mod stamped;
pub mod steady;
pub mod viewer;
pub mod wait;

pub use agent::{Agent, Call, Process};
pub use collector::Collector;
pub use wait::eventually;
