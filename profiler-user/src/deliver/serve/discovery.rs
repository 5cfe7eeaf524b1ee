//! Targets → Prometheus' HTTP service-discovery document: a service is a target of its own, for collectors that pull.
//!
//! As Alloy's `discovery.http` and `pyroscope.scrape` read it: the profile's address is `__profile_path_prefix__` and
//! `__profile_path__` joined, `__meta_*` labels go after relabelling, the others stay. With the profile's kind and path
//! given here too, a `pyroscope.scrape` that is set up for nothing scrapes one profile a service, and not also the
//! heap and goroutine profiles that it asks Go programs for by default.

use std::collections::BTreeMap;

use serde::Serialize;

use super::html::percent;
use super::targets::TargetsSnapshot;

#[derive(Serialize)]
struct Group {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

/// What only one process of a service has.
const OF_ONE_PROCESS: [&str; 3] = ["pid", "tid", "thread_name"];

/// The document. `address`: `host:port` by which the reader reaches us.
pub(super) fn document(snapshot: &TargetsSnapshot, address: &str) -> String {
    let mut services: BTreeMap<&str, Group> = BTreeMap::new();
    for target in snapshot.targets().iter().filter(|target| target.dropped.is_none()) {
        let service = target.service();
        if service.is_empty() {
            continue;
        }
        let labels = target.labels.iter().filter(|(name, _)| !OF_ONE_PROCESS.contains(name));
        match services.get_mut(service) {
            None => {
                let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
                services.insert(service, Group { targets: [address.to_owned()], labels });
            }
            // Only what all of its processes have in common is true of the service.
            Some(group) => group.labels.retain(|name, value| target.labels.get(name) == value),
        }
    }
    for (service, group) in &mut services {
        let path = format!("/targets/service_name={}", percent(service));
        let own = [
            ("__profile_path_prefix__", &*path),
            ("__profile_path__", "/debug/pprof/profile"),
            ("__name__", "process_cpu"),
            ("__meta_flamekeeper_host", &snapshot.host),
        ];
        group.labels.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    let groups: Vec<_> = services.into_values().collect();
    // Maps with text keys always can be written.
    serde_json::to_string(&groups).unwrap_or_else(|_| "[]".to_owned())
}
