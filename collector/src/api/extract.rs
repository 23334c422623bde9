//! What handlers take out of a request. axum's own extractors answer a mistake with a line of plain text; these answer it like
//! any other refusal.

use crate::auth::Answer;
use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use deckport_protocol::{ErrorCode, Refusal};
use serde::de::DeserializeOwned;

pub(super) fn bad(message: impl Into<String>) -> Answer {
    Answer(Refusal::new(ErrorCode::BAD_REQUEST, message))
}

/// Query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Answer> {
        Query::<T>::try_from_uri(&parts.uri)
            .map(|Query(params)| Self(params))
            .map_err(|error| bad(error.body_text()))
    }
}

/// The one name in a path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Answer;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Answer> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        name.map(|Path(name)| Self(name)).map_err(|error| bad(error.body_text()))
    }
}

/// A body in JSON.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Answer;

    async fn from_request(request: Request, state: &S) -> Result<Self, Answer> {
        let body = Json::<T>::from_request(request, state).await;
        body.map(|Json(body)| Self(body))
            .map_err(|error| refused(error.status(), error.body_text()))
    }
}

fn refused(status: StatusCode, message: String) -> Answer {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        Answer(Refusal::new(ErrorCode::BODY_TOO_LARGE, message))
    } else {
        bad(message)
    }
}

/// The answer to a method that a route does not have; which it has stands in `Allow`.
pub(super) async fn not_allowed() -> Response {
    let mut response = bad("there is no such method on this route").into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
