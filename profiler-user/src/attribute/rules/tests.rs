//! What processes of every kind are called.

use expect_test::{Expect, expect};

use super::*;
use crate::attribute::cgroup::{Cgroup, CgroupContainer, Runtime};
use crate::attribute::containers::{ContainerInfo, RuntimePod};
use crate::attribute::go_build::GoBuild;
use crate::attribute::kubernetes::{PodContainer, PodInfo};
use crate::attribute::sources::KnownContainer;
use crate::collect::Tgid;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A process on the host, in this cgroup.
fn process(name: &str, cgroup: &str) -> Sources {
    Sources {
        tgid: Tgid(42),
        executable_name: name.into(),
        executable_path: format!("/usr/bin/{name}").into(),
        comm: name.into(),
        user_id: Some(0),
        is_kernel_thread: false,
        cgroup: Arc::new(Cgroup::parse(format!("0::{cgroup}\n").as_bytes())),
        container: None,
        pod: None,
        language: Some(Language::Native),
        go: None,
    }
}

fn known(info: ContainerInfo) -> Option<KnownContainer> {
    let container = CgroupContainer { id: ID.to_owned(), runtime: Runtime::Containerd };
    Some(KnownContainer { container, info: Some(Arc::new(info)) })
}

fn named(name: &str) -> ContainerInfo {
    ContainerInfo { name: name.to_owned(), ..ContainerInfo::default() }
}

fn pod(labels: &[(&str, &str)], annotations: &[(&str, &str)]) -> Option<Arc<PodInfo>> {
    let map = |of: &[(&str, &str)]| of.iter().map(|&(name, value)| (name.into(), value.into())).collect();
    Some(Arc::new(PodInfo {
        namespace: "prod".into(),
        name: "shop-6c9f-x2x".into(),
        uid: "8a2b".into(),
        node: "node-1".into(),
        labels: map(labels),
        annotations: map(annotations),
        containers: vec![PodContainer { id: ID.into(), name: "web".into(), image: "shop:1".into() }],
        owner: None,
    }))
}

fn check(sources: &Sources, expected: Expect) {
    let (labels, rule) = apply(sources, &HostLabels { instance: "host-1".into(), ..HostLabels::default() });
    expected.assert_eq(&format!("{rule}: {labels}"));
}

#[test]
fn a_pods_annotation_is_first_then_its_app_name_then_namespace_and_container() {
    let mut shop = process("shop", "/");
    shop.container = known(ContainerInfo::default());
    let app = [("app.kubernetes.io/name", "shop")];
    shop.pod = pod(&app, &[("pyroscope.io/service_name", "theirs"), ("flamekeeper.io/service_name", "ours")]);
    check(
        &shop,
        expect![[
            r#"pod_annotation: {container="web", instance="host-1", language="native", namespace="prod", node="node-1", pod="shop-6c9f-x2x", process_executable_name="shop", service_name="ours"}"#
        ]],
    );
    shop.pod = pod(&app, &[("pyroscope.io/service_name", "theirs")]);
    assert_eq!(service(&shop), (RuleName::PodAnnotation, "theirs".into()));
    shop.pod = pod(&app, &[("pyroscope.io/service_name", "")]);
    assert_eq!(service(&shop), (RuleName::PodAppName, "shop".into()));
    shop.pod = pod(&[("app.kubernetes.io/name", "")], &[]);
    assert_eq!(service(&shop), (RuleName::PodContainer, "prod/web".into()));
    shop.container = None;
    assert_eq!(service(&shop), (RuleName::PodContainer, "prod/shop-6c9f-x2x".into()));
}

#[test]
fn without_an_api_server_the_runtime_tells_the_pod() {
    let mut shop = process("shop", "/");
    let of = RuntimePod { namespace: "prod".into(), name: "shop-6c9f-x2x".into(), uid: "8a2b".into() };
    shop.container = known(ContainerInfo { pod: Some(of.clone()), ..named("web") });
    check(
        &shop,
        expect![[
            r#"pod_container: {container="web", instance="host-1", language="native", namespace="prod", pod="shop-6c9f-x2x", process_executable_name="shop", service_name="prod/web"}"#
        ]],
    );
    shop.container = known(ContainerInfo { pod: Some(of), is_sandbox: true, ..ContainerInfo::default() });
    assert_eq!(service(&shop), (RuleName::PodContainer, "prod/pause".into()));
}

#[test]
fn containers_units_and_executables() {
    let mut web = process("nginx", &format!("/system.slice/web.service/libpod-payload-{ID}"));
    web.container = known(named("web"));
    check(
        &web,
        expect![[
            r#"container: {container="web", instance="host-1", language="native", process_executable_name="nginx", service_name="web", systemd_unit="web.service"}"#
        ]],
    );
    // Its id alone names nothing: it is another for each start.
    web.container = known(ContainerInfo::default());
    assert_eq!(service(&web), (RuleName::SystemdUnit, "web.service".into()));
    check(
        &process("nginx", "/system.slice/nginx.service"),
        expect![[
            r#"systemd_unit: {instance="host-1", language="native", process_executable_name="nginx", service_name="nginx.service", systemd_unit="nginx.service"}"#
        ]],
    );
    let cases = [
        ("/system.slice/system-getty.slice/getty@tty1.service", "systemd_unit getty@tty1.service"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "systemd_unit x.service"),
        ("/user.slice/user-1000.slice/user@1000.service/init.scope", "systemd_unit user@1000.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope",
            "systemd_unit app-gnome-firefox.scope",
        ),
        ("/init.scope", "systemd_unit init.scope"),
        ("/user.slice/user-1000.slice/session-3.scope", "executable bash"),
        ("/system.slice/run-u123.service", "executable bash"),
        ("/", "executable bash"),
    ];
    for (cgroup, expected) in cases {
        let (rule, name) = service(&process("bash", cgroup));
        assert_eq!(format!("{rule} {name}"), expected, "{cgroup}");
    }
}

#[test]
fn kernel_threads_are_one_service_and_of_a_few_kinds() {
    let cases = [
        ("kworker/0:1H-kblockd", "kworker"),
        ("kworker/u8:2", "kworker"),
        ("ksoftirqd/11", "ksoftirqd"),
        ("rcu_preempt", "rcu_preempt"),
        ("kswapd0", "kswapd"),
        ("scsi_eh_12", "scsi_eh"),
        ("irq/128-nvme0q1", "irq"),
        ("jbd2/sda1-8", "jbd"),
        ("0", "0"),
    ];
    for (name, expected) in cases {
        let mut thread = process(name, "/");
        (thread.is_kernel_thread, thread.language) = (true, None);
        let (labels, rule) = apply(&thread, &HostLabels::default());
        let found = (rule, labels.get("service_name"), labels.get("process_executable_name"));
        assert_eq!(found, (RuleName::KernelThread, "kernel", expected), "{name}");
        assert_eq!(labels.get("language"), "");
    }
}

#[test]
fn go_programs_tell_their_build() {
    let mut shop = process("shop", "/");
    shop.language = Some(Language::Go);
    let build = GoBuild {
        version: "go1.26.1".into(),
        revision: "0123abcd".into(),
        is_pgo: true,
        ..GoBuild::default()
    };
    shop.go = Some(Arc::new(build));
    check(
        &shop,
        expect![[
            r#"executable: {go_pgo="true", go_version="go1.26.1", instance="host-1", language="go", process_executable_name="shop", service_name="shop", vcs_revision="0123abcd"}"#
        ]],
    );
    shop.go = Some(Arc::default());
    let (labels, _) = apply(&shop, &HostLabels::default());
    assert_eq!((labels.get("go_pgo"), labels.get("go_version")), ("false", ""));
}

#[test]
fn what_the_operator_says_is_on_all_but_gives_way_to_what_is_known() {
    let host = HostLabels {
        instance: "host-1".into(),
        hostname: Some("host-1.example.com".into()),
        node: Some("node-a".into()),
        static_labels: [("region", "eu"), ("namespace", "bare"), ("service_name", "never")]
            .into_iter()
            .collect(),
    };
    let (labels, _) = apply(&process("nginx", "/"), &host);
    expect![[
        r#"{hostname="host-1.example.com", instance="host-1", language="native", namespace="bare", node="node-a", process_executable_name="nginx", region="eu", service_name="nginx"}"#
    ]]
    .assert_eq(&labels.to_string());
    let mut shop = process("shop", "/");
    shop.pod = pod(&[], &[]);
    let (labels, _) = apply(&shop, &host);
    assert_eq!((labels.get("namespace"), labels.get("node")), ("prod", "node-a"));
}

#[test]
fn series_labels_are_those_of_the_list_and_no_others() {
    let mut all = process("shop", "/system.slice/shop.service");
    all.container = known(named("web"));
    all.pod = pod(&[("app.kubernetes.io/name", "shop"), ("x", "y")], &[("a", "b")]);
    all.go = Some(Arc::new(GoBuild { version: "go1".into(), revision: "r".into(), ..GoBuild::default() }));
    let (labels, _) = apply(&all, &HostLabels { instance: "host-1".into(), ..HostLabels::default() });
    let mut expected = SERIES_LABELS;
    expected.sort_unstable();
    assert_eq!(labels.iter().map(|(name, _)| name).collect::<Vec<_>>(), expected);
}
