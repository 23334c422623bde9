//! Links into the app: `deckport://deployment/ID?seq=N`, `deckport://live`, `deckport://settings`.
//!
//! A link may come from anywhere (a web page, a chat, another program's command line). So it is read into a closed
//! set of places, and the route that reaches the webview is written by us, never copied from the link.

use std::str::FromStr;

use tauri::Url;

/// A place in the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    Live,
    Settings,
    /// One deployment; with `seq` its log opens at that record.
    Deployment {
        id: String,
        seq: Option<u64>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("not a link")]
    NotALink,
    #[error("not a deckport:// link")]
    OtherScheme,
    #[error("the link names no place of this app")]
    UnknownPlace,
    #[error("the link's deployment id is not one")]
    BadId,
}

/// Ids are UUIDs; anything longer or with other characters is no id of ours.
const LONGEST_ID: usize = 64;

impl Link {
    /// The route of the interface, without `#`.
    pub(crate) fn route(&self) -> String {
        match self {
            Link::Live => "/live".to_owned(),
            Link::Settings => "/settings".to_owned(),
            Link::Deployment { id, seq: Some(seq) } => format!("/deployments/{id}?seq={seq}"),
            Link::Deployment { id, seq: None } => format!("/deployments/{id}"),
        }
    }
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
        match (place, rest.as_slice()) {
            ("live", []) => Ok(Link::Live),
            ("settings", []) => Ok(Link::Settings),
            ("deployment" | "deployments", [id]) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
                if id.len() > LONGEST_ID || !id.chars().all(plain) {
                    return Err(LinkError::BadId);
                }
                let seq = url
                    .query_pairs()
                    .find(|(key, _)| key == "seq")
                    .and_then(|(_, seq)| seq.parse().ok());
                Ok(Link::Deployment { id: (*id).to_owned(), seq })
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
        let id = "0198f0aa-0000-7000-8000-000000000001";
        assert_eq!(
            route(&format!("deckport://deployment/{id}?seq=42")).unwrap(),
            format!("/deployments/{id}?seq=42")
        );
        assert_eq!(
            route(&format!("deckport://deployment/{id}?seq=x")).unwrap(),
            format!("/deployments/{id}")
        );
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
        ] {
            assert_eq!(text.parse::<Link>().unwrap_err(), expected, "{text}");
        }
        assert_eq!(
            format!("deckport://deployment/{}", "a".repeat(65)).parse::<Link>(),
            Err(LinkError::BadId)
        );
    }
}
