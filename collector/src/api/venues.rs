//! Venues, and whose they are.

use super::App;
use super::extract::{Body, Named};
use super::routes::ErrorBody;
use super::written::Note;
use crate::auth::operators::Operator;
use crate::auth::venues::{Venue, VenueError};
use crate::auth::{Answer, GrantId};
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use deckport_protocol::{Actor, ErrorCode, OrganisationId, Refusal, Role, Scope, VenueId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

impl From<VenueError> for Answer {
    fn from(error: VenueError) -> Self {
        match error {
            VenueError::Refused(refusal) => refusal.into(),
            VenueError::Write(error) => crate::deployment::refusal_of(&error).into(),
        }
    }
}

/// A venue, and what who asks may do there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VenueSeen {
    id: VenueId,
    name: String,
    role: Role,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Venues {
    organisation: Organisation,
    /// What who asks may do in all venues at once; none: nothing.
    #[schema(required)]
    everywhere: Option<Role>,
    /// Where who asks may do anything, by name. `venue=ID` in a request's address says that it is meant there; else it is meant
    /// everywhere, or in the first one of who may not.
    venues: Vec<VenueSeen>,
}

/// An organisation.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Organisation {
    id: OrganisationId,
    name: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Organisations {
    /// By name.
    organisations: Vec<Organisation>,
}

#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct NameFields {
    name: String,
}

fn seen(venue: Venue, role: Role) -> VenueSeen {
    VenueSeen { id: venue.id, name: venue.name, role }
}

/// The venues where who asks may do something.
#[utoipa::path(get, path = "/api/v1/venues", responses((status = 200, body = Venues)))]
pub(super) async fn list(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    grant: Option<Extension<GrantId>>,
) -> Result<Json<Venues>, Answer> {
    let missing = || Refusal::new(ErrorCode::NOT_FOUND, "there is no such organisation");
    let id = actor.scope().organisation_id;
    let organisation = app.auth.venues.organisation(id).ok_or_else(missing)?;
    let all = app.auth.venues.within(Scope::all(id));
    let (everywhere, venues) = match &actor {
        Actor::Operator { operator_id, .. } => {
            let operator = app.auth.operators.get(*operator_id);
            let most = grant.and_then(|Extension(GrantId(id))| app.auth.operators.most(id));
            let most = most.unwrap_or(Role::Viewer);
            let role_in =
                |venue: &Venue| operator.as_ref()?.role_in(venue.id).map(|role| role.min(most));
            let everywhere = operator.as_ref().and_then(Operator::role_everywhere);
            let venues = all.into_iter().filter_map(|venue| {
                let role = role_in(&venue)?;
                Some(seen(venue, role))
            });
            (everywhere.map(|role| role.min(most)), venues.collect())
        }
        Actor::Shell { .. } | Actor::LocalAdmin { .. } => {
            let venues = all.into_iter().map(|venue| seen(venue, Role::Admin)).collect();
            (Some(Role::Admin), venues)
        }
        Actor::Console { .. } | Actor::Collector { .. } => (None, Vec::new()),
    };
    let organisation = Organisation { id, name: organisation.name };
    Ok(Json(Venues { organisation, everywhere, venues }))
}

/// Makes a venue.
#[utoipa::path(post, path = "/api/v1/venues", request_body = NameFields,
    responses((status = 201, body = VenueSeen), (status = 400, body = ErrorBody)))]
pub(super) async fn create(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Body(fields): Body<NameFields>,
) -> Result<(StatusCode, Json<VenueSeen>), Answer> {
    let organisation = actor.scope().organisation_id;
    let made = app.auth.venues.save(organisation, None, &fields.name, note.pen(&app.audit)).await?;
    Ok((StatusCode::CREATED, Json(seen(made, Role::Admin))))
}

/// Gives a venue another name.
#[utoipa::path(put, path = "/api/v1/venues/{id}", params(("id" = VenueId, Path)),
    request_body = NameFields,
    responses((status = 200, body = VenueSeen), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)))]
pub(super) async fn rename(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Extension(note): Extension<Note>,
    Named(id): Named,
    Body(fields): Body<NameFields>,
) -> Result<Json<VenueSeen>, Answer> {
    let missing = |_| Refusal::new(ErrorCode::NOT_FOUND, "there is no such venue");
    let id = id.parse().map_err(missing)?;
    let organisation = actor.scope().organisation_id;
    let pen = note.pen(&app.audit);
    let named = app.auth.venues.save(organisation, Some(id), &fields.name, pen).await?;
    Ok(Json(seen(named, Role::Admin)))
}

/// All organisations of this collector.
#[utoipa::path(get, path = "/api/v1/organisations", responses((status = 200, body = Organisations)))]
pub(super) async fn organisations(State(app): State<App>) -> Json<Organisations> {
    let all = app.auth.venues.organisations().into_iter();
    let organisations = all.map(|one| Organisation { id: one.id, name: one.name }).collect();
    Json(Organisations { organisations })
}

/// Makes an organisation, with a first venue of the same name.
#[utoipa::path(post, path = "/api/v1/organisations", request_body = NameFields,
    responses((status = 201, body = Organisation), (status = 400, body = ErrorBody)))]
pub(super) async fn found(
    State(app): State<App>,
    Extension(note): Extension<Note>,
    Body(fields): Body<NameFields>,
) -> Result<(StatusCode, Json<Organisation>), Answer> {
    let made = app.auth.venues.found(&fields.name, note.pen(&app.audit)).await?;
    let first = note.also(&app.audit, "venue_added");
    app.auth.venues.save(made.id, None, &made.name, first).await?;
    Ok((StatusCode::CREATED, Json(Organisation { id: made.id, name: made.name })))
}
