//! Stable error codes. Clients branch on the code, never on the sentence.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A stable name of what went wrong. Unknown codes are kept as they came.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
#[serde(transparent)]
pub struct ErrorCode(Cow<'static, str>);

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $text:literal, $retryable:literal;)*) => {
        impl ErrorCode {
            $($(#[$doc])* pub const $constant: Self = Self(Cow::Borrowed($text));)*

            /// Every code of this version, with whether trying again (unchanged) can help.
            pub const ALL: &'static [(Self, bool)] = &[$((Self::$constant, $retryable)),*];
        }
    };
}

codes! {
    /// No credential, or one that this collector does not know.
    UNAUTHENTICATED = "unauthenticated", false;
    /// The credential does not allow this.
    FORBIDDEN = "forbidden", false;
    /// An operator took the credential back.
    REVOKED = "revoked", false;
    /// The credential was used in two places at once and counts for nobody any more.
    LOCKED = "locked", false;
    /// The console's certificate has ended; it may renew it and do nothing else.
    CERTIFICATE_ENDED = "certificate_ended", false;
    /// The code to join with is unknown, used, expired or taken back.
    CODE_REFUSED = "code_refused", false;
    /// The login, the password or the second factor is wrong, or the operator is shut out.
    LOGIN_REFUSED = "login_refused", false;
    /// The password is right; the digits of the authenticator app are needed as well.
    CODE_NEEDED = "code_needed", false;
    /// It counts, and who sits there has not shown for some minutes that it is they: see `POST /api/v1/me/prove`.
    PROOF_NEEDED = "proof_needed", false;
    /// The port speaks TLS.
    TLS_REQUIRED = "tls_required", false;
    /// A TLS handshake that came to no end; only counted.
    HANDSHAKE = "handshake", true;
    /// The Host header is not one of the collector's own.
    WRONG_HOST = "wrong_host", false;
    /// The Origin header is not one of the collector's own.
    WRONG_ORIGIN = "wrong_origin", false;
    NOT_FOUND = "not_found", false;
    /// A parameter is missing, malformed or out of range.
    BAD_REQUEST = "bad_request", false;
    /// A text frame that is not JSON of a known form.
    MALFORMED_MESSAGE = "malformed_message", false;
    /// A message type that this version does not know. The link stays open.
    UNKNOWN_MESSAGE = "unknown_message", false;
    /// A binary frame that is not a well-formed batch of columns.
    MALFORMED_FRAME = "malformed_frame", false;
    /// `records` before `welcome`, or a second `hello`.
    OUT_OF_TURN = "out_of_turn", false;
    UNSUPPORTED_VERSION = "unsupported_version", false;
    /// An encoding that was not agreed in `welcome`.
    UNSUPPORTED_ENCODING = "unsupported_encoding", false;
    /// The batch does not start at `acked_seq` + 1; resume from there.
    SEQUENCE_GAP = "sequence_gap", true;
    /// A record came again with other content. Nothing more is taken from this stream.
    QUARANTINED = "quarantined", false;
    /// Another agent with a later incarnation has taken over this run.
    SUPERSEDED = "superseded", false;
    /// The run belongs to another stream.
    STREAM_MISMATCH = "stream_mismatch", false;
    /// The stream has had its terminal record; nothing follows it.
    STREAM_ENDED = "stream_ended", false;
    /// A frame or message is larger than the stated bound.
    FRAME_TOO_LARGE = "frame_too_large", false;
    /// A piece or event is larger than the stated bound.
    RECORD_TOO_LARGE = "record_too_large", false;
    /// More records in a batch than the stated bound.
    TOO_MANY_RECORDS = "too_many_records", false;
    /// The body is larger after decompression than stated or allowed; or that of a request than its route takes.
    BODY_TOO_LARGE = "body_too_large", false;
    RATE_EXCEEDED = "rate_exceeded", true;
    TOO_MANY_CONNECTIONS = "too_many_connections", true;
    TOO_MANY_SUBSCRIPTIONS = "too_many_subscriptions", false;
    /// The peer stopped reading, or did not answer pings.
    TOO_SLOW = "too_slow", true;
    /// The collector's disk is full. Nothing acknowledged is lost.
    STORAGE_FULL = "storage_full", true;
    /// The collector is stopping or recovering.
    UNAVAILABLE = "unavailable", true;
    /// The deployment has ended or its console is not connected.
    NOT_RUNNING = "not_running", false;
    NOT_CONNECTED = "not_connected", true;
    INTERNAL = "internal", true;
}

impl ErrorCode {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the same request, sent again later, can succeed. Unknown codes: assume so.
    pub fn retryable(&self) -> bool {
        Self::ALL.iter().find(|(code, _)| code == self).is_none_or(|(_, retryable)| *retryable)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An answer that says no: which rule, in a sentence, and whether trying again can help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[error("{message} ({code})")]
pub struct Refusal {
    pub code: ErrorCode,
    /// A sentence for a person: what is wrong and what to do.
    pub message: String,
    pub retryable: bool,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let retryable = code.retryable();
        Self { code, message: message.into(), retryable }
    }
}
