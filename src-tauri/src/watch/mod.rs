//! Watching while the window is closed: what the tray shows and what the operator is told.
//!
//! * [`fleet`]: the little that the shell reads of a deployment, and the table of them.
//! * [`policy`]: pure. Facts and time in, notices to show or withdraw out.
//! * [`text`]: the words of a notice.
//! * [`outlook`]: pure. Fleet, connections and pause in, what the tray shows out.
//! * [`follow`]: one live `fleet` subscription per connection, over the same seam that the interface uses.
//! * [`desk`]: the one task that owns fleet and policy and hands results to tray and notifications.

pub(crate) mod desk;
pub(crate) mod fleet;
pub(crate) mod follow;
pub(crate) mod outlook;
pub(crate) mod policy;
pub(crate) mod text;
