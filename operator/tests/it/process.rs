//! `run` as a process: endpoints, stop, hand-over, a leader that was stopped.

use std::process::Command;
use std::time::{Duration, Instant};

use stockpipeline::launch::Exit;

use crate::api_server::{ApiServer, Key};
use crate::program::{Operator, PROGRAM, until};

/// How long a hand-over may take.
const HANDOVER: Duration = Duration::from_secs(2);

fn holder(server: &ApiServer) -> String {
    let lease = server.get(&Key::new("leases", "system", "stockpipeline-operator")).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_leader_and_the_one_who_stands_by_are_both_ready() {
    let server = ApiServer::start().await;
    let leader = Operator::start(&server.kubeconfig("one"), "one", &[]);
    until("one leads", async || leader.leads().await).await;
    let standby = Operator::start(&server.kubeconfig("two"), "two", &[]);
    until("two is ready", async || standby.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    for process in [&leader, &standby] {
        for path in ["/livez", "/readyz"] {
            assert_eq!(process.get(path).await, Some((200, "ok\n".to_owned())), "{path}");
        }
        assert_eq!(process.get("/").await.map(|(status, _)| status), Some(404));
    }
    assert!(!standby.leads().await);
    assert!(server.writes().iter().all(|write| write.user == "one"), "one who stands by writes nothing");
}

#[tokio::test]
async fn without_an_api_server_the_process_is_live_and_not_ready() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: it\nclusters: [{{name: it, cluster: {{server: \"http://{nobody}\"}}}}]\n\
         contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\nusers: [{{name: it, user: {{}}}}]\n"
    );
    let process = Operator::start(&kubeconfig, "one", &[]);
    until("it listens", async || process.get("/livez").await.is_some()).await;
    assert_eq!(process.get("/livez").await.map(|(status, _)| status), Some(200));
    assert_eq!(process.get("/readyz").await, Some((503, "the API server has not answered yet\n".to_owned())));
}

#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_within_two_seconds() {
    let server = ApiServer::start().await;
    let mut first = Operator::start(&server.kubeconfig("one"), "one", &[]);
    until("one leads", async || first.leads().await).await;
    let second = Operator::start(&server.kubeconfig("two"), "two", &[]);
    until("two watches the lease", async || server.watches_by("two") > 0).await;
    let started = Instant::now();
    first.signal("TERM");
    until("two leads", async || holder(&server).starts_with("two_")).await;
    assert!(started.elapsed() < HANDOVER, "{:?}", started.elapsed());
    assert_eq!(first.ended().await.code(), Some(0));
    assert!(started.elapsed() < HANDOVER, "{:?}", started.elapsed());
    until("two says so", async || second.leads().await).await;
}

#[tokio::test]
async fn one_who_stands_by_stops_at_once() {
    let server = ApiServer::start().await;
    let leader = Operator::start(&server.kubeconfig("one"), "one", &[]);
    until("one leads", async || leader.leads().await).await;
    let mut standby = Operator::start(&server.kubeconfig("two"), "two", &[]);
    until("two is ready", async || standby.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    standby.signal("TERM");
    assert_eq!(standby.ended().await.code(), Some(0));
    assert!(holder(&server).starts_with("one_"));
}

#[tokio::test]
async fn a_leader_that_was_stopped_past_its_lease_ends_without_a_write() {
    let server = ApiServer::start().await;
    let mut first = Operator::start(&server.kubeconfig("one"), "one", &[]);
    until("one leads", async || first.leads().await).await;
    let second = Operator::start(&server.kubeconfig("two"), "two", &[]);
    first.signal("STOP");
    until("two leads", async || second.leads().await).await;
    let before = server.writes().len();
    first.signal("CONT");
    assert_eq!(first.ended().await.code(), Some(i32::from(Exit::External.code())));
    let late: Vec<_> = server.writes().into_iter().skip(before).filter(|write| write.user == "one").collect();
    assert_eq!(late, []);
    assert!(second.leads().await);
}

#[test]
fn wrong_arguments_and_a_missing_cluster_have_exit_codes_of_their_own() {
    for (arguments, exit) in
        [(&["run", "--nonsense"][..], Exit::Usage), (&["run", "--worker-image=x"], Exit::User), (&["--version"], Exit::Done)]
    {
        let ended = Command::new(PROGRAM)
            .args(arguments)
            .args(if exit == Exit::User { &["--http-address=127.0.0.1:0"][..] } else { &[] })
            .env("KUBECONFIG", "/nonexistent/kubeconfig")
            .env_remove("KUBERNETES_SERVICE_HOST")
            .env_remove("STOCKPIPELINE_WORKER_IMAGE")
            .output()
            .unwrap();
        assert_eq!(ended.status.code(), Some(i32::from(exit.code())), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    }
}
