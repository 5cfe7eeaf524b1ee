//! The source labels of a process that has all of them, and that the documentation has them too.

use expect_test::expect;

use super::*;
use crate::attribute::cgroup::Runtime;
use crate::attribute::containers::RuntimePod;
use crate::attribute::kubernetes::{PodContainer, PodOwner};

const OUTER: &str = "1f0a7c3de5b94826a1f0c2d4e6b8937a5d1c3e7f9b2a4c6d8e0f1a3b5c7d9e2f";
const INNER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A process of which every source tells something.
fn full() -> Sources {
    let cgroup = format!(
        "0::/kubepods/burstable/pod8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3/{OUTER}/docker/{INNER}/user.slice/user-1000.slice/user@1000.service/app.slice/shop@a\\x2db.service\n"
    );
    let map = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into_iter().collect();
    let info = ContainerInfo {
        name: "web-1".into(),
        image: "shop:1".into(),
        labels: map("com.docker.compose.service", "web"),
        pod: Some(RuntimePod { namespace: "prod".into(), name: "shop".into(), uid: "8a2b".into() }),
        is_sandbox: false,
    };
    let pod = PodInfo {
        namespace: "prod".into(),
        name: "shop-6c9f-x2x".into(),
        uid: "8a2b".into(),
        node: "node-1".into(),
        labels: [("app.kubernetes.io/name".into(), "shop".into()), ("empty".into(), "".into())].into(),
        annotations: [("example.com/team".into(), "a".into())].into(),
        containers: vec![PodContainer { id: INNER.into(), name: "web".into(), image: "".into() }],
        owner: Some(PodOwner { kind: "ReplicaSet".into(), name: "shop-6c9f".into() }),
    };
    let go = GoBuild {
        version: "go1.26.1".into(),
        module: "example.com/shop".into(),
        is_pgo: true,
        revision: "r".into(),
    };
    Sources {
        tgid: Tgid(42),
        executable_name: "shop".into(),
        executable_path: "/app/shop".into(),
        comm: "shop-main".into(),
        user_id: Some(1000),
        is_kernel_thread: true,
        cgroup: Arc::new(Cgroup::parse(cgroup.as_bytes())),
        container: Some(KnownContainer {
            container: CgroupContainer { id: INNER.to_owned(), runtime: Runtime::Docker },
            info: Some(Arc::new(info)),
        }),
        pod: Some(Arc::new(pod)),
        language: Some(Language::Go),
        go: Some(Arc::new(go)),
    }
}

#[test]
fn every_source_has_its_labels() {
    let text: String = full()
        .labels()
        .iter()
        .map(|(name, value)| format!("{name} {}\n", value.replace(OUTER, "OUTER").replace(INNER, "INNER")))
        .collect();
    expect![[r#"
        __meta_container_id INNER
        __meta_container_image shop:1
        __meta_container_label_com_docker_compose_service web
        __meta_container_labelpresent_com_docker_compose_service true
        __meta_container_name web-1
        __meta_container_outer_id OUTER
        __meta_container_runtime docker
        __meta_go_pgo true
        __meta_go_version go1.26.1
        __meta_kubernetes_namespace prod
        __meta_kubernetes_pod_annotation_example_com_team a
        __meta_kubernetes_pod_annotationpresent_example_com_team true
        __meta_kubernetes_pod_container_id INNER
        __meta_kubernetes_pod_container_image shop:1
        __meta_kubernetes_pod_container_name web
        __meta_kubernetes_pod_controller_kind ReplicaSet
        __meta_kubernetes_pod_controller_name shop-6c9f
        __meta_kubernetes_pod_label_app_kubernetes_io_name shop
        __meta_kubernetes_pod_labelpresent_app_kubernetes_io_name true
        __meta_kubernetes_pod_labelpresent_empty true
        __meta_kubernetes_pod_name shop-6c9f-x2x
        __meta_kubernetes_pod_node_name node-1
        __meta_kubernetes_pod_uid 8a2b
        __meta_process_cgroup_path /kubepods/burstable/pod8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3/OUTER/docker/INNER/user.slice/user-1000.slice/user@1000.service/app.slice/shop@a\x2db.service
        __meta_process_comm shop-main
        __meta_process_executable_name shop
        __meta_process_executable_path /app/shop
        __meta_process_go_module example.com/shop
        __meta_process_kernel_thread true
        __meta_process_language go
        __meta_process_pid 42
        __meta_process_user_id 1000
        __meta_systemd_is_user_unit true
        __meta_systemd_slice app.slice
        __meta_systemd_unit shop@a\x2db.service
        __meta_systemd_unit_instance a-b
        __meta_systemd_unit_template shop
        __meta_systemd_user_id 1000
        __meta_vcs_revision r
    "#]]
    .assert_eq(&text);
}

#[test]
fn the_table_has_every_label_and_no_other() {
    let labels = full().labels();
    let prefix = |row: &'static str| row.strip_suffix("<name>");
    for (name, _) in labels.iter() {
        let is_listed =
            TABLE.iter().any(|&(row, _)| prefix(row).map_or(row == name, |start| name.starts_with(start)));
        assert!(is_listed, "{name} is not in the table");
    }
    for (row, _) in TABLE {
        let is_made =
            labels.iter().any(|(name, _)| prefix(row).map_or(row == name, |start| name.starts_with(start)));
        assert!(is_made, "no process has {row}");
    }
}

#[test]
fn the_documentation_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/labels.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows: Vec<String> = TABLE.iter().map(|(name, says)| format!("| `{name}` | {says} |")).collect();
    let shown: Vec<&str> = text.lines().filter(|line| line.starts_with("| `__meta_")).collect();
    assert_eq!(shown, rows, "docs/labels.md and the list in the code differ");
    for name in crate::attribute::rules::SERIES_LABELS {
        assert!(
            text.lines().any(|line| line.starts_with(&format!("| `{name}` |"))),
            "{name} is not documented"
        );
    }
}

#[test]
fn a_bare_process_has_little() {
    let Sources { tgid, executable_name, .. } = full();
    let bare = Sources::unread(tgid, executable_name);
    expect![[r#"{__meta_process_executable_name="shop", __meta_process_pid="42"}"#]]
        .assert_eq(&bare.labels().to_string());
}
