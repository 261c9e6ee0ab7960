//! The conductor: keeps every pipeline as it is declared until it is told to stop. Decides who is reconciled when, and nothing else.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::channel::mpsc;
use futures::{FutureExt, StreamExt};
use kube::runtime::controller::{Action, Config, Controller};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::accept::claims::registry::{Registry, Source};
use crate::apply::ApplyError;
use crate::catalog::converge::Catalogue;
use crate::error::{Retry, chain};
use crate::metrics::{Metrics, Outcome};
use crate::observe::workers::Workers;
use crate::observe::{Cached, Caches, Key, Pattern, Stored, Watches};
use crate::reconcile::agenda::{Agenda, moment};
use crate::reconcile::gate::{self, Gate};
use crate::reconcile::memory::Memory;
use crate::reconcile::pulse::{Pulse, TURN};
use crate::reconcile::{self, Looked, ReconcileError};
use crate::resource::crd::StockPipeline;
use crate::resource::identity::MANAGER;
use crate::settings::Settings;
use crate::status::Phase;

/// Keys of changed children that wait for the queue.
const WAITING: usize = 1_024;
/// Changes within this time are one: a burst of them ends in one look.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Time after which a pipeline that was to be looked at counts as overlooked, unless it is on the agenda.
const OVERLOOKED: Duration = Duration::from_mins(1);
/// How long what is under way may take to end once the operator is told to stop.
const GRACE: Duration = Duration::from_millis(800);
/// Pipelines that one list request returns.
const PAGE: u32 = 250;

/// What every reconcile needs from outside.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's settings.
    pub settings: Arc<Settings>,
    /// Glue and Athena; None for an operator that has no AWS.
    pub catalogue: Option<Catalogue>,
    /// What is counted.
    pub metrics: Metrics,
}

/// Why the operator cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// A watch has ended.
    #[error("a watch of the API server has ended")]
    WatchEnded,
    /// No client for the workers' endpoints.
    #[error("failed to make an HTTP client: {0}")]
    Http(#[source] reqwest::Error),
}

impl ControllerError {
    /// Returns when to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::WatchEnded | Self::Http(_) => Retry::Backoff,
        }
    }
}

/// What all reconciles share.
pub(crate) struct Shared {
    pub(crate) context: Context,
    pub(crate) caches: Caches,
    pub(crate) memory: Memory,
    pub(crate) registry: Registry,
    pub(crate) workers: Workers,
    pub(crate) recorder: Recorder,
    /// What workers say is like.
    pub(crate) words: Pattern,
    pub(crate) pulse: Pulse,
    agenda: Agenda,
    /// Cancelled when this process may write no more.
    pub(crate) ending: CancellationToken,
    /// As many as there may be looks at once, in all namespaces together.
    looks: Semaphore,
    pub(crate) gates: Vec<Gate>,
}

impl Shared {
    /// Returns every readable pipeline whose claims are not known as well as they could be, but for one.
    pub(crate) fn unregistered(&self, except: Option<&str>) -> Vec<StockPipeline> {
        let mut unknown = Vec::new();
        for gate in &self.gates {
            let is_listed = gate.is_listed();
            unknown.extend(gate.store.state().into_iter().filter(|object| {
                let uid = object.meta().uid.as_deref();
                let is_known = match self.registry.source(uid.unwrap_or_default()) {
                    None => false,
                    Some(Source::Status) => !is_listed,
                    Some(Source::Revisions) => true,
                };
                uid != except && !is_known
            }));
        }
        unknown.iter().filter_map(|object| object.read().ok()).collect()
    }

    /// Returns whether everything of a namespace has been listed.
    pub(crate) fn has_listed(&self, namespace: &str) -> bool {
        self.gates.iter().any(|gate| gate.is_of(namespace) && gate.is_listed())
    }

    /// Returns a pipeline as it is known now, and what says that its namespace may be looked at.
    fn find(&self, key: &Key) -> Option<(Arc<Stored>, CancellationToken)> {
        let reference = ObjectRef::<Stored>::new(&key.name).within(&key.namespace);
        self.gates.iter().find_map(|gate| Some((gate.store.get(&reference)?, gate.opened())))
    }

    /// Returns every pipeline that there is.
    fn pipelines(&self) -> Vec<Arc<Stored>> {
        self.gates.iter().flat_map(|gate| gate.store.state()).collect()
    }

    /// Returns an object from the API server; None where it is not there.
    ///
    /// # Errors
    /// [`ApplyError`] when it does not answer.
    pub(crate) async fn get<K: Cached>(&self, api: &Api<K>, name: &str) -> Result<Option<K>, ApplyError> {
        let limit = self.context.settings.timing.kubernetes_timeout;
        let (act, kind) = ("get", K::KIND);
        match tokio::time::timeout(limit, api.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(source)) => Err(ApplyError::Refused { act, kind, name: name.to_owned(), source: Box::new(source) }),
            Err(_) => Err(ApplyError::TimedOut { act, kind, name: name.to_owned() }),
        }
    }
}

/// Keeps every pipeline as it is declared until `shutdown` is cancelled: then nothing more is written, and what is under way is cut
/// short within a second.
///
/// # Errors
/// [`ControllerError`] when it cannot go on; the process ends then.
pub async fn run(context: Context, shutdown: CancellationToken) -> Result<(), ControllerError> {
    run_with_pulse(context, Pulse::default(), shutdown).await
}

/// Does what [`run`] does, and says to `pulse` that it moves.
///
/// # Errors
/// As [`run`].
pub async fn run_with_pulse(context: Context, pulse: Pulse, shutdown: CancellationToken) -> Result<(), ControllerError> {
    let namespaces: Vec<Option<String>> = match context.settings.watch_namespaces.iter().cloned().map(Some).collect::<Vec<_>>() {
        none if none.is_empty() => vec![None],
        some => some,
    };
    let timing = context.settings.timing;
    let workers = Workers::new(context.settings.worker_port, timing.worker_timeout, context.metrics.clone());
    let caches = Caches::default();
    let (changed, touched) = mpsc::channel(WAITING);
    let mut watches = Watches::start(&context.client, &caches, &namespaces, &changed);
    let (stores, streams): (Vec<_>, Vec<_>) =
        namespaces.iter().map(|namespace| watch_pipelines(&context.client, namespace.as_deref())).unzip();
    let parts = namespaces.into_iter().zip(stores).zip(watches.listed());
    let gates = parts.map(|((namespace, store), listed)| Gate::new(namespace, store, listed)).collect();
    let looks = Semaphore::new(context.settings.concurrency.into());
    let shared = Arc::new(Shared {
        recorder: Recorder::new(context.client.clone(), Reporter { controller: MANAGER.to_owned(), instance: None }),
        workers: workers.map_err(ControllerError::Http)?,
        context,
        caches,
        memory: Memory::default(),
        registry: Registry::default(),
        words: Pattern::default(),
        pulse,
        agenda: Agenda::default(),
        ending: shutdown.clone(),
        looks,
        gates,
    });
    let reconciling = reconcile_all(&shared, streams, touched);
    tokio::select! {
        ended = reconciling => ended,
        () = watches.ended() => Err(ControllerError::WatchEnded),
        () = shutdown.cancelled().then(|()| tokio::time::sleep(GRACE)) => Ok(()),
    }
}

type PipelineStream = futures::stream::BoxStream<'static, Result<Stored, watcher::Error>>;

fn watch_pipelines(client: &Client, namespace: Option<&str>) -> (Store<Stored>, PipelineStream) {
    let api: Api<Stored> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let (store, writer) = reflector::store();
    let pattern = Pattern::default();
    let stream = watcher(api, watcher::Config::default().page_size(PAGE))
        .default_backoff()
        .modify(move |object: &mut Stored| object.shrink(&pattern))
        .reflect(writer)
        .touched_objects()
        .boxed();
    (store, stream)
}

/// One queue of changes for all namespaces of each store, and one agenda, within one limit of how many are worked on at once.
///
/// kube's own queue keeps no order among those that are due while all turns are taken, so that what comes again and again would keep others
/// waiting for ever: it has changes alone.
async fn reconcile_all(shared: &Arc<Shared>, streams: Vec<PipelineStream>, touched: mpsc::Receiver<Key>) -> Result<(), ControllerError> {
    let mut touched = touched.fuse();
    let concurrency = shared.context.settings.concurrency;
    let mut controllers = Vec::with_capacity(streams.len());
    let mut senders = Vec::with_capacity(streams.len());
    for (stream, gate) in streams.into_iter().zip(&shared.gates) {
        let (sender, triggers) = mpsc::channel::<ObjectRef<Stored>>(WAITING);
        senders.push(sender);
        let opened = gate.opened();
        let controller = Controller::for_stream(stream, gate.store.clone())
            .with_config(Config::default().concurrency(concurrency).debounce(DEBOUNCE))
            .reconcile_on(triggers)
            .graceful_shutdown_on(shared.ending.clone().cancelled_owned())
            .run(move |object, shared| look(object, shared, opened.clone()), error_policy, Arc::clone(shared))
            .for_each(|_| futures::future::ready(()));
        controllers.push(controller);
    }
    let starting = async {
        gate::open(shared).await?;
        std::future::pending().await
    };
    // From the start: pipelines that wait for a gate are there, and due.
    let sweeping = async {
        loop {
            tokio::time::sleep(shared.context.settings.timing.status_interval).await;
            sweep(shared);
        }
    };
    let passing_on = async {
        while let Some(key) = touched.next().await {
            let reference = ObjectRef::<Stored>::new(&key.name).within(&key.namespace);
            for (sender, gate) in senders.iter_mut().zip(&shared.gates) {
                // The other namespaces' queues know nothing of it.
                if gate.store.get(&reference).is_some() && futures::SinkExt::send(sender, reference.clone()).await.is_err() {
                    return;
                }
            }
        }
    };
    let turning = async {
        loop {
            shared.pulse.turned();
            tokio::time::sleep(TURN).await;
        }
    };
    tokio::select! {
        _ = futures::future::join(futures::future::join_all(controllers), look_again(shared)) => Ok(()),
        ended = starting => ended,
        () = sweeping => Ok(()),
        () = turning => Ok(()),
        () = passing_on => Err(ControllerError::WatchEnded),
    }
}

/// Looks at pipelines whose time has come, until the end: half as many at once as may be, so that changes have their turn, too.
async fn look_again(shared: &Arc<Shared>) {
    let most = usize::from(shared.context.settings.concurrency / 2).max(1);
    let mut looks = JoinSet::new();
    while !shared.ending.is_cancelled() {
        while looks.len() < most
            && let Some(key) = shared.agenda.next(Instant::now())
        {
            // One that is gone is forgotten, and one that is being looked at is put down again when that ends.
            let is_free = shared.memory.of(&key).try_lock().is_ok();
            if let Some((object, opened)) = shared.find(&key).filter(|_| is_free) {
                looks.spawn(look(object, Arc::clone(shared), opened));
            }
        }
        tokio::select! {
            () = shared.ending.cancelled() => {}
            Some(_) = looks.join_next() => {}
            () = shared.agenda.wait(), if looks.len() < most => {}
        }
    }
    // What is under way may end.
    while looks.join_next().await.is_some() {}
}

/// Forgets pipelines that are gone, counts those that are there, and puts down who was overlooked: kube forgets an object that is told of
/// before its list is complete.
fn sweep(shared: &Shared) {
    let objects = shared.pipelines();
    let keys: std::collections::HashSet<Key> = objects.iter().map(|object| key_of(object)).collect();
    let uids: std::collections::HashSet<&str> = objects.iter().filter_map(|object| object.meta().uid.as_deref()).collect();
    shared.memory.retain(|key| keys.contains(key));
    shared.registry.retain(|uid| uids.contains(uid));
    shared.pulse.are_there(keys);
    for key in shared.pulse.overdue(OVERLOOKED) {
        if shared.find(&key).is_some_and(|(_, opened)| opened.is_cancelled()) {
            shared.agenda.add(key, Instant::now());
        }
    }
    shared.context.metrics.pipelines(objects.iter().map(|object| object.phase().unwrap_or(Phase::Pending)));
}

fn key_of(object: &Stored) -> Key {
    Key { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// One look at one pipeline: within its time, and whatever it does, nobody else's trouble.
async fn look(object: Arc<Stored>, shared: Arc<Shared>, opened: CancellationToken) -> Result<Action, ReconcileError> {
    opened.cancelled().await;
    let key = key_of(&object);
    let memory = shared.memory.of(&key);
    let mut memory = memory.lock().await;
    // Each namespace has a queue of its own with the same limit. Nobody closes this one.
    let _turn = shared.looks.acquire().await.ok();
    let started = Instant::now();
    // This look is in place of what was due, and is about what is there now: another one may have ended meanwhile.
    shared.agenda.set(key.clone(), None);
    let Some((object, _)) = shared.find(&key) else { return Ok(Action::await_change()) };
    memory.is_about(object.meta().uid.as_deref().unwrap_or_default());
    let limit = shared.context.settings.timing.reconcile_timeout;
    let work = AssertUnwindSafe(reconcile::reconcile(&object, &shared, &mut memory)).catch_unwind();
    let result = match tokio::time::timeout(limit, Box::pin(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(ReconcileError::Panicked),
        Err(_) => Err(ReconcileError::TimedOut),
    };
    let metrics = &shared.context.metrics;
    let seconds = started.elapsed().as_secs_f64();
    match result {
        Ok(Looked { retry, wait }) => {
            memory.failures = 0;
            metrics.reconciled(retry.map_or(Outcome::Done, outcome), seconds);
            shared.agenda.set(key.clone(), wait.map(moment));
            shared.pulse.looked(key, wait);
        }
        Err(error) => {
            memory.failures = memory.failures.saturating_add(1);
            metrics.reconciled(outcome(error.retry()), seconds);
            let wait = error.retry().delay(memory.failures, memory.chance(memory.failures));
            shared.agenda.set(key.clone(), Some(moment(wait)));
            shared.pulse.looked(key.clone(), Some(wait));
            let (namespace, name) = (key.namespace, key.name);
            match (&error, error.retry()) {
                (ReconcileError::Panicked, _) => error!(namespace, name, "a reconcile has panicked, which is a bug"),
                (_, Retry::Fast) => debug!(namespace, name, error = chain(&error), ?wait, "somebody else was faster"),
                (_, Retry::Backoff | Retry::User | Retry::Terminal) => {
                    warn!(namespace, name, error = chain(&error), ?wait, "failed to reconcile");
                }
            }
        }
    }
    Ok(Action::await_change())
}

fn outcome(retry: Retry) -> Outcome {
    match retry {
        Retry::Fast => Outcome::Again,
        Retry::Backoff => Outcome::Failed,
        Retry::User => Outcome::User,
        Retry::Terminal => Outcome::Terminal,
    }
}

/// Never called: a look that fails has said itself when the next one is.
fn error_policy(_object: Arc<Stored>, error: &ReconcileError, _shared: Arc<Shared>) -> Action {
    Action::requeue(error.retry().delay(1, 1.0))
}
