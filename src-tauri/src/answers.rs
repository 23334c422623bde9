//! Answers that the page waits for and may stop waiting for: what is asked then ends, here and in the collector.
//!
//! The page numbers them. Giving one up may overtake asking for it, so a number that is not known is kept as given up, up to
//! [`EARLY`] of them. A page that is loaded anew begins at another number ([`Answers::give_up_all`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

/// Numbers that were given up and are not asked for. One that was answered meanwhile stays as long as the page.
const EARLY: usize = 1000;

#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    waiting: Arc<Mutex<HashMap<u32, CancellationToken>>>,
}

impl Answers {
    /// What `answer` comes to; `None` when the page gave it up first. `answer` is dropped then, wherever it is.
    pub(crate) async fn wait<T>(&self, number: u32, answer: impl Future<Output = T>) -> Option<T> {
        let given_up = self.lock().entry(number).or_default().clone();
        let came = given_up.run_until_cancelled(answer).await;
        self.lock().remove(&number);
        came
    }

    pub(crate) fn give_up(&self, number: u32) {
        let mut waiting = self.lock();
        if let Some(token) = waiting.get(&number) {
            token.cancel();
        } else if waiting.len() < EARLY {
            let token = CancellationToken::new();
            token.cancel();
            waiting.insert(number, token);
        }
    }

    pub(crate) fn give_up_all(&self) {
        for (_, token) in self.lock().drain() {
            token.cancel();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u32, CancellationToken>> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn what_is_given_up_is_dropped() {
        struct Told(Arc<Mutex<bool>>);
        impl Drop for Told {
            fn drop(&mut self) {
                *self.0.lock().unwrap() = true;
            }
        }
        let (answers, dropped) = (Answers::default(), Arc::<Mutex<bool>>::default());
        let told = Told(dropped.clone());
        let waits = answers.wait(7, async move {
            let _told = told;
            pending::<()>().await;
        });
        let gives_up = async {
            answers.give_up(6);
            assert!(!*dropped.lock().unwrap());
            answers.give_up(7);
        };
        let (came, ()) = tokio::join!(biased; waits, gives_up);
        assert_eq!(came, None);
        assert!(*dropped.lock().unwrap());
    }

    #[tokio::test]
    async fn an_answer_comes_once_whatever_else_is_given_up() {
        let answers = Answers::default();
        answers.give_up(2);
        assert_eq!(answers.wait(1, async { 5 }).await, Some(5));
        assert_eq!(
            answers.wait(2, pending::<u32>()).await,
            None,
            "given up before it was asked for"
        );
        assert_eq!(answers.wait(2, async { 6 }).await, Some(6), "a number serves again");
        assert!(answers.lock().is_empty());
    }

    #[tokio::test]
    async fn a_page_that_is_loaded_anew_leaves_nothing_behind() {
        let answers = Answers::default();
        let waits = answers.wait(1, pending::<()>());
        let (came, ()) = tokio::join!(biased; waits, async { answers.give_up_all() });
        assert_eq!(came, None);
        assert_eq!(answers.wait(1, async { 3 }).await, Some(3));
        for number in 0..2 * EARLY as u32 {
            answers.give_up(number);
        }
        assert_eq!(answers.lock().len(), EARLY);
    }
}
