//! Threads that decode and encode, so that the thread which polls Kafka never does.
//!
//! A job carries everything it needs and gives it back; nothing is shared between threads.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use stockpipeline::plan::{Plan, PlannedObject};

use super::work::{Ticket, Work};
use crate::batch::{Buffer, Full, Push, Seal};
use crate::pieces::Pieces;
use crate::source::Message;

/// One thing to do.
pub(super) enum Job {
    /// Puts records into a buffer.
    Fill {
        ticket: Ticket,
        buffer: Box<Buffer>,
        messages: VecDeque<Message>,
        /// Last offset that belongs into the buffer, where a plan says so.
        until: Option<i64>,
        /// Last offset whose record has been counted where it is a dead letter.
        counted: Option<i64>,
    },
    /// Makes the objects of a buffer; `plan` has everything but the objects, or is the plan to execute again.
    Encode { ticket: Ticket, buffer: Box<Buffer>, plan: Plan, origin: Origin },
}

/// Where a plan comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It is new: nobody has seen it yet.
    New,
    /// It stands in the ledger and has to be executed.
    Replay,
}

/// What a fill gives back.
pub(super) struct Filled {
    pub(super) buffer: Box<Buffer>,
    /// What did not go into the buffer.
    pub(super) rest: VecDeque<Message>,
    pub(super) rest_bytes: usize,
    /// Last offset that went into the buffer, with its leader epoch.
    pub(super) last: Option<(i64, Option<i32>)>,
    pub(super) full: Option<Full>,
    /// Whether a record behind `until` was met.
    pub(super) passed: bool,
    /// Dead letters behind `counted`.
    pub(super) new_letters: u64,
}

/// The bytes of one object of a plan.
pub(super) struct Body {
    pub(super) object: PlannedObject,
    pub(super) bytes: Pieces,
}

/// The encoder threads; they end when the pool is dropped.
pub(super) struct Pool {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts `threads` threads that send what they have done to `done`.
    pub(super) fn start(threads: usize, done: &Sender<Work>) -> std::io::Result<Self> {
        let (jobs, receiver) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..threads.max(1))
            .map(|number| {
                let (receiver, done) = (Arc::clone(&receiver), done.clone());
                std::thread::Builder::new().name(format!("encode-{number}")).spawn(move || serve(&receiver, &done))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { jobs: Some(jobs), threads })
    }

    pub(super) fn submit(&self, job: Job) {
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job).is_ok());
        assert_eq!(sent, Some(true), "encoder threads live as long as the pool");
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("an encoder thread panicked");
            }
        }
    }
}

fn serve(jobs: &Mutex<Receiver<Job>>, done: &Sender<Work>) {
    loop {
        let next = jobs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        let work = match job {
            Job::Fill { ticket, buffer, messages, until, counted } => Work::Filled(ticket, fill(buffer, messages, until, counted)),
            Job::Encode { ticket, buffer, plan, origin } => encode(ticket, *buffer, plan, origin),
        };
        if done.send(work).is_err() {
            return;
        }
    }
}

fn fill(mut buffer: Box<Buffer>, mut messages: VecDeque<Message>, until: Option<i64>, counted: Option<i64>) -> Filled {
    let (mut last, mut full, mut passed) = (None, None, false);
    let mut letters_before = None;
    while let Some(message) = messages.front() {
        if letters_before.is_none() && counted.is_none_or(|counted| message.offset() > counted) {
            letters_before = Some(buffer.counts().letters());
        }
        if until.is_some_and(|until| message.offset() > until) {
            passed = true;
            break;
        }
        match buffer.push(&message.record()) {
            Push::Taken => last = messages.pop_front(),
            Push::Full(limit) => {
                full = Some(limit);
                break;
            }
        }
    }
    // Sealed now: the next record may be long in coming.
    full = full.or_else(|| buffer.full());
    // `last` holds only the newest message: earlier ones were dropped as it was overwritten.
    let last = last.map(|message| (message.offset(), message.leader_epoch()));
    let rest_bytes = messages.iter().map(Message::bytes).sum();
    let new_letters = letters_before.map_or(0, |before| buffer.counts().letters() - before);
    Filled { buffer, rest: messages, rest_bytes, last, full, passed, new_letters }
}

fn encode(ticket: Ticket, buffer: Buffer, mut plan: Plan, origin: Origin) -> Work {
    let seal = Seal {
        epoch: plan.epoch.clone(),
        partition: plan.partition,
        first: plan.first,
        last: plan.last,
        sealed_at_micros: plan.sealed_at_micros,
    };
    let mut sealed = buffer.seal(&seal);
    let computed = sealed.objects().to_vec();
    let mut bodies = Vec::with_capacity(computed.len());
    while let Some((object, bytes)) = sealed.encode_next() {
        bodies.push(Body { object, bytes });
    }
    let listed = std::mem::replace(&mut plan.objects, computed);
    Work::Encoded(ticket, Encoded { plan, listed, bodies, origin })
}

/// A sealed range with the bytes of its objects.
pub(super) struct Encoded {
    /// The plan with the objects as they were computed.
    pub(super) plan: Plan,
    /// The objects that the plan listed before; empty for a new plan.
    pub(super) listed: Vec<PlannedObject>,
    pub(super) bodies: Vec<Body>,
    pub(super) origin: Origin,
}
