//! Accounts as the runtimes write them, in folders laid out as theirs.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use expect_test::{Expect, expect};

use super::*;
use crate::attribute::cgroup::segment::{CgroupContainer, Runtime};
use crate::host::{MonotonicNanos, ProcFs};

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OTHER: &str = "1f0a7c3de5b94826a1f0c2d4e6b8937a5d1c3e7f9b2a4c6d8e0f1a3b5c7d9e2f";

fn shown(info: Option<&ContainerInfo>) -> String {
    let Some(info) = info else { return "nothing".to_owned() };
    let pod = info.pod.as_ref().map(|pod| format!(" of pod {}/{} {}", pod.namespace, pod.name, pod.uid));
    let sandbox = if info.is_sandbox { " (sandbox)" } else { "" };
    let labels: String = info.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    format!("{:?} from {:?}{}{sandbox}{labels}", info.name, info.image, pod.unwrap_or_default())
}

fn docker_json(name: &str, labels: &str) -> String {
    format!(
        r#"{{"StreamConfig":{{}},"State":{{"Running":true}},"ID":"{ID}","Config":{{"Image":"nginx:1.27","Env":["SECRET=1"],"Labels":{labels}}},"Name":{name}}}"#
    )
}

#[test]
fn docker_tells_names_and_labels_and_kubelets_pods() {
    let check = |json: &str, expected: Expect| {
        expected.assert_eq(&shown(docker::parse(ID, json.as_bytes()).ok().flatten().as_ref()));
    };
    check(
        &docker_json(r#""/shop-web-1""#, r#"{"com.docker.compose.service":"web"}"#),
        expect![[r#""shop-web-1" from "nginx:1.27" com.docker.compose.service=web"#]],
    );
    check(
        &docker_json(
            r#""/k8s_web_shop_prod_8a2b_0""#,
            r#"{"io.kubernetes.container.name":"web","io.kubernetes.pod.name":"shop","io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"8a2b"}"#,
        ),
        expect![[
            r#""web" from "nginx:1.27" of pod prod/shop 8a2b io.kubernetes.container.name=web io.kubernetes.pod.name=shop io.kubernetes.pod.namespace=prod io.kubernetes.pod.uid=8a2b"#
        ]],
    );
    for broken in
        ["", "[]", "{}", &docker_json("null", "null"), "{\"Name\": 7}", &docker_json("\"/a\"", "[1]")]
    {
        check(broken, expect!["nothing"]);
    }
    let error = docker::parse(ID, b"{").unwrap_err();
    assert_eq!(error.to_string(), format!("Docker's account of container {ID}"));
}

#[test]
fn annotations_tell_containers_of_containerd_and_cri_o() {
    let check = |annotations: &str, expected: Expect| {
        let json = format!(
            r#"{{"ociVersion":"1.1.0","process":{{"env":["SECRET=1"]}},"annotations":{annotations},"linux":{{}}}}"#
        );
        expected.assert_eq(&shown(oci::parse(ID, json.as_bytes()).unwrap().as_ref()));
    };
    check(
        r#"{"io.kubernetes.cri.container-name":"web","io.kubernetes.cri.container-type":"container","io.kubernetes.cri.image-name":"docker.io/library/nginx:1","io.kubernetes.cri.sandbox-id":"ff","io.kubernetes.cri.sandbox-name":"shop-6c9f","io.kubernetes.cri.sandbox-namespace":"prod","io.kubernetes.cri.sandbox-uid":"8a2b"}"#,
        expect![[r#""web" from "docker.io/library/nginx:1" of pod prod/shop-6c9f 8a2b"#]],
    );
    check(
        r#"{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-name":"shop-6c9f","io.kubernetes.cri.sandbox-namespace":"prod","io.kubernetes.cri.sandbox-uid":"8a2b"}"#,
        expect![[r#""" from "" of pod prod/shop-6c9f 8a2b (sandbox)"#]],
    );
    check(
        r#"{"io.kubernetes.container.name":"web","io.kubernetes.cri-o.ContainerType":"container","io.kubernetes.cri-o.ImageName":"","io.kubernetes.cri-o.Image":"quay.io/shop:2","io.kubernetes.cri-o.Labels":"{}","io.kubernetes.pod.name":"shop-6c9f","io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.uid":"8a2b"}"#,
        expect![[
            r#""web" from "quay.io/shop:2" of pod prod/shop-6c9f 8a2b io.kubernetes.container.name=web io.kubernetes.pod.name=shop-6c9f io.kubernetes.pod.namespace=prod io.kubernetes.pod.uid=8a2b"#
        ]],
    );
    check(
        r#"{"io.kubernetes.container.name":"POD","io.kubernetes.cri-o.ContainerType":"sandbox","io.kubernetes.pod.name":"shop","io.kubernetes.pod.namespace":"prod"}"#,
        expect![[
            r#""" from "" of pod prod/shop  (sandbox) io.kubernetes.container.name=POD io.kubernetes.pod.name=shop io.kubernetes.pod.namespace=prod"#
        ]],
    );
    check(
        r#"{"nerdctl/name":"web","nerdctl/namespace":"default","com.docker.compose.service":"web"}"#,
        expect![[
            r#""web" from "" com.docker.compose.service=web nerdctl/name=web nerdctl/namespace=default"#
        ]],
    );
    check(r#"{"io.container.manager":"libpod"}"#, expect!["nothing"]);
    check("null", expect!["nothing"]);
    assert!(oci::parse(ID, b"{\"annotations\":{\"a\":1}}").is_err());
}

#[test]
fn lists_tell_podmans_containers_and_cri_os() {
    let json = format!(
        r#"[{{"id":"{ID}","names":["burner"],"image":"","metadata":"{{\"image-name\":\"docker.io/library/nginx:1\",\"name\":\"burner\"}}"}},
            {{"id":"{OTHER}","names":["k8s_web_shop-6c9f_prod_8a2b_1"],"metadata":"not json"}},
            {{"id":"p","names":["k8s_POD_shop-6c9f_prod_8a2b_1"],"metadata":"{{\"image-name\":\"pause\"}}"}},
            {{"id":"n"}}, {{"id":"m","names":[]}}]"#
    );
    let list = storage::parse(json.as_bytes()).unwrap();
    let text: String = list.iter().map(|(id, info)| format!("{:.4} {}\n", id, shown(Some(info)))).collect();
    expect![[r#"
        0123 "burner" from "docker.io/library/nginx:1"
        1f0a "web" from "" of pod prod/shop-6c9f 8a2b
        p "" from "pause" of pod prod/shop-6c9f 8a2b (sandbox)
    "#]]
    .assert_eq(&text);
    assert!(storage::parse(b"{}").is_err());
}

#[test]
fn texts_and_their_number_are_bounded() {
    let labels: String = (0..500).map(|i| format!(r#""l{i:03}":"{}","#, "é".repeat(2000))).collect();
    let json = docker_json("\"/a\"", &format!("{{{}}}", labels.trim_end_matches(',')));
    let info = docker::parse(ID, json.as_bytes()).unwrap().unwrap();
    assert_eq!(info.labels.len(), LABELS_MAX);
    assert!(info.labels.values().all(|value| value.len() == TEXT_BYTES_MAX));
}

/// A host's root with the state of every runtime in it.
struct FakeHost(tempfile::TempDir);

impl FakeHost {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn store(&self) -> ContainerStore {
        ContainerStore::new(ProcFs::host(), ContainerFolders::below(self.0.path()), true)
    }

    fn found(&self, runtime: Runtime) -> String {
        let container = container(ID, runtime);
        shown(self.store().get(&container, None, MonotonicNanos(0)).as_deref())
    }
}

fn container(id: &str, runtime: Runtime) -> CgroupContainer {
    CgroupContainer { id: id.to_owned(), runtime }
}

fn cri(name: &str) -> String {
    format!(r#"{{"annotations":{{"io.kubernetes.cri.container-name":"{name}"}}}}"#)
}

/// Files that a test makes belong to whoever runs it; the system's must be root's.
fn needs_root() -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root, whose files alone are believed");
    }
    !is_root
}

#[test]
fn each_runtimes_folder_is_where_it_puts_it() {
    if needs_root() {
        return;
    }
    let docker = FakeHost::new();
    docker.write(&format!("var/lib/docker/containers/{ID}/config.v2.json"), &docker_json("\"/web\"", "{}"));
    assert_eq!(docker.found(Runtime::Docker), r#""web" from "nginx:1.27""#);
    assert_eq!(docker.found(Runtime::Unknown), r#""web" from "nginx:1.27""#);
    assert_eq!(docker.found(Runtime::Podman), "nothing");
    for namespace in ["k8s.io", "of-its-own"] {
        let containerd = FakeHost::new();
        let path = format!("run/containerd/io.containerd.runtime.v2.task/{namespace}/{ID}/config.json");
        containerd.write(&path, &cri("web"));
        assert_eq!(containerd.found(Runtime::Containerd), r#""web" from """#, "{namespace}");
        assert_eq!(containerd.found(Runtime::Unknown), r#""web" from """#);
    }
    let crio = FakeHost::new();
    crio.write(&format!("run/containers/storage/overlay-containers/{ID}/userdata/config.json"), &cri("web"));
    assert_eq!(crio.found(Runtime::CriO), r#""web" from """#);
    let list = format!(r#"[{{"id":"{OTHER}","names":["a"]}},{{"id":"{ID}","names":["b"]}}]"#);
    for path in [
        "var/lib/containers/storage/overlay-containers/containers.json",
        "var/lib/containers/storage/vfs-containers/volatile-containers.json",
        "run/containers/storage/overlay-containers/volatile-containers.json",
    ] {
        let podman = FakeHost::new();
        podman.write(path, &list);
        assert_eq!(podman.found(Runtime::Podman), r#""b" from """#, "{path}");
    }
}

#[test]
fn a_container_is_read_once_and_one_that_is_unknown_is_asked_for_later() {
    if needs_root() {
        return;
    }
    let host = FakeHost::new();
    let mut store = host.store();
    let docker = container(ID, Runtime::Docker);
    let mut name = |seconds: u64| {
        let now = MonotonicNanos(seconds * 1_000_000_000);
        store.get(&docker, Some(1000), now).map(|info| info.name.to_string())
    };
    assert_eq!(name(10), None);
    let path = format!("var/lib/docker/containers/{ID}/config.v2.json");
    host.write(&path, &docker_json("\"/web\"", "{}"));
    assert_eq!(name(10), None, "not asked again at once");
    assert_eq!(name(11).as_deref(), Some("web"));
    std::fs::remove_file(host.0.path().join(path)).unwrap();
    assert_eq!(name(12).as_deref(), Some("web"), "not read again");
    let wanted = Wanted { id: ID.into(), runtime: Runtime::Docker, user: Some(1000) };
    assert_eq!((store.take_wanted(), store.take_wanted()), (vec![wanted], vec![]));
    assert_eq!(store.counts(), (1, 1));
}

#[test]
fn the_pause_between_two_searches_grows_to_a_minute() {
    let host = FakeHost::new();
    let mut store = host.store();
    let unknown = container(ID, Runtime::Docker);
    let mut pauses = Vec::new();
    let mut now = MonotonicNanos(0);
    for _ in 0..9 {
        assert!(store.get(&unknown, None, now).is_none());
        let again = store.again(&unknown).unwrap();
        pauses.push((again.0 - now.0) / 1_000_000_000);
        now = again;
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(store.take_wanted().len(), 9, "each search asks the slow sources too");
}

#[test]
fn what_was_found_elsewhere_is_learned_but_the_systems_word_stands() {
    let host = FakeHost::new();
    let mut store = host.store();
    let docker = container(ID, Runtime::Docker);
    let now = MonotonicNanos(0);
    assert!(store.get(&docker, None, now).is_none());
    let named = |name: &str| ContainerInfo { name: name.into(), ..ContainerInfo::default() };
    let found = |name: &str| Found { containers: vec![(ID.into(), named(name))] };
    assert!(store.learn(found("first"), now));
    assert!(!store.learn(found("second"), now));
    assert_eq!(store.get(&docker, None, now).map(|info| info.name.to_string()).as_deref(), Some("first"));
    assert_eq!(store.again(&docker), None);
}

#[test]
fn machines_are_their_names() {
    let mut store = ContainerStore::new(ProcFs::host(), ContainerFolders::none(), true);
    let machine = container("web", Runtime::Nspawn);
    let info = store.get(&machine, None, MonotonicNanos(0)).unwrap();
    assert_eq!((&*info.name, store.counts(), store.take_wanted().len()), ("web", (0, 0), 0));
}

#[test]
fn the_store_is_bounded() {
    let mut store = ContainerStore::new(ProcFs::host(), ContainerFolders::none(), true);
    for i in 0..20_000_u64 {
        store.get(&container(&format!("{i:064x}"), Runtime::Docker), None, MonotonicNanos(i));
        assert!(store.counts().0 <= 4096);
    }
    assert!(store.take_wanted().len() <= 1024);
    let named =
        |i: u64| (format!("{i:064x}").into(), ContainerInfo { name: "a".into(), ..ContainerInfo::default() });
    store.learn(Found { containers: (0..20_000).map(named).collect() }, MonotonicNanos(30_000));
    assert!(store.counts().0 <= 4096);
    let first = container(&format!("{:064x}", 0), Runtime::Docker);
    assert!(store.get(&first, None, MonotonicNanos(30_000)).is_some(), "the one that was asked for");
}

#[test]
fn what_is_planted_is_not_followed() {
    if needs_root() {
        return;
    }
    let host = FakeHost::new();
    let account = docker_json("\"/secret\"", "{}");
    host.write("secret", &account);
    let folder = host.0.path().join("var/lib/docker/containers").join(ID);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("config.v2.json");
    symlink(host.0.path().join("secret"), &file).unwrap();
    assert_eq!(host.found(Runtime::Docker), "nothing", "a link");
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(host.found(Runtime::Docker), "nothing", "a pipe, at once");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &account).unwrap();
    std::os::unix::fs::chown(&file, Some(1234), None).unwrap();
    assert_eq!(host.found(Runtime::Docker), "nothing", "another user's");
    std::os::unix::fs::chown(&file, Some(0), None).unwrap();
    assert_eq!(host.found(Runtime::Docker), r#""secret" from "nginx:1.27""#);
    let odd = ContainerFolders::below(host.0.path()).find(&ProcFs::host(), Runtime::Docker, "../secret");
    assert_eq!(odd, []);
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

#[test]
fn rootless_containers_are_in_their_users_home() {
    if needs_root() {
        return;
    }
    let host = FakeHost::new();
    let list = "home/anna/.local/share/containers/storage/overlay-containers/containers.json";
    host.write(list, &format!(r#"[{{"id":"{ID}","names":["hers"]}}]"#));
    let account = format!("home/bert/.local/share/docker/containers/{ID}/config.v2.json");
    host.write(&account, &docker_json("\"/his\"", "{}"));
    for (path, user) in [("home/anna", 1001), (list, 1001), ("home/bert", 1002), (&account, 1002)] {
        std::os::unix::fs::chown(host.0.path().join(path), Some(user), None).unwrap();
    }
    let elsewhere = Elsewhere::new(ProcFs::host(), ContainerFolders::below(host.0.path()), &[]).unwrap();
    let name = |user| {
        let wanted = Wanted { id: ID.into(), runtime: Runtime::Unknown, user };
        let found = block_on(elsewhere.look_up(&wanted)).unwrap();
        found.map(|found| found.containers[0].1.name.to_string())
    };
    assert_eq!(name(Some(1001)).as_deref(), Some("hers"));
    assert_eq!(name(Some(1002)).as_deref(), Some("his"));
    assert_eq!(name(Some(1003)), None);
    assert_eq!(name(None), None);
}

/// Answers each connection once with these bytes, on a thread that ends with the last of them.
fn answer_each(path: &Path, answers: Vec<String>) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        let serve = |answer: String| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            // The client may hang up in the middle of an answer that is too long for it.
            stream.write_all(answer.as_bytes()).ok();
            String::from_utf8_lossy(&request[..length]).lines().next().unwrap_or_default().to_owned()
        };
        answers.into_iter().map(serve).collect()
    })
}

fn http(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[test]
fn a_socket_is_asked_for_one_container_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let answers = vec![
        http("200 OK", &docker_json("\"/web\"", "{}")),
        http("404 Not Found", "{}"),
        http("500 Oh", ""),
        http("200 OK", "{"),
        http("200 OK", &" ".repeat(socket::ANSWER_BYTES_MAX + 1)),
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhal".to_owned(),
    ];
    let server = answer_each(&path, answers);
    let elsewhere = Elsewhere::new(ProcFs::host(), ContainerFolders::none(), &[path]).unwrap();
    let wanted = Wanted { id: ID.into(), runtime: Runtime::Docker, user: None };
    let mut text = String::new();
    for _ in 0..6 {
        let line = match block_on(elsewhere.look_up(&wanted)) {
            Ok(found) => shown(found.as_ref().map(|found| &found.containers[0].1)),
            Err(error) => error.to_string().replace(ID, "ID"),
        };
        text += &format!("{line}\n");
    }
    expect![[r#"
        "web" from "nginx:1.27"
        nothing
        /containers/ID/json answered with status 500
        Docker's account of container ID
        the answer of /containers/ID/json has more than 1048576 bytes
        ask /containers/ID/json over its socket
    "#]]
    .assert_eq(&text);
    let requests = server.join().unwrap();
    assert!(
        requests.iter().all(|line| *line == format!("GET /containers/{ID}/json HTTP/1.1")),
        "{requests:?}"
    );
}

#[test]
fn the_status_says_which_sources_there_are_and_why_not() {
    let host = FakeHost::new();
    std::fs::create_dir_all(host.0.path().join("var/lib/docker/containers")).unwrap();
    std::fs::create_dir_all(host.0.path().join("home")).unwrap();
    let folders = ContainerFolders::below(host.0.path());
    let root = host.0.path().display().to_string();
    let line = |status: SourceStatus| status.to_string().replace(&root, "") + "\n";
    let text: String = folders.status().into_iter().map(line).collect();
    expect![[r#"
        Docker (/var/lib/docker/containers): can be read
        containerd (/run/containerd/io.containerd.runtime.v2.task): not there
        containerd (/run/k3s/containerd/io.containerd.runtime.v2.task): not there
        containerd (/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task): not there
        CRI-O (/run/containers/storage): not there
        Podman (/var/lib/containers/storage): not there
        rootless (/home): can be read
    "#]]
    .assert_eq(&text);
    let (dead, alive) = (host.0.path().join("dead.sock"), host.0.path().join("alive.sock"));
    drop(UnixListener::bind(&dead).unwrap());
    let listener = UnixListener::bind(&alive).unwrap();
    let server = std::thread::spawn(move || {
        let _first_only_connects = listener.accept().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(http("200 OK", "OK").as_bytes()).unwrap();
    });
    let sockets = [dead, alive, host.0.path().join("none.sock")];
    let elsewhere = Elsewhere::new(ProcFs::host(), ContainerFolders::none(), &sockets).unwrap();
    let text: String = block_on(elsewhere.status()).into_iter().map(line).collect();
    expect![[r#"
        socket (/dead.sock): connection refused
        socket (/alive.sock): can be read
        socket (/none.sock): not there
    "#]]
    .assert_eq(&text);
    server.join().unwrap();
}
