//! Bytes as `/proc/PID/cgroup` → containers, pod, unit, slice.

use profiler_user::attribute::cgroup::Cgroup;
use profiler_user::attribute::cgroup::unit;

pub(crate) fn run(bytes: &[u8]) {
    let told = Cgroup::parse(bytes);
    // Bytes that are no UTF-8 grow threefold.
    assert!(told.path.len() <= 3 * 4096);
    assert!(told.containers.len() <= 4);
    for container in &told.containers {
        assert!((1..=3 * 255).contains(&container.id.len()), "{container:?}");
    }
    if let Some(uid) = &told.pod_uid {
        assert!(matches!(uid.len(), 32 | 36) && uid.is_ascii(), "{uid:?}");
    }
    for name in told.unit.iter().chain(&told.slice) {
        assert!((1..=255).contains(&name.len()) && name.is_ascii(), "{name:?}");
        unit::template(name);
        if let Some(lasting) = unit::lasting(name) {
            assert!(lasting.len() <= name.len() && lasting.contains('.'), "{name:?}: {lasting:?}");
        }
    }
}
