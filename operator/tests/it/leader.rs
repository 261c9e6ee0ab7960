//! Leader election over the API server's own protocol.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use stockpipeline_operator::process::fence::Fence;
use stockpipeline_operator::process::http::Health;
use stockpipeline_operator::process::leader::{Candidate, Elector, Lost, Rhythm};
use tokio::time::timeout;

use crate::api_server::ApiServer;

const LEASE: &str = "operator";
/// A lease knows whole seconds only.
const DURATION: Duration = Duration::from_secs(1);
/// Nothing here should take nearly as long.
const DEADLINE: Duration = Duration::from_secs(20);

fn leases(server: &ApiServer) -> Api<Lease> {
    Api::namespaced(server.client(), "system")
}

fn elector(server: &ApiServer, identity: &str, retry: Duration) -> Elector {
    let candidate = Candidate { lease: LEASE.to_owned(), identity: identity.to_owned(), duration: DURATION };
    let mut elector = Elector::new(leases(server), candidate, Fence::closed(), Health::default());
    elector.rhythm = Rhythm { renew_deadline: Duration::from_millis(600), retry, request: Duration::from_millis(300) };
    elector
}

async fn leading(server: &ApiServer, identity: &str) -> Elector {
    let mut elector = elector(server, identity, Duration::from_millis(50));
    timeout(DEADLINE, elector.acquire()).await.unwrap().unwrap();
    elector
}

async fn holder(server: &ApiServer) -> Option<String> {
    leases(server).get(LEASE).await.unwrap().spec.unwrap().holder_identity
}

#[tokio::test]
async fn one_leads_and_keeps_the_lease_while_others_stand_by() {
    let server = ApiServer::start().await;
    let mut first = leading(&server, "first").await;
    assert_eq!(first.fence.check(), Ok(()));
    let mut second = elector(&server, "second", Duration::from_millis(50));
    tokio::select! {
        lost = first.keep() => panic!("{lost}"),
        acquired = second.acquire() => panic!("two lead: {acquired:?}"),
        () = tokio::time::sleep(3 * DURATION) => {}
    }
    assert_eq!(first.fence.check(), Ok(()));
    assert!(second.fence.check().is_err());
    assert_eq!(second.health.ready(0), Ok(()), "one who stands by is ready");
    assert_eq!(holder(&server).await.as_deref(), Some("first"));
}

#[tokio::test]
async fn a_released_lease_is_taken_at_once() {
    let server = ApiServer::start().await;
    let mut first = leading(&server, "first").await;
    // Only the watch can tell this one in time.
    let mut second = elector(&server, "second", Duration::from_hours(1));
    let waiting = tokio::spawn(async move {
        second.acquire().await.unwrap();
        second
    });
    let seen = async {
        while server.watches() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, seen).await.unwrap();
    first.release().await;
    assert!(first.fence.check().is_err());
    let second = timeout(DURATION / 2, waiting).await.expect("sooner than the lease would have ended").unwrap();
    assert_eq!(second.fence.check(), Ok(()));
    assert_eq!(leases(&server).get(LEASE).await.unwrap().spec.unwrap().lease_transitions, Some(1));
}

#[tokio::test]
async fn a_dead_leader_is_replaced_when_its_lease_has_ended() {
    let server = ApiServer::start().await;
    let first = leading(&server, "first").await;
    let started = Instant::now();
    let second = leading(&server, "second").await;
    assert!(started.elapsed() >= DURATION, "{:?}", started.elapsed());
    assert!(first.fence.check().is_err(), "the first may not write any more by then");
    assert_eq!(second.fence.check(), Ok(()));
}

#[tokio::test]
async fn a_leader_learns_that_another_has_taken_its_lease() {
    let server = ApiServer::start().await;
    let mut first = leading(&server, "first").await;
    let taken = json!({ "spec": { "holderIdentity": "second" } });
    leases(&server).patch(LEASE, &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    let lost = timeout(DEADLINE, first.keep()).await.unwrap();
    assert_eq!(lost, Lost::Taken { lease: LEASE.to_owned(), holder: "second".to_owned() });
    assert!(first.fence.check().is_err());
    first.release().await;
    assert_eq!(holder(&server).await.as_deref(), Some("second"), "what is another's is not released");
}

#[tokio::test]
async fn a_leader_that_is_cut_off_stops_writing_before_others_may_lead() {
    let server = ApiServer::start().await;
    let mut first = leading(&server, "first").await;
    server.set_fault(Some(Box::new(|method, path| {
        (method == "PUT" && path.contains("/leases/")).then_some(StatusCode::SERVICE_UNAVAILABLE)
    })));
    let started = Instant::now();
    let lost = timeout(DEADLINE, first.keep()).await.unwrap();
    assert_eq!(lost, Lost::Expired { lease: LEASE.to_owned() });
    assert!(first.fence.check().is_err());
    assert!(started.elapsed() < DURATION, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_lease_that_was_edited_but_is_still_held_is_kept() {
    let server = ApiServer::start().await;
    let mut first = leading(&server, "first").await;
    let edit = json!({ "metadata": { "labels": { "team": "quotes" } } });
    leases(&server).patch(LEASE, &PatchParams::default(), &Patch::Merge(edit)).await.unwrap();
    tokio::select! {
        lost = first.keep() => panic!("{lost}"),
        () = tokio::time::sleep(2 * DURATION) => {}
    }
    assert_eq!(first.fence.check(), Ok(()));
    assert_eq!(leases(&server).get(LEASE).await.unwrap().metadata.labels.unwrap()["team"], "quotes");
}

#[tokio::test]
async fn of_many_at_once_one_leads() {
    let server = ApiServer::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..8 {
        let mut elector = elector(&server, &format!("process-{number}"), Duration::from_millis(20));
        tasks.spawn(async move {
            elector.acquire().await.unwrap();
            elector
        });
    }
    let mut leader = timeout(DEADLINE, tasks.join_next()).await.unwrap().unwrap().unwrap();
    let identity = leader.candidate.identity.clone();
    assert_eq!(holder(&server).await.as_deref(), Some(identity.as_str()));
    // Whoever has won as well shows while the first one renews.
    tokio::select! {
        lost = leader.keep() => panic!("{lost}"),
        second = tasks.join_next() => panic!("two lead: {identity} and {:?}", second.map(|second| second.unwrap().candidate.identity)),
        () = tokio::time::sleep(2 * DURATION) => {}
    }
    assert_eq!(holder(&server).await, Some(identity));
}

#[tokio::test]
async fn clocks_that_differ_by_an_hour_make_no_two_leaders() {
    /// Longer than a busy machine holds anything up.
    const LONG: Duration = Duration::from_secs(5);
    let server = ApiServer::start().await;
    drop(leading(&server, "first").await);
    let mut second = elector(&server, "second", Duration::from_millis(50));
    second.candidate.duration = LONG;
    // The first one's clock is wrong, and it renews all the same.
    let renewing = async {
        let started = Instant::now();
        for offset in [jiff::SignedDuration::from_hours(-1), jiff::SignedDuration::from_hours(1)].into_iter().cycle() {
            let skewed = json!({ "spec": { "renewTime": format!("{:.6}", jiff::Timestamp::now() + offset) } });
            leases(&server).patch(LEASE, &PatchParams::default(), &Patch::Merge(skewed)).await.unwrap();
            if started.elapsed() > LONG + DURATION {
                break;
            }
            tokio::time::sleep(DURATION / 10).await;
        }
    };
    tokio::select! {
        acquired = second.acquire() => panic!("two lead: {acquired:?}"),
        () = renewing => {}
    }
    // A time far ahead does not make a dead leader's lease last.
    timeout(DEADLINE, second.acquire()).await.unwrap().unwrap();
    assert_eq!(holder(&server).await.as_deref(), Some("second"));
}
