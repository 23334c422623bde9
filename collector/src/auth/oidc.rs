//! A provider of logins (OpenID Connect): where it sends people, and who it says that somebody is.
//!
//! The authorization code flow with PKCE. What the provider is and which keys it signs with is read when somebody logs in, kept for an
//! hour, and read anew when a token is signed with a key that is not known: providers change theirs.
//!
//! What must hold: a token counts only for this client, from this issuer, for this login (nonce), in its time, with a signature of a
//! key that the provider publishes; an e-mail address counts only when the provider has verified it; what the provider's own document
//! tells to ask is asked by HTTPS, and not in this machine's networks unless the provider itself is there.

use super::operators::Identity;
use crate::config::{Clock, OidcConfig};
use crate::outgoing::{Outgoing, OutgoingError, Reach, is_private};
use chrono::{DateTime, TimeDelta, Utc};
use deckport_protocol::{ErrorCode, Refusal, Role};
use http_body_util::Full;
use hyper::Uri;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod,
    CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken, CoreRevocationErrorResponse,
    CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AsyncHttpClient, AuthType, AuthorizationCode, ClaimsVerificationError, Client,
    ClientId, ClientSecret, CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IdTokenFields, IssuerUrl, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError,
    Scope, SignatureVerificationError, StandardErrorResponse, StandardTokenResponse,
    TokenResponse as _, UserInfoClaims,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// How long what a provider says of itself is kept.
const FRESH_US: i64 = 3600 * 1_000_000;
/// It is read anew for the sake of a key no more often than this.
const AGAIN_US: i64 = 10 * 1_000_000;
/// Clocks differ.
const SKEW_S: i64 = 60;
/// A token that is given for a login was made for it.
const OLDEST_S: i64 = 600;
/// What is repeated of a provider's words.
const WORDS: usize = 300;

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    #[error("`{0}` is no https address of a provider")]
    Issuer(String),
    #[error("the login provider cannot be asked: {0}")]
    Unreachable(String),
    #[error("the login provider answered: {0}")]
    Said(String),
    #[error("the login provider gave no identity: it is asked for the scope `openid`")]
    NoToken,
    #[error("what the login provider said of you does not count: {0}")]
    Token(String),
    #[error(
        "the login provider says nothing of you in `{claim}` that lets you in here; whoever runs it assigns that"
    )]
    NoRole { claim: String },
}

impl From<OidcError> for Refusal {
    fn from(error: OidcError) -> Self {
        let code = match error {
            OidcError::Unreachable(_) => ErrorCode::UNAVAILABLE,
            OidcError::Issuer(_)
            | OidcError::Said(_)
            | OidcError::NoToken
            | OidcError::Token(_)
            | OidcError::NoRole { .. } => ErrorCode::LOGIN_REFUSED,
        };
        Self::new(code, plain(&error.to_string()))
    }
}

/// All that a token says beside what every token does.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Claims {
    #[serde(flatten)]
    other: serde_json::Map<String, Value>,
}

impl openidconnect::AdditionalClaims for Claims {}

type Fields = IdTokenFields<
    Claims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

type OwnClient = Client<
    Claims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    StandardTokenResponse<Fields, CoreTokenType>,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// What must be known of a login that was begun when it comes back.
#[derive(Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub authorize: String,
    pub state: String,
    pub nonce: Nonce,
    pub verifier: PkceCodeVerifier,
}

/// What a provider said of itself.
#[derive(Clone, Debug)]
struct Known {
    metadata: CoreProviderMetadata,
    read_us: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Provider {
    config: OidcConfig,
    issuer: IssuerUrl,
    outgoing: Outgoing,
    clock: Arc<dyn Clock>,
    known: tokio::sync::Mutex<Option<Known>>,
}

impl Provider {
    pub fn new(
        config: OidcConfig,
        outgoing: Outgoing,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OidcError> {
        let wrong = || OidcError::Issuer(config.issuer.clone());
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|_| wrong())?;
        if issuer.url().scheme() != "https" || issuer.url().host_str().is_none() {
            return Err(wrong());
        }
        Ok(Self { config, issuer, outgoing, clock, known: tokio::sync::Mutex::default() })
    }

    pub fn config(&self) -> &OidcConfig {
        &self.config
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        let host = self.issuer.url().host_str();
        self.config.name.as_deref().or(host).unwrap_or(&self.config.issuer)
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.clock.now_us()).unwrap_or_default()
    }

    async fn asking(&self) -> Asking {
        let issuer = self.issuer.as_str().parse::<Uri>().unwrap_or_default();
        let near = is_private(&issuer).await;
        let told = if near { Reach::Anywhere } else { Reach::Public };
        let host = issuer.host().unwrap_or_default().to_owned();
        Asking { outgoing: self.outgoing.clone(), host, told }
    }

    /// What the provider is. `anew`: what is known is not good enough.
    async fn metadata(&self, anew: bool) -> Result<CoreProviderMetadata, OidcError> {
        // Held while it is read: of many who log in at once one asks.
        let mut known = self.known.lock().await;
        let now = self.clock.now_us();
        if let Some(known) = &*known {
            let age = now.saturating_sub(known.read_us);
            if (0..if anew { AGAIN_US } else { FRESH_US }).contains(&age) {
                return Ok(known.metadata.clone());
            }
        }
        let asking = self.asking().await;
        let read = CoreProviderMetadata::discover_async(self.issuer.clone(), &asking).await;
        let metadata = read.map_err(|error| OidcError::Unreachable(told(&error)))?;
        if metadata.authorization_endpoint().url().scheme() != "https" {
            let text = "its page for logging in is no https address";
            return Err(OidcError::Unreachable(text.to_owned()));
        }
        *known = Some(Known { metadata: metadata.clone(), read_us: now });
        Ok(metadata)
    }

    fn client(
        &self,
        metadata: CoreProviderMetadata,
        redirect: &str,
    ) -> Result<OwnClient, OidcError> {
        let methods = metadata.token_endpoint_auth_methods_supported();
        // Where nothing is said, or both are known, the secret goes into a header.
        let posts = methods.is_some_and(|methods| {
            methods.contains(&CoreClientAuthMethod::ClientSecretPost)
                && !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
        });
        let secret = self.config.client_secret.as_ref();
        let secret = secret.map(|secret| ClientSecret::new(secret.expose().to_owned()));
        let id = ClientId::new(self.config.client_id.clone());
        let redirect = RedirectUrl::new(redirect.to_owned())
            .map_err(|_| OidcError::Token("the address that it leads back to".to_owned()))?;
        let client = Client::from_provider_metadata(metadata, id, secret);
        let client = if posts { client.set_auth_type(AuthType::RequestBody) } else { client };
        Ok(client.set_redirect_uri(redirect))
    }

    /// Begins a login that comes back to `redirect`. `anew`: the provider asks who it is, also whom it knows already.
    pub async fn begin(&self, redirect: &str, anew: bool) -> Result<Begun, OidcError> {
        let client = self.client(self.metadata(false).await?, redirect)?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut request = client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .set_pkce_challenge(challenge);
        for scope in
            ["email", "profile"].into_iter().chain(self.config.scopes.iter().map(String::as_str))
        {
            request = request.add_scope(Scope::new(scope.to_owned()));
        }
        if anew {
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO);
        }
        let (authorize, state, nonce) = request.url();
        Ok(Begun { authorize: authorize.into(), state: state.into_secret(), nonce, verifier })
    }

    /// Who somebody is who came back with `code`. `anew`: when they were sent to show it anew.
    pub async fn identify(
        &self,
        code: String,
        nonce: &Nonce,
        verifier: PkceCodeVerifier,
        redirect: &str,
        anew: Option<i64>,
    ) -> Result<Identity, OidcError> {
        let client = self.client(self.metadata(false).await?, redirect)?;
        let asking = self.asking().await;
        let request = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|_| OidcError::Unreachable("it names no place for tokens".to_owned()))?;
        let tokens = request.set_pkce_verifier(verifier).request_async(&asking).await;
        let tokens = tokens.map_err(|error| match error {
            RequestTokenError::ServerResponse(answer) => OidcError::Said(answer.to_string()),
            RequestTokenError::Request(error) => OidcError::Unreachable(error.to_string()),
            RequestTokenError::Parse(..) | RequestTokenError::Other(_) => OidcError::Said(
                "something that is no answer to the question for a token".to_owned(),
            ),
        })?;
        // A key that is not known may be a new one.
        match self.verify(&client, &tokens, nonce, anew, &asking).await {
            Err(Unverified::Key) => {
                let client = self.client(self.metadata(true).await?, redirect)?;
                let verified = self.verify(&client, &tokens, nonce, anew, &asking).await;
                verified.map_err(|unverified| match unverified {
                    Unverified::Key => {
                        OidcError::Token("it is signed with a key that is not published".to_owned())
                    }
                    Unverified::No(error) => error,
                })
            }
            Err(Unverified::No(error)) => Err(error),
            Ok(identity) => Ok(identity),
        }
    }

    async fn verify(
        &self,
        client: &OwnClient,
        tokens: &StandardTokenResponse<Fields, CoreTokenType>,
        nonce: &Nonce,
        anew: Option<i64>,
        asking: &Asking,
    ) -> Result<Identity, Unverified> {
        let token = tokens.id_token().ok_or(OidcError::NoToken)?;
        let now = self.now();
        let skew = TimeDelta::seconds(SKEW_S);
        // Never one that is made with the client's own secret, whatever the provider's document lists.
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || now - skew)
            .set_issue_time_verifier_fn(move |issued| {
                let oldest = now - TimeDelta::seconds(OLDEST_S) - skew;
                if issued > now + skew {
                    return Err("it is from the future: the clocks differ".to_owned());
                }
                if issued < oldest {
                    Err("it is old: the clocks differ".to_owned())
                } else {
                    Ok(())
                }
            });
        let claims = token.claims(&verifier, nonce).map_err(|error| match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey
                | SignatureVerificationError::CryptoError(_),
            ) => Unverified::Key,
            other => Unverified::No(OidcError::Token(told(&other))),
        })?;
        if let Some(said) = claims.access_token_hash() {
            let wrong = |_| OidcError::Token("it belongs to another access token".to_owned());
            let algorithm = token.signing_alg().map_err(|error| OidcError::Token(told(&error)))?;
            let key = token.signing_key(&verifier);
            let key = key.map_err(|error| OidcError::Token(told(&error)))?;
            let hash = AccessTokenHash::from_token(tokens.access_token(), algorithm, key);
            if hash.map_err(wrong)? != *said {
                return Err(
                    OidcError::Token("it belongs to another access token".to_owned()).into()
                );
            }
        }
        // When the provider itself saw them. Not all say; then whom it was told to ask anew was asked now.
        let seen = claims.auth_time().map(|at| at.timestamp_micros());
        if let (Some(seen), Some(begun)) = (seen, anew)
            && seen < begun - SKEW_S * 1_000_000
        {
            let text = "it let you in without asking anew who you are";
            return Err(OidcError::Token(text.to_owned()).into());
        }
        let proved_at = seen.or_else(|| anew.map(|_| self.clock.now_us()));
        let mut email = claims.email().map(|email| email.as_str().to_owned());
        let mut verified = claims.email_verified();
        let mut name = claims.name().and_then(|name| name.get(None)).map(|name| name.to_string());
        let mut other = Cow::Borrowed(&claims.additional_claims().other);
        let role_claim = self.config.role_claim.as_deref();
        let lacks_role = role_claim.is_some_and(|claim| find(&other, claim).is_none());
        // Many providers keep tokens short, and tell the rest when asked.
        if (email.is_none() || lacks_role) && client.user_info_url().is_some() {
            let subject = Some(claims.subject().clone());
            let request = client.user_info(tokens.access_token().clone(), subject);
            let request = request.map_err(|error| OidcError::Unreachable(told(&error)))?;
            let more: UserInfoClaims<Claims, CoreGenderClaim> = request
                .request_async(asking)
                .await
                .map_err(|error| OidcError::Token(told(&error)))?;
            if email.is_none() {
                email = more.email().map(|email| email.as_str().to_owned());
                verified = more.email_verified();
            }
            name = name.or_else(|| {
                more.name().and_then(|name| name.get(None)).map(|name| name.to_string())
            });
            if lacks_role {
                other = Cow::Owned(more.additional_claims().other.clone());
            }
        }
        let most = match role_claim {
            None => None,
            Some(claim) => {
                let role = self.role(find(&other, claim));
                Some(role.ok_or_else(|| OidcError::NoRole { claim: claim.to_owned() })?)
            }
        };
        Ok(Identity {
            issuer: self.config.issuer.clone(),
            subject: claims.subject().as_str().to_owned(),
            email,
            email_verified: verified == Some(true),
            name,
            most,
            proved_at,
        })
    }

    /// The highest role that a claim's values stand for.
    fn role(&self, claim: Option<&Value>) -> Option<Role> {
        let values: Vec<&str> = match claim? {
            Value::String(value) => value.split_whitespace().chain([value.as_str()]).collect(),
            Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
        };
        values.iter().filter_map(|value| self.config.roles.get(*value).copied()).max()
    }
}

/// With which tokens are signed.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Why a token was not believed.
enum Unverified {
    /// Perhaps the provider has another key by now.
    Key,
    No(OidcError),
}

impl From<OidcError> for Unverified {
    fn from(error: OidcError) -> Self {
        Self::No(error)
    }
}

/// A claim by its name, or by its path: `realm_access.roles`.
fn find<'a>(claims: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| {
        let (first, rest) = name.split_once('.')?;
        find(claims.get(first)?.as_object()?, rest)
    })
}

/// An error with those below it.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = error.source();
    }
    text
}

/// Somebody else's words, for a page.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect()
}

/// The way to the provider.
#[derive(Debug)]
struct Asking {
    outgoing: Outgoing,
    /// The provider's own host, as whoever runs the collector named it.
    host: String,
    /// Where others may lead that its document tells of.
    told: Reach,
}

impl<'c> AsyncHttpClient<'c> for Asking {
    type Error = OutgoingError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, OutgoingError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let own = request.uri().host() == Some(&self.host);
        let reach = if own { Reach::Anywhere } else { self.told };
        Box::pin(async move {
            let request = request.map(|body| Full::new(bytes::Bytes::from(body)));
            let answer = self.outgoing.send(request, reach).await?;
            Ok(answer.map(|body| body.to_vec()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_found_by_name_or_path() {
        let claims = serde_json::json!({ "a.b": 1, "a": { "c": { "d": 2 } }, "n": null });
        let claims = claims.as_object().unwrap();
        assert_eq!(find(claims, "a.b"), Some(&Value::from(1)));
        assert_eq!(find(claims, "a.c.d"), Some(&Value::from(2)));
        assert_eq!(find(claims, "a.c.x"), None);
        assert_eq!(find(claims, "n.x"), None);
    }
}
