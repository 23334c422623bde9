//! Whose rows a task sees, where the database itself can hold it to that: PostgreSQL, by row-level security.
//!
//! What is done for somebody runs [`within`] their scope, and whatever it reads is held to it, also by a query that forgot to ask. What
//! all share (an index in memory, what was learned from all venues) is read [`beyond`] it. The collector's own work has no scope.
//! Writing is the writer's, which has none: who may change what is decided before.
//!
//! SQLite knows no such thing; there the queries' own conditions stand alone.

use deckport_protocol::Scope;
use hyper::body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

tokio::task_local! {
    static SCOPE: Option<Scope>;
}

/// Runs something that is done for somebody.
pub async fn within<F: Future>(scope: Scope, work: F) -> F::Output {
    SCOPE.scope(Some(scope), work).await
}

/// Runs a part of such work that is not for them alone.
pub async fn beyond<F: Future>(work: F) -> F::Output {
    SCOPE.scope(None, work).await
}

/// Of this task, now.
pub(super) fn scope() -> Option<Scope> {
    SCOPE.try_with(|scope| *scope).ok().flatten()
}

/// An answer whose pieces are read when it is sent, which is after its handler has ended.
#[derive(Debug)]
pub struct BodyWithin<B> {
    body: B,
    scope: Scope,
}

impl<B> BodyWithin<B> {
    pub const fn new(scope: Scope, body: B) -> Self {
        Self { body, scope }
    }
}

impl<B: Body + Unpin> Body for BodyWithin<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let scope = Some(self.scope);
        SCOPE.sync_scope(scope, || Pin::new(&mut self.body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
