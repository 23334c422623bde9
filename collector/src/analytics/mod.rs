//! What the log of many runs says together: how a failing line is recognised again, and where two runs part.
//!
//! Most of it is pure: text in, facts out. [`runs`] and [`signatures`] read logs and keep what comes out. The bottom is
//! [`mask`], which takes out of a line what differs each time anyhow, and [`status`], which knows the words
//! that must never be taken out. [`templates`] groups failing
//! lines on top of the Drain library, [`compare`] finds where two runs part, [`grouping`] measures the grouping against labelled logs.

pub mod compare;
pub mod grouping;
pub mod mask;
pub mod runs;
pub mod signatures;
pub mod status;
pub mod templates;
