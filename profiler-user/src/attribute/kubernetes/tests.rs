//! The watch against an API server that does all that a real one may do: in order, late, broken, forgetful, hostile.

mod peer;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch::{self, Receiver};
use tokio::task::JoinSet;

use self::peer::{Last, NODE, Peer, Pieces};
use super::*;
use crate::host::Clock;

/// More than any wait takes on a loaded machine; a test that gets there has failed.
const DEADLINE: Duration = Duration::from_secs(30);

const QUICK: WatchTimes = WatchTimes {
    first_pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
    answer_within: Duration::from_secs(20),
    watch: Duration::from_secs(290),
    overdue: Duration::from_secs(30),
    linger: Duration::from_millis(50),
};

/// A watch that runs, and what it has published.
struct Running {
    tables: Receiver<PublishedPods>,
    status: Receiver<WatchStatus>,
    _task: JoinSet<()>,
}

fn direct(peer: &Peer) -> Access {
    Access::Direct { url: peer.url.clone(), token_file: None, ca_file: None }
}

fn options(access: Access) -> WatchOptions {
    WatchOptions { access, node: NODE.to_owned(), max_pods: 1000, times: QUICK }
}

impl Running {
    fn start(options: WatchOptions) -> Self {
        let (tables_sender, tables) = watch::channel(PublishedPods::default());
        let (status_sender, status) = watch::channel(WatchStatus::default());
        let watch = PodWatch::new(options, Clock::host(), tables_sender, status_sender);
        let mut task = JoinSet::new();
        task.spawn(watch.run());
        Self { tables, status, _task: task }
    }

    fn on(peer: &Peer) -> Self {
        Self::start(options(direct(peer)))
    }

    /// Waits until the table is so that a container is the one of this pod; an empty name: of none.
    async fn until_pod(&mut self, container: &str, pod: &str) {
        let is_there = |pods: &PublishedPods| {
            pods.generation > 0
                && pods.table.find(None, Some(container)).map_or("", |found| &*found.name) == pod
        };
        let waited = tokio::time::timeout(DEADLINE, self.tables.wait_for(is_there)).await;
        assert!(waited.is_ok(), "{container} is not of {pod:?}; {:?}", self.status.borrow());
    }

    /// Waits until the watch tells so of itself.
    async fn until(&mut self, what: &str, is_so: impl Fn(&WatchStatus) -> bool) -> WatchStatus {
        let told = tokio::time::timeout(DEADLINE, self.status.wait_for(|status| is_so(status))).await;
        let told = told.map(|status| status.unwrap().clone());
        told.unwrap_or_else(|_| panic!("never {what}: {:?}", self.status.borrow()))
    }

    async fn until_failed(&mut self, cause: &str, times: u64) {
        self.until(cause, |status| status.failures.get(cause).copied().unwrap_or(0) >= times).await;
    }

    async fn until_watching(&mut self, watches: u64) {
        self.until("watching", |status| status.is_connected && status.watches >= watches).await;
    }
}

fn pod(uid: &str, container: &str) -> Value {
    pod_on(NODE, uid, container)
}

fn pod_on(node: &str, uid: &str, container: &str) -> Value {
    json!({
        "metadata": {
            "name": format!("pod-{uid}"), "namespace": "shop", "uid": uid,
            "annotations": {"pyroscope.io/service_name": "shop"},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {"nodeName": node, "containers": [{"name": "web", "image": "nginx"}]},
        "status": {"containerStatuses": [{"name": "web", "containerID": format!("containerd://{container}")}]},
    })
}

#[tokio::test]
async fn pods_are_listed_and_then_followed() {
    let peer = Peer::start().await;
    peer.put(pod("a", "1"));
    peer.put(pod_on("another", "z", "9"));
    let mut watch = Running::on(&peer);
    watch.until_pod("1", "pod-a").await;
    watch.until_pod("9", "").await;
    watch.until_watching(1).await;
    peer.put(pod("b", "2"));
    watch.until_pod("2", "pod-b").await;
    // A container is started anew.
    peer.put(pod("b", "3"));
    watch.until_pod("3", "pod-b").await;
    watch.until_pod("2", "").await;
    let table = watch.tables.borrow().table.clone();
    let annotations = &table.find(Some("b"), None).unwrap().annotations;
    assert_eq!(annotations.get("pyroscope.io/service_name").map(|name| &**name), Some("shop"));
    // A deleted one goes after a while.
    peer.delete("a");
    watch.until("fewer pods", |status| status.pods == 1).await;
    watch.until_pod("1", "").await;
    let status = watch.status.borrow().clone();
    assert_eq!((status.lists, status.watches, status.events, status.is_connected), (1, 1, 3, true));
    assert_eq!(status.failures.len(), 0);
    assert!(status.last_heard.is_some());
    assert_eq!(
        peer.requests(),
        [
            "list resourceVersion=0&resourceVersionMatch=NotOlderThan",
            "watch allowWatchBookmarks=true&resourceVersion=102"
        ]
    );
}

#[tokio::test]
async fn a_deleted_pod_stays_for_late_samples() {
    let peer = Peer::start().await;
    peer.put(pod("a", "1"));
    let mut options = options(direct(&peer));
    options.times.linger = Duration::from_secs(3600);
    let mut watch = Running::start(options);
    watch.until_watching(1).await;
    // Its last words tell of a container that nobody has heard of.
    peer.forget(true, |_| {});
    peer.say(&peer.next_event("DELETED", pod("a", "2")));
    watch.until("deleted", |status| status.pods == 0).await;
    watch.until_pod("2", "pod-a").await;
}

#[tokio::test]
async fn a_table_is_made_only_if_something_is_new() {
    let peer = Peer::start().await;
    peer.put(pod("a", "1"));
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    for _ in 0..5 {
        peer.put(pod("a", "1"));
    }
    watch.until("events", |status| status.events == 5).await;
    assert_eq!(watch.tables.borrow().generation, 1);
}

#[tokio::test]
async fn a_watch_goes_on_where_the_last_one_ended() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    peer.put(pod("a", "1"));
    watch.until_pod("1", "pod-a").await;
    peer.end();
    watch.until_watching(2).await;
    peer.bookmark(40);
    peer.put(pod("b", "2"));
    watch.until_pod("2", "pod-b").await;
    let before = watch.status.borrow().last_heard;
    peer.bookmark(7);
    watch.until("the bookmark", |status| status.last_heard > before).await;
    peer.break_off();
    watch.until_watching(3).await;
    let status = watch.status.borrow().clone();
    let watched = |version: u64| format!("watch allowWatchBookmarks=true&resourceVersion={version}");
    assert_eq!(peer.requests()[1..], [watched(100), watched(101), watched(149)]);
    assert_eq!((status.lists, status.failures.get("broken")), (1, Some(&1)));
}

#[tokio::test]
async fn gone_in_the_stream_means_a_new_list() {
    gone(true).await;
}

#[tokio::test]
async fn gone_as_an_answer_means_a_new_list() {
    gone(false).await;
}

async fn gone(in_stream: bool) {
    let peer = Peer::start().await;
    peer.put(pod("a", "1"));
    peer.put(pod("b", "2"));
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    peer.forget(in_stream, |pods| {
        pods.remove("a");
        pods.insert("c".to_owned(), pod("c", "3"));
    });
    peer.end();
    watch.until_pod("3", "pod-c").await;
    watch.until_pod("1", "").await;
    watch.until_pod("2", "pod-b").await;
    let status = watch.until("watching", |status| status.is_connected && status.lists == 2).await;
    assert_eq!((status.failures.get("gone"), status.pods, status.failing), (Some(&1), 2, None));
    // The cache may be what is behind.
    assert_eq!(
        peer.requests()[3..],
        ["list limit=100", "watch allowWatchBookmarks=true&resourceVersion=112"]
    );
}

#[tokio::test]
async fn a_long_list_comes_in_pages() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    peer.forget(false, |pods| {
        pods.extend((0..250).map(|n| (format!("{n:03}"), pod(&format!("{n:03}"), &n.to_string()))));
    });
    // A page is forgotten before it is asked for: the list begins again.
    peer.answer_next(410, "{}");
    peer.answer_next(200, r#"{"metadata": {"resourceVersion": "5", "continue": "100"}, "items": []}"#);
    peer.answer_next(410, "{}");
    peer.end();
    watch.until("all", |status| status.pods == 250).await;
    watch.until_pod("249", "pod-249").await;
    watch.until_watching(2).await;
    assert_eq!(
        peer.requests()[3..8],
        [
            "list limit=100",
            "list continue=100&limit=100",
            "list limit=100",
            "list continue=100&limit=100",
            "list continue=200&limit=100"
        ]
    );
}

#[tokio::test]
async fn a_new_token_is_read_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "first\n").unwrap();
    let peer = Peer::start().await;
    peer.take_only("first");
    peer.put(pod("a", "1"));
    let access =
        Access::Direct { url: peer.url.clone(), token_file: Some(token_file.clone()), ca_file: None };
    let mut watch = Running::start(options(access));
    watch.until_watching(1).await;
    // The old one is no longer good before the new one is there.
    peer.take_only("second");
    peer.end();
    watch.until_failed("forbidden", 2).await;
    watch.until_pod("1", "pod-a").await;
    peer.put(pod("b", "2"));
    std::fs::write(&token_file, "second").unwrap();
    watch.until_pod("2", "pod-b").await;
    watch.until("well", |status| status.failing.is_none() && status.is_connected).await;
    std::fs::remove_file(&token_file).unwrap();
    peer.end();
    watch.until_failed("token", 1).await;
    std::fs::write(&token_file, "sec\nond").unwrap();
    watch.until_failed("token", 2).await;
}

#[tokio::test]
async fn an_event_that_broke_off_comes_again() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    let line = peer.next_event("ADDED", pod("a", "1"));
    peer.say(&line[..line.len() / 2]);
    peer.break_off();
    watch.until_pod("1", "pod-a").await;
    // Half an event before a good end is none either.
    let line = peer.next_event("ADDED", pod("b", "2"));
    peer.say(&line[..line.len() - 1]);
    peer.end();
    watch.until_pod("2", "pod-b").await;
    let status = watch.status.borrow().clone();
    assert_eq!((status.lists, status.skipped_events), (1, 0));
}

#[tokio::test]
async fn a_slow_event_arrives() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    let line = peer.next_event("ADDED", pod("a", "1"));
    peer.dribble(&line).await;
    watch.until_pod("1", "pod-a").await;
    assert_eq!(watch.status.borrow().watches, 1);
}

#[tokio::test]
async fn silence_has_an_end() {
    let peer = Peer::start().await;
    peer.put(pod("a", "1"));
    let hanging = Pieces { pieces: vec![b"{\"items\": [".to_vec()], last: Last::Hang };
    peer.answer_next(200, hanging);
    let mut slow = options(direct(&peer));
    slow.times.answer_within = Duration::from_millis(100);
    slow.times.watch = Duration::from_secs(1);
    slow.times.overdue = Duration::ZERO;
    let mut watch = Running::start(slow);
    watch.until_failed("silent", 1).await;
    watch.until_pod("1", "pod-a").await;
    // A watch that goes on after its time: the other end is not there any more.
    watch.until_failed("silent", 2).await;
    watch.until_watching(2).await;
    // Nothing listens there.
    let closed = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let mut watch = Running::start(options(Access::Direct { url, token_file: None, ca_file: None }));
    watch.until_failed("broken", 3).await;
    assert_eq!(watch.tables.borrow().generation, 0);
}

#[tokio::test]
async fn refusals_are_told_with_the_server_s_words() {
    let peer = Peer::start().await;
    let mut other = options(direct(&peer));
    other.node = "another".to_owned();
    let mut watch = Running::start(other);
    watch.until_failed("forbidden", 1).await;
    let failing = watch.status.borrow().failing.clone();
    assert_eq!(failing.as_deref(), Some("the API server refuses: 403 pods is forbidden: only this node's"));
    drop(watch);

    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    peer.answer_next(500, format!("<html>\n{}", "x".repeat(10_000)));
    peer.answer_next(503, "");
    let broken = Pieces { pieces: vec![b"{\"metadata\": {".to_vec()], last: Last::BreakOff };
    peer.answer_next(200, broken);
    peer.end();
    watch.until_failed("refused", 2).await;
    watch.until_failed("broken", 1).await;
    watch.until_watching(2).await;
    assert!(watch.status.borrow().failing.is_none());
}

#[tokio::test]
async fn after_three_failures_the_pods_are_listed_anew() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    // Such as: the version is from the future, because the cluster was put back to a backup.
    for _ in 0..3 {
        peer.answer_next(504, r#"{"message": "Too large resource version"}"#);
    }
    peer.end();
    watch.until("listed", |status| status.lists == 2 && status.is_connected).await;
    assert_eq!(peer.requests()[5], "list resourceVersion=0&resourceVersionMatch=NotOlderThan");
}

#[tokio::test]
async fn a_watch_that_is_no_watch_is_not_asked_for_without_a_pause() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    peer.answer_next(200, "");
    peer.answer_next(200, "<html>\n<body>\n");
    peer.end();
    // The first end is one of them: that watch said nothing either.
    watch.until_failed("ended", 3).await;
    peer.put(pod("a", "1"));
    watch.until_pod("1", "pod-a").await;
    assert_eq!(watch.status.borrow().skipped_events, 2);
}

#[tokio::test]
async fn a_pause_follows_a_short_watch_whatever_it_said() {
    let peer = Peer::start().await;
    let mut patient = options(direct(&peer));
    patient.times.first_pause = Duration::from_secs(3600);
    patient.times.longest_pause = Duration::from_secs(3600);
    let mut watch = Running::start(patient);
    watch.until_watching(1).await;
    peer.put(pod("a", "1"));
    watch.until_pod("1", "pod-a").await;
    peer.end();
    watch.until_failed("ended", 1).await;
    assert_eq!(peer.requests().len(), 2);
}

#[tokio::test]
async fn what_makes_no_sense_is_skipped_and_counted() {
    let peer = Peer::start().await;
    let mut watch = Running::on(&peer);
    watch.until_watching(1).await;
    peer.say("not json\n");
    peer.say("{\"type\": \"ADDED\", \"object\": {\"metadata\": {\"uid\": 5}}}\n");
    peer.say("{\"type\": \"EXPLODED\", \"object\": {}}\n");
    peer.say(&format!("{}\n", "[".repeat(100_000)));
    for _ in 0..5 {
        peer.say(&"x".repeat(1 << 20));
    }
    peer.say("\n");
    peer.say("{\"type\": \"ADDED\", \"object\": {}}\n");
    peer.put(pod("a", "1"));
    watch.until_pod("1", "pod-a").await;
    let status = watch.status.borrow().clone();
    assert_eq!((status.skipped_events, status.pods, status.watches), (5, 1, 1));
}

#[tokio::test]
async fn too_much_is_refused() {
    let peer = Peer::start().await;
    let mut few = options(direct(&peer));
    few.max_pods = 3;
    peer.answer_next(200, vec![b' '; (32 << 20) + 1]);
    // One more page, for ever.
    for _ in 0..100 {
        peer.answer_next(200, r#"{"metadata": {"resourceVersion": "5", "continue": "1"}, "items": []}"#);
    }
    peer.answer_next(200, "[]");
    let mut watch = Running::start(few);
    watch.until_watching(1).await;
    watch.until_failed("too_long", 2).await;
    watch.until_failed("unreadable", 1).await;
    for n in 0..10 {
        peer.put(pod(&n.to_string(), &n.to_string()));
    }
    let status = watch.until("left out", |status| status.left_out == 7).await;
    assert_eq!(status.pods, 3);
}

/// A certificate authority, and what a server needs that it vouches for.
fn authority() -> (String, tokio_rustls::TlsAcceptor) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let server_key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(server_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![server.der().clone()], key).unwrap();
    (authority.pem(), std::sync::Arc::new(config).into())
}

#[tokio::test]
async fn the_server_s_certificate_is_checked_against_the_authority_s() {
    let (trusted, acceptor) = authority();
    let (stranger, _) = authority();
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.crt");
    std::fs::write(&ca_file, stranger).unwrap();
    let peer = Peer::with_tls(acceptor).await;
    peer.put(pod("a", "1"));
    let access = Access::Direct { url: peer.url.clone(), token_file: None, ca_file: Some(ca_file.clone()) };
    let mut watch = Running::start(options(access));
    watch.until_failed("broken", 2).await;
    assert_eq!(peer.requests(), [""; 0]);
    // The authority's new certificate is put there.
    std::fs::write(&ca_file, trusted).unwrap();
    watch.until_pod("1", "pod-a").await;
    watch.until_watching(1).await;
    std::fs::remove_file(&ca_file).unwrap();
    peer.break_off();
    watch.until_failed("setup", 1).await;
    // Each thing is said once.
    let failing = watch.status.borrow().failing.clone().unwrap_or_default();
    assert_eq!(failing.matches("No such file").count(), 1, "{failing}");
}

#[tokio::test]
async fn a_kubeconfig_tells_server_and_token() {
    let peer = Peer::start().await;
    peer.take_only("secret");
    peer.put(pod("a", "1"));
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("config");
    let config = |context: &str| {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": context,
            "clusters": [{"name": "c", "cluster": {"server": peer.url}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        });
        std::fs::write(&path, config.to_string()).unwrap();
    };
    let mut watch = Running::start(options(Access::Kubeconfig { path: path.clone() }));
    watch.until_failed("setup", 1).await;
    config("none");
    watch.until_failed("setup", 3).await;
    config("x");
    watch.until_pod("1", "pod-a").await;
}

#[tokio::test]
async fn one_look_tells_whether_lists_and_watches_are_answered() {
    let peer = Peer::start().await;
    peer.put(pod("a", "1"));
    peer.put(pod("b", "2"));
    let look = async |server: Option<&str>, node: &str| {
        let config =
            KubernetesConfig { api_server: server.map(str::to_owned), ..KubernetesConfig::default() };
        match probe(&config, &PodEnvironment::default(), node, DEADLINE).await {
            Reach::NotAsked => "not asked".to_owned(),
            Reach::Answered { node, pods } => format!("{pods} on {node}"),
            Reach::Failed(error) => error.with_sources(),
        }
    };
    assert_eq!(look(None, NODE).await, "not asked");
    assert_eq!(look(Some(&peer.url), NODE).await, "2 on node-7");
    assert_eq!(
        look(Some(&peer.url), "a,b").await,
        KubernetesError::NodeName { node: "a,b".to_owned() }.to_string()
    );
    peer.answer_next(200, r#"{"metadata": {"resourceVersion": "1"}, "items": []}"#);
    peer.answer_next(403, r#"{"message": "cannot watch"}"#);
    assert_eq!(look(Some(&peer.url), NODE).await, "the API server refuses: 403 cannot watch");
}
