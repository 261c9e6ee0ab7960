//! One answer for all who ask before the question is sent.
//!
//! Who comes while an answer is under way has to wait for the next one: what he holds may be younger than what is answered.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

/// A question that many ask at a time.
pub(super) struct Question<T> {
    /// How many have come.
    arrived: AtomicU64,
    /// How many of them the last answer serves, and the answer.
    answered: Mutex<Option<(u64, T)>>,
}

impl<T> Default for Question<T> {
    fn default() -> Self {
        Self { arrived: AtomicU64::new(0), answered: Mutex::new(None) }
    }
}

impl<T: Copy> Question<T> {
    /// Returns an answer to a question that was sent after this call. Dropped in between, it leaves the others to send it anew.
    pub(super) async fn ask<F: Future<Output = T>>(&self, send: impl FnOnce() -> F) -> T {
        let mine = self.arrived.fetch_add(1, Ordering::SeqCst) + 1;
        let mut answered = self.answered.lock().await;
        if let Some((serves, answer)) = *answered
            && serves >= mine
        {
            return answer;
        }
        let serves = self.arrived.load(Ordering::SeqCst);
        let answer = send().await;
        *answered = Some((serves, answer));
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Semaphore;
    use tokio::task::{JoinHandle, yield_now};

    use super::*;

    /// A question whose answers are the number of the question, given when they are let go.
    #[derive(Clone)]
    struct Asked {
        question: Arc<Question<u32>>,
        sent: Arc<AtomicU32>,
        answers: Arc<Semaphore>,
    }

    impl Asked {
        fn new() -> Self {
            Self { question: Arc::default(), sent: Arc::default(), answers: Arc::new(Semaphore::new(0)) }
        }

        /// Asks, and waits until `arrived` have come and `sent` questions are under way or answered.
        async fn ask(&self, arrived: u64, sent: u32) -> JoinHandle<u32> {
            let asked = self.clone();
            let task = tokio::spawn(async move {
                let answer = || async {
                    let number = asked.sent.fetch_add(1, Ordering::SeqCst) + 1;
                    asked.answers.acquire().await.unwrap().forget();
                    number
                };
                asked.question.ask(answer).await
            });
            while self.question.arrived.load(Ordering::SeqCst) < arrived || self.sent.load(Ordering::SeqCst) < sent {
                yield_now().await;
            }
            task
        }
    }

    #[tokio::test]
    async fn an_answer_serves_all_who_came_before_its_question_was_sent_and_nobody_else() {
        let asked = Asked::new();
        let first = asked.ask(1, 1).await;
        let (second, third, fourth) = (asked.ask(2, 1).await, asked.ask(3, 1).await, asked.ask(4, 1).await);
        asked.answers.add_permits(2);
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!((second.await.unwrap(), third.await.unwrap(), fourth.await.unwrap()), (2, 2, 2));
        asked.answers.add_permits(1);
        assert_eq!(asked.ask(5, 3).await.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn who_gives_up_leaves_the_question_to_the_others() {
        let asked = Asked::new();
        let first = asked.ask(1, 1).await;
        let second = asked.ask(2, 1).await;
        first.abort();
        asked.answers.add_permits(1);
        assert_eq!(second.await.unwrap(), 2);
    }
}
