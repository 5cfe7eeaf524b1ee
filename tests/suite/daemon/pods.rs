//! The pods of a node: what the API server tells of them is on the profiles of what runs in them, whenever it comes.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use profiler_tests::{
    Capture, Daemon, KubeApi, Pyroscope, ReceivedProfile, RunningWorkload, Workload, machine_or_skip,
    tool_or_skip,
};
use serde_json::{Value, json};

/// A pod with one container, in the cgroup that kubelet would make, in each hierarchy that takes processes. Removed on
/// drop, when nothing may run in it any more.
struct Pod {
    uid: String,
    container: String,
    name: &'static str,
    namespace: &'static str,
    folders: Vec<PathBuf>,
}

impl Pod {
    fn new(namespace: &'static str, name: &'static str) -> Result<Self> {
        let uid = std::fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        let container = uid.replace('-', "").repeat(2);
        let root = Path::new("/sys/fs/cgroup");
        let inner = std::fs::read_dir(root)?.flatten().map(|hierarchy| hierarchy.path());
        // A new cpuset has no CPUs, and takes no process.
        let takes_processes =
            |path: &PathBuf| path.join("cgroup.procs").is_file() && !path.ends_with("cpuset");
        let hierarchies = inner.chain([root.to_owned()]).filter(takes_processes);
        let folder = |path: PathBuf| path.join(format!("kubepods/besteffort/pod{uid}/{container}"));
        let folders: Vec<PathBuf> = hierarchies.map(folder).collect();
        ensure!(!folders.is_empty(), "no hierarchy of cgroups");
        let pod = Self { uid, container, name, namespace, folders };
        pod.folders.iter().try_for_each(std::fs::create_dir_all).context("make a cgroup")?;
        Ok(pod)
    }

    /// Starts a workload that is in it from its first instruction on.
    fn start(&self, workload: &str, args: &[&str]) -> Result<RunningWorkload> {
        let enter = self.folders.iter().map(|folder| format!("echo $$ > {}/cgroup.procs", folder.display()));
        let script = format!("{} && exec \"$@\"", enter.collect::<Vec<_>>().join(" && "));
        Workload::build(workload)?.args(args.iter().copied()).under(["sh", "-c", &script, "sh"]).start()
    }

    /// As the API server tells of it.
    fn object(&self, labels: &Value, annotations: &Value) -> Value {
        json!({
            "metadata": {
                "name": self.name, "namespace": self.namespace, "uid": self.uid,
                "labels": labels, "annotations": annotations,
            },
            "spec": {"nodeName": "node-7", "containers": [{"name": "web", "image": "shop:1"}]},
            "status": {"containerStatuses": [
                {"name": "web", "containerID": format!("containerd://{}", self.container)}
            ]},
        })
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        for folder in self.folders.iter().flat_map(|folder| folder.ancestors().take(4)) {
            // What others have made there stays.
            std::fs::remove_dir(folder).ok();
        }
    }
}

fn start(peer: &Pyroscope, api: &KubeApi, window: &str, more: &[&str]) -> Result<Daemon> {
    let capture = Capture::plain(["daemon", "--window", window, "--rate", "49"])?;
    let url = api.url();
    let options = ["--kubernetes-api-server", &url, "--kubernetes-node-name", "node-7"];
    Daemon::run(capture.with_spool(), peer.url()?, &[&options, more].concat())
}

fn label<'a>(profile: &'a ReceivedProfile, name: &str) -> &'a str {
    profile.labels.get(name).map_or("", String::as_str)
}

/// What pods are told by.
fn told(profile: &ReceivedProfile) -> [&str; 6] {
    ["service_name", "namespace", "pod", "container", "node", "team"].map(|name| label(profile, name))
}

fn watches(api: &KubeApi) -> usize {
    let requests = api.requests();
    requests.iter().filter(|request| request.status == 200 && request.path.contains("watch=true")).count()
}

#[test]
fn a_rule_about_pods_waits_for_the_first_list() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let (peer, api) = (Pyroscope::start()?, KubeApi::start()?);
    let (shop, vault) = (Pod::new("sales", "shop-0")?, Pod::new("secret", "vault-0")?);
    let wanted = shop.start("c_frame_pointers", &[])?;
    let unwanted = vault.start("c_recursion", &["0", "40"])?;
    let outside = Workload::build("c_threads")?.start()?;
    api.put(shop.object(&json!({"team": "checkout"}), &json!({"pyroscope.io/service_name": "shop"})))?;
    api.put(vault.object(&json!({}), &json!({})))?;
    api.hold();
    let rules = r#"[
        {action = "drop", source_labels = ["__meta_kubernetes_namespace"], regex = "secret"},
        {action = "keep", source_labels = ["__meta_kubernetes_pod_name"], regex = ".+"},
        {action = "labelmap", regex = "__meta_kubernetes_pod_label_(team)"},
    ]"#;
    let daemon = start(&peer, &api, &window_that_lasts()?, &["--labels-relabel-configs", rules])?;
    daemon.wait_for("a list to be asked for", || Ok(!api.requests().is_empty()))?;
    wanted.works_on(8)?;
    let before_list = wanted.cpu_nanos()?;
    api.release();
    daemon.wait_for("both pods", || Ok(daemon.metric("flamekeeper_kubernetes_pods")? == 2.0))?;
    let after_list = wanted.cpu_nanos()?;
    unwanted.works_on(1)?;
    let words = daemon.end()?;
    let since_list = wanted.cpu_nanos()?.saturating_sub(after_list);
    drop((wanted, unwanted, outside, machine));
    let state = peer.state()?;
    ensure!(!state.received.is_empty() && words.windows_waiting == 0, "nothing arrived");
    let mut arrived = 0;
    for profile in &state.received {
        let expected = ["shop", "sales", "shop-0", "web", "node-7", "checkout"];
        ensure!(told(profile) == expected, "{:?}", profile.labels);
        arrived += u64::try_from(profile.cpu_nanos)?;
    }
    // What came before the list is there, too: eight ticks are some 400 ms of CPU time.
    ensure!(
        before_list > 0 && arrived > since_list + 200_000_000,
        "{arrived} ns, {since_list} since the list"
    );
    ensure!(words.in_windows < words.sampled, "nothing was left out");
    Ok(())
}

/// A length by which no window ends in the next minute and a half: windows end on boundaries of the clock.
#[expect(clippy::disallowed_methods, reason = "a daemon of its own process goes by the machine's clock")]
fn window_that_lasts() -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let seconds = (200..=300).find(|seconds| seconds - now % seconds > 90).context("no such length")?;
    Ok(format!("{seconds}s"))
}

#[test]
fn profiles_have_the_labels_of_their_pods_whatever_befalls_the_watch() -> Result<()> {
    tool_or_skip!("go");
    let machine = machine_or_skip!();
    let (peer, api) = (Pyroscope::start()?, KubeApi::start()?);
    let folder = tempfile::tempdir()?;
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n")?;
    api.ask_for("Bearer first");
    let (shop, site) = (Pod::new("sales", "shop-0")?, Pod::new("web", "site-0")?);
    let in_shop = shop.start("c_frame_pointers", &[])?;
    let token_file = token.to_string_lossy();
    let daemon = start(&peer, &api, "1s", &["--kubernetes-token-file", &token_file])?;
    let arrives = |service: &str| -> Result<bool> {
        Ok(peer.state()?.received.iter().any(|profile| label(profile, "service_name") == service))
    };
    // Told of after the watch began: the labels change with it.
    daemon.wait_for("a watch", || Ok(watches(&api) == 1))?;
    daemon.wait_for("a window without a pod", || arrives("c_frame_pointers"))?;
    api.put(shop.object(&json!({"team": "checkout"}), &json!({"pyroscope.io/service_name": "shop"})))?;
    daemon.wait_for("a window of the pod", || arrives("shop"))?;
    // A watch that broke off goes on behind the last bookmark, with the token of the day.
    let bookmark = api.bookmark();
    std::fs::write(&token, "second\n")?;
    api.ask_for("Bearer second");
    api.hang_up();
    daemon.wait_for("a second watch", || Ok(watches(&api) == 2))?;
    // What it missed while the API server forgot comes with a new list.
    api.forget();
    api.put(site.object(&json!({"app.kubernetes.io/name": "site"}), &json!({})))?;
    let in_site = site.start("c_recursion", &["0", "40"])?;
    daemon.wait_for("a second list", || Ok(lists(&api) == 2))?;
    api.release();
    daemon.wait_for("a window of the other pod", || arrives("site"))?;
    let failures = failures(&daemon)?;
    daemon.end()?;
    drop((in_shop, in_site, machine));
    for profile in peer.state()?.received {
        let expected = match label(&profile, "service_name") {
            "shop" => ["shop", "sales", "shop-0", "web", "node-7", ""],
            "site" => ["site", "web", "site-0", "web", "node-7", ""],
            _ => continue,
        };
        ensure!(told(&profile) == expected, "{:?}", profile.labels);
    }
    ensure!(failures == ["broken 1", "gone 1"], "{failures:?}");
    for request in api.requests() {
        ensure!(
            request.path.starts_with("/api/v1/pods?") && request.path.contains("spec.nodeName%3Dnode-7"),
            "{request:?}"
        );
        ensure!(request.status == 200, "{request:?}");
    }
    let second = api.requests().into_iter().filter(|request| request.path.contains("watch=true")).nth(1);
    let second = second.context("no second watch")?;
    ensure!(second.authorization == "Bearer second", "{second:?}");
    ensure!(second.path.contains(&format!("resourceVersion={bookmark}")), "{second:?}");
    Ok(())
}

fn lists(api: &KubeApi) -> usize {
    api.requests().iter().filter(|request| !request.path.contains("watch=true")).count()
}

/// How often the watch broke, by cause.
fn failures(daemon: &Daemon) -> Result<Vec<String>> {
    let (_, body) = daemon.get("/metrics")?;
    let text = String::from_utf8(body)?;
    let of = |line: &str| {
        let rest = line.strip_prefix("flamekeeper_kubernetes_watch_failures_total{cause=\"")?;
        let (cause, count) = rest.split_once("\"} ")?;
        (count != "0").then(|| format!("{cause} {count}"))
    };
    Ok(text.lines().filter_map(of).collect())
}
