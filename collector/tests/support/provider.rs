//! A provider of logins of a test's own (OpenID Connect, authorization code flow with PKCE), over TLS: it checks what a real one
//! checks, signs with RS256 and ES256, and does wrong only what a test asks of it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use openidconnect::core::{CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey};
use openidconnect::url::form_urlencoded;
use openidconnect::{JsonWebKeyId, PrivateSigningKey as _};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use rsa::pkcs1::EncodeRsaPrivateKey as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

pub const CLIENT: &str = "deckport";
pub const SECRET: &str = "a secret with : and / in it";

/// With what it signs.
pub enum Key {
    Rsa(Box<CoreRsaPrivateSigningKey>, Value),
    Ec(Box<KeyPair>, Value),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Key").field(self.public()).finish()
    }
}

impl Key {
    pub fn rsa(id: &str) -> Self {
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).unwrap();
        let pem = key.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF).unwrap();
        let key = CoreRsaPrivateSigningKey::from_pem(&pem, Some(JsonWebKeyId::new(id.to_owned())));
        let key = key.unwrap();
        let public = serde_json::to_value(key.as_verification_key()).unwrap();
        Self::Rsa(Box::new(key), public)
    }

    pub fn ec(id: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        // An uncompressed point: 4, x, y.
        let point = key.der_bytes();
        let coordinate = |range| URL_SAFE_NO_PAD.encode(&point[range]);
        let public = json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": id,
            "x": coordinate(1..33), "y": coordinate(33..65),
        });
        Self::Ec(Box::new(key), public)
    }

    fn public(&self) -> &Value {
        match self {
            Self::Rsa(_, public) | Self::Ec(_, public) => public,
        }
    }

    fn token(&self, claims: &Value) -> String {
        let algorithm = match self {
            Self::Rsa(..) => "RS256",
            Self::Ec(..) => "ES256",
        };
        let header = json!({ "alg": algorithm, "typ": "JWT", "kid": self.public()["kid"] });
        let signed = signed_part(&header, claims);
        let signature = match self {
            Self::Rsa(key, _) => {
                key.sign(&CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256, signed.as_bytes()).unwrap()
            }
            Self::Ec(key, _) => fixed(&key.sign(signed.as_bytes()).unwrap()),
        };
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn signed_part(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", part(header), part(claims))
}

/// The two numbers of an ECDSA signature in DER, each in 32 bytes.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut at = 2;
    for _ in 0..2 {
        let length = usize::from(der[at + 1]);
        let number = &der[at + 2..at + 2 + length];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        all.extend(std::iter::repeat_n(0, 32 - number.len()));
        all.extend_from_slice(number);
        at += 2 + length;
    }
    all
}

/// Who logs in at the provider, and what it says of them; changed between logins.
#[derive(Debug)]
pub struct Says {
    pub subject: String,
    pub email: Option<&'static str>,
    pub verified: bool,
    pub more: Value,
    /// The address is told at the user info endpoint alone.
    pub short: bool,
    /// Overwrites claims of the token.
    pub wrong: Value,
    /// What is signed is not signed with its key.
    pub unsigned: Option<Unsigned>,
    /// The person presses "cancel".
    pub denies: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Unsigned {
    /// `alg: none`.
    None,
    /// With the client's own secret.
    Secret,
    /// Another key under the same name.
    Foreign,
}

/// A code that was handed out.
#[derive(Debug)]
struct Handed {
    redirect: String,
    challenge: String,
    nonce: String,
}

#[derive(Debug)]
struct Inner {
    issuer: String,
    says: Mutex<Says>,
    keys: Mutex<Vec<Key>>,
    codes: Mutex<HashMap<String, Handed>>,
    redirects: Mutex<Vec<String>>,
    counted: Mutex<HashMap<String, u32>>,
}

/// See the module. Runs until its runtime ends.
#[derive(Debug)]
pub struct Provider {
    pub issuer: String,
    dir: tempfile::TempDir,
    inner: Arc<Inner>,
}

impl Provider {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(dir.path().join("ca.pem"), own.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let says = Says {
            subject: "person-1".to_owned(),
            email: Some("ada@example.org"),
            verified: true,
            more: json!({}),
            short: false,
            wrong: json!({}),
            unsigned: None,
            denies: false,
        };
        let inner = Arc::new(Inner {
            issuer: issuer.clone(),
            says: says.into(),
            keys: vec![Key::ec("first")].into(),
            codes: Mutex::default(),
            redirects: Mutex::default(),
            counted: Mutex::default(),
        });
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let served = Arc::clone(&inner);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, inner) = (acceptor.clone(), Arc::clone(&served));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(|request| {
                        let inner = Arc::clone(&inner);
                        async move { Ok::<_, std::convert::Infallible>(inner.answer(request).await) }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { issuer, dir, inner }
    }

    pub fn trust(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// An address that it may send people back to.
    pub fn register(&self, redirect: String) {
        self.inner.redirects.lock().unwrap().push(redirect);
    }

    pub fn says(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.inner.says.lock().unwrap());
    }

    /// From now on it signs with this key, and publishes no other.
    pub fn sign_with(&self, key: Key) {
        *self.inner.keys.lock().unwrap() = vec![key];
    }

    /// How often a path was asked for.
    pub fn counted(&self, path: &str) -> u32 {
        self.inner.counted.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// What a person does at the provider's page: where their browser is sent from there.
    pub async fn visit(&self, authorize: &str) -> Result<String, String> {
        let path = authorize.strip_prefix(&self.issuer).expect("it leads to the provider");
        let query = path.strip_prefix("/authorize?").expect("it leads to the page for logging in");
        self.inner.authorize(query)
    }
}

fn pairs(text: &str) -> HashMap<String, String> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn answered(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap()
}

impl Inner {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        *self.counted.lock().unwrap().entry(path.clone()).or_default() += 1;
        let ok = |body: Value| answered(StatusCode::OK, &body);
        let header = request.headers().get("authorization").cloned();
        let header = header.and_then(|value| value.to_str().ok().map(str::to_owned));
        let header = header.unwrap_or_default();
        match path.as_str() {
            "/.well-known/openid-configuration" => {
                let at = |path: &str| format!("{}{path}", self.issuer);
                ok(json!({
                    "issuer": self.issuer,
                    "authorization_endpoint": at("/authorize"),
                    "token_endpoint": at("/token"),
                    "userinfo_endpoint": at("/userinfo"),
                    "jwks_uri": at("/jwks"),
                    "response_types_supported": ["code"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["RS256", "ES256", "HS256", "none"],
                    "token_endpoint_auth_methods_supported": ["client_secret_basic"],
                }))
            }
            "/jwks" => {
                let keys = self.keys.lock().unwrap();
                ok(json!({ "keys": keys.iter().map(Key::public).collect::<Vec<_>>() }))
            }
            "/token" => {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                match self.token(&header, &pairs(&String::from_utf8_lossy(&body))) {
                    Ok(tokens) => ok(tokens),
                    Err(error) => answered(StatusCode::BAD_REQUEST, &json!({ "error": error })),
                }
            }
            "/userinfo" if header.starts_with("Bearer access-") => ok(self.person(true)),
            "/userinfo" => answered(StatusCode::UNAUTHORIZED, &json!({})),
            _ => answered(StatusCode::NOT_FOUND, &json!({})),
        }
    }

    fn authorize(&self, query: &str) -> Result<String, String> {
        let asked = pairs(query);
        let said = |name: &str| asked.get(name).cloned().unwrap_or_default();
        let (redirect, state) = (said("redirect_uri"), said("state"));
        if said("client_id") != CLIENT || !self.redirects.lock().unwrap().contains(&redirect) {
            return Err(format!("{redirect} is not registered"));
        }
        let scopes = said("scope");
        let fits = said("response_type") == "code"
            && scopes.split(' ').any(|scope| scope == "openid")
            && said("code_challenge_method") == "S256"
            && said("code_challenge").len() == 43
            && said("nonce").len() >= 16
            && state.len() >= 16;
        if !fits {
            return Err(format!("that is no question for a code: {asked:?}"));
        }
        let mut back = form_urlencoded::Serializer::new(String::new());
        back.append_pair("state", &state).append_pair("iss", &self.issuer);
        if self.says.lock().unwrap().denies {
            back.append_pair("error", "access_denied");
            back.append_pair("error_description", "the person\npressed cancel");
            return Ok(format!("{redirect}?{}", back.finish()));
        }
        let mut codes = self.codes.lock().unwrap();
        let code = format!("code-{}", codes.len());
        let handed = Handed {
            redirect: redirect.clone(),
            challenge: said("code_challenge"),
            nonce: said("nonce"),
        };
        codes.insert(code.clone(), handed);
        back.append_pair("code", &code);
        Ok(format!("{redirect}?{}", back.finish()))
    }

    fn person(&self, whole: bool) -> Value {
        let says = self.says.lock().unwrap();
        let mut claims = json!({ "sub": says.subject });
        let all = claims.as_object_mut().unwrap();
        if whole || !says.short {
            if let Some(email) = says.email {
                all.insert("email".into(), email.into());
                all.insert("email_verified".into(), says.verified.into());
            }
            all.extend(says.more.as_object().unwrap().clone());
        }
        claims
    }

    fn token(
        &self,
        authorization: &str,
        asked: &HashMap<String, String>,
    ) -> Result<Value, &'static str> {
        let said = |name: &str| asked.get(name).map(String::as_str).unwrap_or_default();
        let basic = authorization.strip_prefix("Basic ").ok_or("invalid_client")?;
        let basic = STANDARD.decode(basic).map_err(|_| "invalid_client")?;
        // Both halves are encoded like in a form (RFC 6749, 2.3.1).
        let basic = String::from_utf8(basic).map_err(|_| "invalid_client")?;
        let (id, secret) = basic.split_once(':').ok_or("invalid_client")?;
        let decoded = |text: &str| pairs(&format!("x={text}")).remove("x").unwrap_or_default();
        if decoded(id) != CLIENT || decoded(secret) != SECRET {
            return Err("invalid_client");
        }
        let handed = self.codes.lock().unwrap().remove(said("code")).ok_or("invalid_grant")?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(said("code_verifier")));
        if said("grant_type") != "authorization_code"
            || said("redirect_uri") != handed.redirect
            || challenge != handed.challenge
        {
            return Err("invalid_grant");
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let access = format!("access-{}", said("code"));
        let half = &Sha256::digest(&access)[..16];
        let mut claims = self.person(false);
        let all = claims.as_object_mut().unwrap();
        let usual = json!({
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": handed.nonce,
            "at_hash": URL_SAFE_NO_PAD.encode(half),
        });
        all.extend(usual.as_object().unwrap().clone());
        let says = self.says.lock().unwrap();
        all.extend(says.wrong.as_object().unwrap().clone());
        let keys = self.keys.lock().unwrap();
        let key = &keys[0];
        let token = match says.unsigned {
            None => key.token(&claims),
            Some(Unsigned::None) => {
                format!("{}.", signed_part(&json!({ "alg": "none", "typ": "JWT" }), &claims))
            }
            Some(Unsigned::Secret) => {
                let signed = signed_part(&json!({ "alg": "HS256", "typ": "JWT" }), &claims);
                let mac = openidconnect::core::CoreHmacKey::new(SECRET);
                let algorithm = CoreJwsSigningAlgorithm::HmacSha256;
                let mac = mac.sign(&algorithm, signed.as_bytes()).unwrap();
                format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
            }
            Some(Unsigned::Foreign) => {
                Key::ec(key.public()["kid"].as_str().unwrap()).token(&claims)
            }
        };
        Ok(
            json!({ "access_token": access, "token_type": "Bearer", "expires_in": 300, "id_token": token }),
        )
    }
}
