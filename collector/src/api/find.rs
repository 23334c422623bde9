//! Finding rows: in one log, and in all that was ever printed.

use super::App;
use super::extract::{Named, Params, bad};
use super::routes::{ErrorBody, entry};
use crate::auth::Answer;
use crate::deployment::Entry;
use crate::log::{Direction, MATCHES, Target, Wanted};
use crate::query::{
    Capitals, How, LevelTerm, NameTerm, Problem, Query as Asked, RowExpr, RowTerm, Shape,
    Simplified, TextTerm, Tree, parts,
};
use crate::search::{Histogram, Options, SearchHit, SearchPage, SearchProgress};
use axum::extract::State;
use axum::{Extension, Json};
use deckport_protocol::{Actor, DeploymentId, Level};
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// Hits in one page.
const HITS: usize = 100;
const MOST_HITS: usize = 500;

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        bad(problem.to_string())
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct FindParams {
    #[serde(default)]
    q: String,
    #[serde(default)]
    regex: bool,
    #[serde(default)]
    case: bool,
    /// `q` is in the search language; `regex` and `case` say nothing then.
    #[serde(default)]
    lang: bool,
    /// Minutes east of UTC, for dates in the search language.
    #[serde(default)]
    tz: i32,
    /// `warning` (errors too) or `error`.
    level: Option<String>,
    phase: Option<u32>,
    /// `find`: where to begin. `matches`: only rows from here on.
    #[serde(default)]
    from: u64,
    /// `find`: `next` or `previous`.
    direction: Option<String>,
    /// `matches`: in so many stretches of rows, how many match; at most 2,000.
    buckets: Option<u64>,
}

impl FindParams {
    /// What is looked for in this run; `None`: it is not in this run.
    fn wanted(&self, app: &App, entry: &Entry) -> Result<Option<Wanted>, Answer> {
        let mut terms: Vec<RowExpr> = Vec::new();
        match self.level.as_deref() {
            None | Some("") => {}
            Some("warning") => {
                terms.push(Tree::Term(RowTerm::Level(LevelTerm::AtLeast(Level::Warning))));
            }
            Some("error") => {
                terms.push(Tree::Term(RowTerm::Level(LevelTerm::AtLeast(Level::Error))));
            }
            Some(_) => return Err(bad("level is `warning` or `error`")),
        }
        if let Some(index) = self.phase {
            let summary = entry.summary(app.config.clock.now_us());
            let phases = summary.map(|summary| summary.phases).unwrap_or_default();
            let Some(phase) = phases.into_iter().find(|phase| phase.index == index) else {
                return Ok(None);
            };
            if let Some(name) = NameTerm::new(How::Is, &phase.name) {
                terms.push(Tree::Term(RowTerm::Phase(name)));
            }
        }
        if self.lang {
            let query = Asked::parse(&self.q, app.config.clock.now_us(), self.tz)?;
            match app.search.in_run(&query, entry) {
                Simplified::Never => return Ok(None),
                Simplified::Always => {}
                Simplified::Rest(expr) => terms.push(expr),
            }
        } else if !self.q.is_empty() {
            let shape = if self.regex { Shape::Regex } else { Shape::Contains };
            let capitals = if self.case { Capitals::Count } else { Capitals::Ignored };
            let text = TextTerm::new(shape, capitals, &self.q);
            terms.push(Tree::Term(RowTerm::Text(text.map_err(|error| bad(error.to_string()))?)));
        }
        if terms.is_empty() && !self.lang {
            return Err(bad("say what to look for: q, level or phase"));
        }
        Ok(Some(Wanted::new(terms.into_iter().reduce(Tree::and))))
    }

    fn target(&self, app: &App, entry: &Entry) -> Result<Option<Target>, Answer> {
        let wanted = self.wanted(app, entry)?;
        let stream = entry.head.stream;
        Ok(wanted.map(|wanted| Target { stream, wanted: Arc::new(wanted) }))
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RowFound {
    #[schema(required)]
    row: Option<u64>,
    wrapped: bool,
}

/// The nearest row that matches.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/find",
    params(("id" = DeploymentId, Path), FindParams),
    responses((status = 200, body = RowFound), (status = 400, body = ErrorBody)))]
pub(super) async fn find(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<FindParams>,
) -> Result<Json<RowFound>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let direction = match params.direction.as_deref() {
        None | Some("next") => Direction::Next,
        Some("previous") => Direction::Previous,
        Some(_) => return Err(bad("direction is `next` or `previous`")),
    };
    let (row, wrapped) = match params.target(&app, &entry)? {
        Some(target) => app.deployments.log().find(target, params.from, direction).await?,
        None => (None, false),
    };
    Ok(Json(RowFound { row, wrapped }))
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Matches {
    total: u64,
    /// Rows of the log when it was searched; the last may still be open. Later matches are found with `from`.
    until: u64,
    /// The last row that matches.
    #[schema(required)]
    last: Option<u64>,
    /// More match than `rows` lists.
    capped: bool,
    /// Ascending, at most 10,000.
    rows: Vec<u64>,
    scanned_rows: u64,
    /// Stretches that hold matches: their first row, and how many.
    buckets: Vec<(u64, u64)>,
}

/// All rows that match.
#[utoipa::path(get, path = "/api/v1/deployments/{id}/matches",
    params(("id" = DeploymentId, Path), FindParams),
    responses((status = 200, body = Matches), (status = 400, body = ErrorBody)))]
pub(super) async fn matches(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Named(id): Named,
    Params(params): Params<FindParams>,
) -> Result<Json<Matches>, Answer> {
    let entry = entry(&app, &actor, &id).await?;
    let buckets = params.buckets.unwrap_or(0).min(2000);
    let found = match params.target(&app, &entry)? {
        Some(target) => app.deployments.log().matches(target, params.from, buckets).await?,
        None => {
            let rows = entry.durable().rows;
            crate::log::Matches { covered: rows, until: rows, ..Default::default() }
        }
    };
    Ok(Json(Matches {
        total: found.total,
        until: found.until,
        last: found.last,
        capped: found.total > MATCHES as u64,
        rows: found.rows,
        scanned_rows: found.covered,
        buckets: if buckets > 0 { found.buckets.into_iter().collect() } else { Vec::new() },
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchParams {
    /// In the search language.
    #[serde(default)]
    q: String,
    /// At most 500, 100 by default.
    limit: Option<usize>,
    /// The `next` of the page before.
    before: Option<String>,
    /// Count all that match, over time as well.
    #[serde(default)]
    count: bool,
    /// Minutes east of UTC, for dates in the query.
    #[serde(default)]
    tz: i32,
}

/// Rows of all runs that match, the newest first.
#[utoipa::path(get, path = "/api/v1/search", params(SearchParams),
    responses((status = 200, body = SearchPage), (status = 400, body = ErrorBody)))]
pub(super) async fn search(
    State(app): State<App>,
    Extension(actor): Extension<Actor>,
    Params(params): Params<SearchParams>,
) -> Result<Json<SearchPage>, Answer> {
    let began = Instant::now();
    let query = Asked::parse(&params.q, app.config.clock.now_us(), params.tz)?;
    let before = params.before.as_deref().map(str::parse).transpose();
    let options = Options {
        limit: params.limit.unwrap_or(HITS).min(MOST_HITS),
        count: params.count,
        deployment: None,
        before: before.map_err(|error: crate::search::NoPlace| bad(error.to_string()))?,
    };
    let limit = options.limit;
    let prepared = app.search.prepare(actor.scope(), &query, options).await?;
    let mut histogram = prepared.axis.filter(|_| params.count).map(|axis| Histogram::new(&axis));
    let mut hits: Vec<SearchHit> = Vec::new();
    let mut progress = prepared.progress.clone();
    let ended = app
        .search
        .run(prepared, |news| {
            hits.extend(news.hits.into_iter().map(SearchHit::from));
            if let Some(histogram) = &mut histogram {
                news.buckets.into_iter().for_each(|bucket| histogram.set(bucket));
            }
            progress = news.progress.clone();
            ControlFlow::Continue(())
        })
        .await?;
    let more = hits.len() == limit && (!ended || progress.matched > limit as u64);
    let next = hits.last().filter(|_| more).map(|last| last.place().to_string());
    Ok(Json(SearchPage {
        query: query.text,
        next,
        matched: params.count.then_some(progress.matched),
        histogram,
        hits,
        progress: SearchProgress::new(&progress, began.elapsed(), ended),
    }))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CheckParams {
    #[serde(default)]
    q: String,
    #[serde(default)]
    tz: i32,
}

/// A piece of a query, in UTF-16 code units: `word`, `phrase`, `exact`, `regex`, `field`, `value`, `operator` or `bracket`.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueryPart {
    from: usize,
    to: usize,
    kind: &'static str,
}

/// What is wrong with a query, and where, in UTF-16 code units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueryProblem {
    message: String,
    from: usize,
    to: usize,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParsedQuery {
    ok: bool,
    parts: Vec<QueryPart>,
    #[schema(required)]
    problem: Option<QueryProblem>,
}

/// Reads a query without running it.
#[utoipa::path(get, path = "/api/v1/search/check", params(CheckParams),
    responses((status = 200, body = ParsedQuery)))]
pub(super) async fn check(
    State(app): State<App>,
    Params(params): Params<CheckParams>,
) -> Json<ParsedQuery> {
    let problem = Asked::parse(&params.q, app.config.clock.now_us(), params.tz).err();
    let parts = parts(&params.q).into_iter().map(|part| QueryPart {
        from: part.from,
        to: part.to,
        kind: part.kind.as_str(),
    });
    let told = |Problem { message, from, to }| QueryProblem { message, from, to };
    Json(ParsedQuery { ok: problem.is_none(), parts: parts.collect(), problem: problem.map(told) })
}
