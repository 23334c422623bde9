//! The command line of the app.
//!
//! Every flag has an environment variable or a preference beside it, so that a desktop entry, an autostart entry and
//! a test can all say the same things. A second start hands its arguments to the first one, which reads them with
//! the same parser ([`Args::forwarded`]): a link opens there, and without `--minimized` the window is raised.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

use crate::link::Link;

/// Deckport Control Center: watch and run the installations on a venue's consoles
#[derive(Debug, Clone, Parser)]
#[command(name = "deckport-control-center", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Keep everything of this instance in DIR (preferences, log, collector's data). A second DIR is a second instance
    #[arg(long, value_name = "DIR", env = "DECKPORT_DATA_DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Where consoles reach the collector inside the app, by TLS (0.0.0.0:7443: on every network of this machine), whatever the
    /// Settings say [default: as chosen there, and before that 127.0.0.1:7443]
    #[arg(long, value_name = "ADDR", env = "DECKPORT_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,

    /// Neither make the collector known on the network nor look for others there (multicast DNS)
    #[arg(long)]
    pub(crate) no_multicast: bool,

    /// Speak plain HTTP on that address too; on loopback only
    #[arg(long)]
    pub(crate) plain_http: bool,

    /// Start in the tray, without opening the window
    #[arg(long)]
    pub(crate) minimized: bool,

    /// What to open: deckport://deployment/ID?seq=N
    #[arg(value_name = "LINK")]
    pub(crate) link: Option<Link>,
}

impl Args {
    /// Reads the arguments that a second start handed over. Whatever cannot be read only raises the window.
    pub(crate) fn forwarded(arguments: &[String]) -> Option<Args> {
        Args::try_parse_from(arguments)
            .inspect_err(
                |error| tracing::warn!(%error, "the second start's arguments cannot be read"),
            )
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_an_argument_like_any_other() {
        let arguments = ["app", "--minimized", "deckport://deployment/d1?seq=7"].map(String::from);
        let args = Args::forwarded(&arguments).unwrap();
        assert!(args.minimized);
        assert_eq!(args.link.unwrap().route(), "/deployments/d1?seq=7");
    }

    #[test]
    fn nonsense_from_a_second_start_is_refused_without_leaving() {
        assert!(Args::forwarded(&["app".into(), "--no-such-flag".into()]).is_none());
        assert!(Args::forwarded(&["app".into(), "https://example.com".into()]).is_none());
    }
}
