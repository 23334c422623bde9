//! Links into the app: `deckport://deployment/ID?seq=N` (or `?row=N`), `deckport://live`, `deckport://fleet`, `deckport://settings`,
//! `deckport://connections`, `deckport://operators`, `deckport://history?q=QUERY`, `deckport://compare/ID?with=ID`,
//! `deckport://together?run=ID&run=ID&view=start`, `deckport://signatures`, `deckport://signatures/ID`, and
//! `deckport://connect?to=ADDRESS` for a collector elsewhere.
//!
//! A link may come from anywhere (a web page, a chat, another program's command line). So it is read into a closed
//! set of places, and the route that reaches the webview is written by us, never copied from the link. What is searched
//! for may hold any sign: it is encoded anew, and reaches the webview as a search only.

use std::str::FromStr;

use deckport_protocol::Address;
use tauri::Url;

/// A place in the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    Live,
    /// All consoles.
    Fleet,
    /// The collectors that this app is connected to.
    Connections,
    /// Who may log in.
    Operators,
    Settings,
    /// One deployment; its log opens at a line if the link says one.
    Deployment {
        id: String,
        line: Option<Line>,
    },
    /// The search over all logs; empty before anything is searched for.
    History {
        query: String,
    },
    /// A run beside another; beside the last good one if the link names none.
    Compare {
        id: String,
        with: Option<String>,
    },
    /// Logs next to each other.
    Together {
        runs: Vec<String>,
        view: View,
    },
    /// Failures that come again, or one of them.
    Signatures {
        id: Option<String>,
    },
    /// A collector elsewhere that may be added; nothing is added before somebody compared its key.
    Connect {
        to: Address,
    },
}

/// A line of a log: by the record it begins in, or by its number from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line {
    Seq(u64),
    Row(u64),
}

/// How logs go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    Time,
    Start,
    Free,
    Merged,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("not a link")]
    NotALink,
    #[error("not a deckport:// link")]
    OtherScheme,
    #[error("the link names no place of this app")]
    UnknownPlace,
    #[error("the link's id is not one")]
    BadId,
    #[error("the link's address is not one of a collector")]
    BadAddress,
    #[error("what the link searches for is too long")]
    LongQuery,
}

/// Ids are UUIDs; anything longer or with other characters is no id of ours.
const LONGEST_ID: usize = 64;
/// In bytes; nobody types more.
const LONGEST_QUERY: usize = 2000;
/// More logs do not fit beside each other.
const MOST_RUNS: usize = 4;

impl Link {
    /// The route of the interface, without `#`.
    pub(crate) fn route(&self) -> String {
        match self {
            Link::Live => "/live".to_owned(),
            Link::Fleet => "/fleet".to_owned(),
            Link::Connections => "/connections".to_owned(),
            Link::Operators => "/operators".to_owned(),
            Link::Settings => "/settings".to_owned(),
            Link::Deployment { id, line: Some(Line::Seq(seq)) } => {
                format!("/deployments/{id}?seq={seq}")
            }
            Link::Deployment { id, line: Some(Line::Row(row)) } => {
                format!("/deployments/{id}?row={row}")
            }
            Link::Deployment { id, line: None } => format!("/deployments/{id}"),
            Link::History { query } if query.is_empty() => "/history".to_owned(),
            Link::History { query } => format!("/history?q={}", encoded(query)),
            Link::Compare { id, with: Some(other) } => format!("/compare/{id}?with={other}"),
            Link::Compare { id, with: None } => format!("/compare/{id}?with=last-good"),
            Link::Together { runs, view } => {
                let mut query: Vec<String> = runs.iter().map(|run| format!("run={run}")).collect();
                match view {
                    View::Time => {}
                    View::Start => query.push("view=start".to_owned()),
                    View::Free => query.push("view=free".to_owned()),
                    View::Merged => query.push("view=merged".to_owned()),
                }
                let mark = if query.is_empty() { "" } else { "?" };
                format!("/together{mark}{}", query.join("&"))
            }
            Link::Signatures { id: Some(id) } => format!("/signatures/{id}"),
            Link::Signatures { id: None } => "/signatures".to_owned(),
            Link::Connect { to } => format!("/connections?add={}", encoded(&to.to_string())),
        }
    }
}

/// The route with the connection that it is of, where one is known.
pub(crate) fn on_connection(route: &str, connection: Option<&str>) -> String {
    match connection {
        Some(id) => {
            let mark = if route.contains('?') { '&' } else { '?' };
            format!("{route}{mark}connection={}", encoded(id))
        }
        None => route.to_owned(),
    }
}

/// Every byte that is not a letter, a digit or `-` as `%XX`.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn id(text: &str) -> Result<String, LinkError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() || text.len() > LONGEST_ID || !text.chars().all(plain) {
        return Err(LinkError::BadId);
    }
    Ok(text.to_owned())
}

impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = Url::parse(text).map_err(|_| LinkError::NotALink)?;
        if url.scheme() != "deckport" {
            return Err(LinkError::OtherScheme);
        }
        let place = url.host_str().unwrap_or_default();
        let rest: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
        let value = |wanted: &str| {
            let found = url.query_pairs().find(|(key, _)| key == wanted);
            found.map(|(_, value)| value.into_owned())
        };
        let number = |wanted: &str| value(wanted).and_then(|value| value.parse::<u64>().ok());
        match (place, rest.as_slice()) {
            ("live", []) => Ok(Link::Live),
            ("fleet", []) => Ok(Link::Fleet),
            ("connections", []) => Ok(Link::Connections),
            ("operators", []) => Ok(Link::Operators),
            ("settings", []) => Ok(Link::Settings),
            ("deployment" | "deployments", [run]) => {
                let line = number("seq").map(Line::Seq).or_else(|| number("row").map(Line::Row));
                Ok(Link::Deployment { id: id(run)?, line })
            }
            ("history", []) => {
                let query = value("q").unwrap_or_default();
                if query.len() > LONGEST_QUERY {
                    return Err(LinkError::LongQuery);
                }
                Ok(Link::History { query })
            }
            ("compare", [run]) => {
                let with = value("with").filter(|with| with != "last-good");
                Ok(Link::Compare { id: id(run)?, with: with.as_deref().map(id).transpose()? })
            }
            ("together", []) => {
                let runs = url.query_pairs().filter(|(key, _)| key == "run").take(MOST_RUNS);
                let runs = runs.map(|(_, run)| id(&run)).collect::<Result<_, _>>()?;
                let view = match value("view").as_deref() {
                    Some("start") => View::Start,
                    Some("free") => View::Free,
                    Some("merged") => View::Merged,
                    Some(_) | None => View::Time,
                };
                Ok(Link::Together { runs, view })
            }
            ("signatures", []) => Ok(Link::Signatures { id: None }),
            ("signatures", [one]) => Ok(Link::Signatures { id: Some(id(one)?) }),
            ("connect", []) => {
                let to = value("to").unwrap_or_default();
                Ok(Link::Connect { to: to.parse().map_err(|_| LinkError::BadAddress)? })
            }
            _ => Err(LinkError::UnknownPlace),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_become_routes() {
        let route = |text: &str| text.parse::<Link>().map(|link| link.route());
        assert_eq!(route("deckport://live").unwrap(), "/live");
        assert_eq!(route("deckport://settings/").unwrap(), "/settings");
        assert_eq!(route("deckport://fleet").unwrap(), "/fleet");
        assert_eq!(route("deckport://connections").unwrap(), "/connections");
        assert_eq!(route("deckport://operators").unwrap(), "/operators");
        let id = "0198f0aa-0000-7000-8000-000000000001";
        assert_eq!(
            route(&format!("deckport://deployment/{id}?seq=42")).unwrap(),
            format!("/deployments/{id}?seq=42")
        );
        assert_eq!(
            route(&format!("deckport://deployment/{id}?seq=x")).unwrap(),
            format!("/deployments/{id}")
        );
        assert_eq!(
            route(&format!("deckport://deployment/{id}?row=7")).unwrap(),
            format!("/deployments/{id}?row=7")
        );
    }

    #[test]
    fn a_route_says_its_connection() {
        assert_eq!(on_connection("/live", None), "/live");
        assert_eq!(on_connection("/live", Some("r1")), "/live?connection=r1");
        assert_eq!(on_connection("/d/1?seq=2", Some("r1&x")), "/d/1?seq=2&connection=r1%26x");
    }

    #[test]
    fn places_of_history_become_routes() {
        for (link, expected) in [
            ("deckport://history", "/history"),
            ("deckport://history?q=", "/history"),
            ("deckport://history?q=disk%20level%3Aerror", "/history?q=disk%20level%3Aerror"),
            ("deckport://history?q=disk+full&x=y", "/history?q=disk%20full"),
            ("deckport://compare/a1", "/compare/a1?with=last-good"),
            ("deckport://compare/a1?with=last-good", "/compare/a1?with=last-good"),
            ("deckport://compare/a1?with=b2", "/compare/a1?with=b2"),
            ("deckport://together", "/together"),
            ("deckport://together?run=a&run=b&view=start", "/together?run=a&run=b&view=start"),
            ("deckport://together?view=x&run=a", "/together?run=a"),
            (
                "deckport://together?run=a&run=b&run=c&run=d&run=e",
                "/together?run=a&run=b&run=c&run=d",
            ),
            ("deckport://signatures", "/signatures"),
            ("deckport://signatures/94d8", "/signatures/94d8"),
            (
                "deckport://connect?to=https%3A%2F%2Fhq%3A7443%23sha256%2F%2F47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D",
                "/connections?add=https%3A%2F%2Fhq%3A7443%23sha256%2F%2F47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D",
            ),
        ] {
            assert_eq!(link.parse::<Link>().unwrap().route(), expected, "{link}");
        }
    }

    #[test]
    fn a_search_holds_any_sign_and_stays_a_search() {
        let hostile = "deckport://history?q=%27%22%3Cimg%3E%23%2Flive%3Fx%26y%5C%0A%C3%A9";
        assert_eq!(
            hostile.parse::<Link>().unwrap().route(),
            "/history?q=%27%22%3Cimg%3E%23%2Flive%3Fx%26y%5C%0A%C3%A9"
        );
        let long = format!("deckport://history?q={}", "a".repeat(2001));
        assert_eq!(long.parse::<Link>(), Err(LinkError::LongQuery));
    }

    #[test]
    fn nothing_of_a_hostile_link_reaches_the_route() {
        for (text, expected) in [
            ("https://deployment/1", LinkError::OtherScheme),
            ("javascript:alert(1)", LinkError::OtherScheme),
            ("deployment/1", LinkError::NotALink),
            ("deckport://deployment/a%22b", LinkError::BadId),
            ("deckport://deployment/..%2Fsettings", LinkError::BadId),
            ("deckport://deployment/a/b", LinkError::UnknownPlace),
            ("deckport://elsewhere", LinkError::UnknownPlace),
            ("deckport://connect", LinkError::BadAddress),
            ("deckport://connect?to=hq", LinkError::BadAddress),
            ("deckport://connect?to=https%3A%2F%2Fhq%2F%22x", LinkError::BadAddress),
            ("deckport://history/more", LinkError::UnknownPlace),
            ("deckport://compare", LinkError::UnknownPlace),
            ("deckport://compare/a?with=b%26c", LinkError::BadId),
            ("deckport://compare/a?with=", LinkError::BadId),
            ("deckport://together?run=a&run=%23b", LinkError::BadId),
            ("deckport://signatures/a%3Fb", LinkError::BadId),
        ] {
            assert_eq!(text.parse::<Link>().unwrap_err(), expected, "{text}");
        }
        assert_eq!(
            format!("deckport://deployment/{}", "a".repeat(65)).parse::<Link>(),
            Err(LinkError::BadId)
        );
    }
}
