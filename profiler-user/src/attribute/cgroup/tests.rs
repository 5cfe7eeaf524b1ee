//! Cgroup files as the systems of the field write them, and what is read of them.

use expect_test::{Expect, expect};

use super::*;

const OUTER: &str = "1f0a7c3de5b94826a1f0c2d4e6b8937a5d1c3e7f9b2a4c6d8e0f1a3b5c7d9e2f";
const INNER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3";
const POD_: &str = "8a2b6c1d_3e4f_4a5b_9c6d_7e8f90a1b2c3";

/// In short: containers by the first digits of their ids, pod by those of its uid.
fn shown(told: &Cgroup) -> String {
    let mut parts = Vec::new();
    for container in &told.containers {
        let is_long = container.id.len() == 64;
        let id = if is_long { &container.id[..4] } else { &container.id };
        parts.push(format!("{}:{id}", container.runtime));
    }
    parts.extend(told.pod_uid.as_ref().map(|uid| format!("pod:{}/{}", &uid[..4], uid.len())));
    parts.extend(told.unit.as_ref().map(|unit| format!("unit:{unit}")));
    parts.extend(told.unit_of_user.map(|user| format!("of user {user}")));
    parts.extend(told.slice.as_ref().map(|slice| format!("in {slice}")));
    parts.extend(told.slice_of_user.map(|user| format!("of {user}")));
    parts.join(" ")
}

/// Paths of version 2 with `OUTER`, `INNER`, `POD` and `POD_` filled in, a line each, and what they tell.
fn check(paths: &str, expected: Expect) {
    let filled = paths.replace("OUTER", OUTER).replace("INNER", INNER);
    let filled = filled.replace("POD_", POD_).replace("POD", POD);
    let told = filled.lines().map(|path| shown(&Cgroup::parse(format!("0::{path}\n").as_bytes())) + "\n");
    expected.assert_eq(&told.collect::<String>());
}

fn check_file(file: &str, expected: Expect) {
    let file = file.replace("OUTER", OUTER).replace("INNER", INNER).replace("POD_", POD_).replace("POD", POD);
    let told = Cgroup::parse(file.as_bytes());
    expected.assert_eq(&format!("{} <- {}", shown(&told), told.path.replace(INNER, "INNER")));
}

#[test]
fn containers_of_docker_podman_and_nerdctl() {
    check(
        "\
/system.slice/docker-INNER.scope
/docker/INNER
/docker/OUTER/docker/INNER
/system.slice/docker.service/docker/INNER
/user.slice/user-1000.slice/user@1000.service/user.slice/docker-INNER.scope
/machine.slice/libpod-INNER.scope/container
/machine.slice/libpod-conmon-INNER.scope
/libpod_parent/libpod-INNER
/libpod_parent/libpod-conmon-INNER
/machine.slice/machine-libpod_pod_OUTER.slice/libpod-INNER.scope/container
/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-INNER.scope/container
/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_OUTER.slice/libpod-INNER.scope
/system.slice/web.service/libpod-payload-INNER
/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-INNER
/user.slice/user-1000.slice/session-2.scope/libpod-INNER
/system.slice/nerdctl-INNER.scope
/default/INNER
/actions_job/INNER
/docker/buildkit/wivfc9kz1t2y3x4w5v6u7s8r9",
        expect![[r#"
            docker:0123 in system.slice
            docker:0123
            docker:1f0a docker:0123
            docker:0123 in system.slice
            docker:0123 in user.slice of 1000
            podman:0123 in machine.slice
            in machine.slice
            podman:0123

            podman:0123 in machine-libpod_pod_1f0a7c3de5b94826a1f0c2d4e6b8937a5d1c3e7f9b2a4c6d8e0f1a3b5c7d9e2f.slice
            podman:0123 in user.slice of 1000
            podman:0123 in user-libpod_pod_1f0a7c3de5b94826a1f0c2d4e6b8937a5d1c3e7f9b2a4c6d8e0f1a3b5c7d9e2f.slice of 1000
            podman:0123 unit:web.service in system.slice
            podman:0123 unit:web.service of user 1000 in app.slice of 1000
            podman:0123 in user-1000.slice of 1000
            containerd:0123 in system.slice
            containerd:0123
            unknown:0123

        "#]],
    );
}

#[test]
fn pods_by_either_driver_and_of_every_class() {
    check(
        "\
/kubepods/burstable/podPOD/INNER
/kubepods/podPOD/INNER
/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podPOD_.slice/cri-containerd-INNER.scope
/kubepods.slice/kubepods-podPOD_.slice/crio-INNER.scope
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/crio-INNER.scope/container
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/crio-conmon-INNER.scope
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podPOD_.slice/docker-INNER.scope
/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0123456789abcdef0123456789abcdef.slice/cri-containerd-INNER.scope
/system.slice/containerd.service/kubepods-burstable-podPOD_.slice:cri-containerd:INNER
/kubepods-besteffort-podPOD_.slice:cri-containerd:INNER
/kubepods/burstable/podPOD
/kubepods/burstable/podnot-a-uid/web
/docker/OUTER/kubelet/kubepods/besteffort/podPOD/INNER
/docker/OUTER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-podPOD_.slice/cri-containerd-INNER.scope
/docker/OUTER/system.slice/containerd.service
/kubepods/burstable/podPOD/OUTER/docker/INNER
/kubepods/burstable/podPOD/kata_INNER
/k3s/kubepods/besteffort/podPOD/INNER
/system.slice/k3s.service",
        expect![[r#"
            unknown:0123 pod:8a2b/36
            unknown:0123 pod:8a2b/36
            containerd:0123 pod:8a2b/36 in kubepods-besteffort.slice
            cri-o:0123 pod:8a2b/36 in kubepods.slice
            cri-o:0123 pod:8a2b/36 in kubepods-burstable.slice
            pod:8a2b/36 in kubepods-burstable.slice
            docker:0123 pod:8a2b/36 in kubepods-burstable.slice
            containerd:0123 pod:0123/32 in kubepods-burstable.slice
            containerd:0123 pod:8a2b/36 in system.slice
            containerd:0123 pod:8a2b/36
            pod:8a2b/36

            docker:1f0a unknown:0123 pod:8a2b/36
            docker:1f0a containerd:0123 pod:8a2b/36 in kubelet-kubepods-burstable.slice
            docker:1f0a unit:containerd.service in system.slice
            unknown:1f0a docker:0123 pod:8a2b/36
            unknown:0123 pod:8a2b/36
            unknown:0123 pod:8a2b/36
            unit:k3s.service in system.slice
        "#]],
    );
}

#[test]
fn units_of_the_system_and_of_users() {
    check(
        r"/system.slice/nginx.service
/system.slice/nginx.service/worker-1
/system.slice/system-getty.slice/getty@tty1.service
/system.slice/system-postgresql.slice/postgresql@15\x2dmain.service
/system.slice/system-a\x2db.slice/a-b@c.service
/system.slice/web.slice/web-front.slice/shop.service
/system.slice/_cpu.service
/system.slice/boot-efi.mount
/user.slice/user-1000.slice/session-3.scope
/user.slice/user-1000.slice/user@1000.service/init.scope
/user.slice/user-1000.slice/user@1000.service/app.slice/x.service
/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-firefox-4711.scope
/user.slice/user-1000.slice/user@1000.service/app.slice/app-foot.slice/app-foot@a1b2c3.service
/user.slice/user-1000.slice/user@1000.service/session.slice/org.gnome.Shell@wayland.service
/init.scope
/system.slice
/
/machine.slice/machine-qemu\x2d1\x2dweb.scope/libvirt/emulator
/system.slice/bad name.service
/.service
/-.slice",
        expect![[r#"
            unit:nginx.service in system.slice
            unit:nginx.service in system.slice
            unit:getty@tty1.service in system-getty.slice
            unit:postgresql@15\x2dmain.service in system-postgresql.slice
            unit:a-b@c.service in system-a\x2db.slice
            unit:shop.service in web-front.slice
            unit:cpu.service in system.slice
            unit:boot-efi.mount in system.slice
            unit:session-3.scope in user-1000.slice of 1000
            unit:user@1000.service in user-1000.slice of 1000
            unit:x.service of user 1000 in app.slice of 1000
            unit:app-gnome-firefox-4711.scope of user 1000 in app.slice of 1000
            unit:app-foot@a1b2c3.service of user 1000 in app-foot.slice of 1000
            unit:org.gnome.Shell@wayland.service of user 1000 in session.slice of 1000
            unit:init.scope
            in system.slice

            unit:machine-qemu\x2d1\x2dweb.scope in machine.slice
            in system.slice

            in -.slice
        "#]],
    );
}

#[test]
fn machines_by_name() {
    check(
        r"/machine.slice/systemd-nspawn@build\x2dbox.service/payload/system.slice/ssh.service
/machine.slice/systemd-nspawn@web.service/payload
/machine.slice/machine-my\x2dbox.scope/payload/init.scope
/machine.slice/machine-lxc\x2d4711\x2dweb.scope
/lxc.payload.web/system.slice/nginx.service
/lxc.payload/web
/lxc/web/init.scope
/lxc.monitor.web
/lxc.monitor/web
/system.slice/garden.service/garden/6f9619ff-8b86-d011-b42d-00c04fc964ff
/garden/good/6f9619ff-8b86-d011-b42d-00c04fc964ff",
        expect![[r#"
            nspawn:build-box unit:ssh.service in system.slice
            nspawn:web unit:systemd-nspawn@web.service in machine.slice
            nspawn:my-box unit:init.scope in machine.slice
            lxc:web in machine.slice
            lxc:web unit:nginx.service in system.slice
            lxc:web
            lxc:web unit:init.scope


            garden:6f9619ff-8b86-d011-b42d-00c04fc964ff in system.slice

        "#]],
    );
}

#[test]
fn seen_from_a_cgroup_namespace_of_our_own() {
    check(
        "\
/../cri-containerd-INNER.scope
/../../kubepods-besteffort-podPOD_.slice/cri-containerd-INNER.scope
/../../../system.slice/nginx.service
/../..
/../../../../../../docker/INNER
/../../../user.slice/user-0.slice/session-1.scope",
        expect![[r#"
            containerd:0123
            containerd:0123 pod:8a2b/36
            unit:nginx.service in system.slice

            docker:0123
            unit:session-1.scope in user-0.slice of 0
        "#]],
    );
}

#[test]
fn of_several_hierarchies_the_one_counts_that_tells_most() {
    // Docker on version 1.
    check_file(
        "12:pids:/docker/INNER\n4:memory:/docker/INNER\n1:name=systemd:/docker/INNER\n0::/system.slice/containerd.service\n",
        expect!["docker:0123 <- /docker/INNER"],
    );
    // EKS with version 1: the same in each.
    check_file(
        "11:cpuset:/kubepods/burstable/podPOD/INNER\n1:name=systemd:/kubepods/burstable/podPOD/INNER\n",
        expect![
            "unknown:0123 pod:8a2b/36 <- /kubepods/burstable/pod8a2b6c1d-3e4f-4a5b-9c6d-7e8f90a1b2c3/INNER"
        ],
    );
    // systemd in hybrid mode: version 2 for processes, version 1 for controllers.
    check_file(
        "9:memory:/system.slice/ssh.service\n1:name=systemd:/system.slice/ssh.service\n0::/system.slice/ssh.service\n",
        expect!["unit:ssh.service in system.slice <- /system.slice/ssh.service"],
    );
    check_file(
        "9:memory:/user.slice\n2:pids:/user.slice/user-0.slice/session-9.scope\n1:name=systemd:/user.slice/user-0.slice/session-9.scope\n0::/user.slice\n",
        expect!["unit:session-9.scope in user-0.slice of 0 <- /user.slice/user-0.slice/session-9.scope"],
    );
    // An empty version 2 beside version 1 without systemd.
    check_file("9:name=systemd:/\n4:memory:/batch/7\n0::/\n", expect![" <- /batch/7"]);
    check_file(
        "0::/system.slice/cron.service (deleted)\n",
        expect!["unit:cron.service in system.slice <- /system.slice/cron.service"],
    );
}

#[test]
fn any_bytes_give_an_answer() {
    for nonsense in [&b""[..], b"\n\n", b"::", b"0::", b"0:relative", b"0::\xff/\xfe.service", b":\0:/\0"] {
        let told = Cgroup::parse(nonsense);
        assert_eq!((told.containers.len(), told.pod_uid, told.unit), (0, None, None), "{nonsense:?}");
    }
    let deep = format!("0::{}", "/docker".to_owned() + &format!("/{INNER}").repeat(200));
    assert_eq!(Cgroup::parse(deep.as_bytes()).containers.len(), CONTAINERS_MAX);
    let long = format!("0::/{}.service\n", "x".repeat(100_000));
    assert!(Cgroup::parse(long.as_bytes()).path.len() <= PATH_BYTES_MAX);
    assert_eq!(Cgroup::parse(format!("0::/{}.service", "x".repeat(300)).as_bytes()).unit, None);
    // A character that is cut in two by a bound, or lies where an id begins.
    Cgroup::parse(format!("0::/{}", "é".repeat(4000)).as_bytes());
    Cgroup::parse(format!("0::/é{}", &INNER[1..]).as_bytes());
    assert_eq!(Cgroup::parse(format!("0::/docker/{}", INNER.to_uppercase()).as_bytes()).containers, []);
}
