//! The container list of containers/storage, `containers.json` → id and [`ContainerInfo`] of each: Podman's, rootful or in a
//! user's home, and CRI-O's. Pure.
//!
//! ```text
//!   [{"id": "9f3c…", "names": ["web"], "metadata": "{\"image-name\": \"docker.io/library/nginx:1\", …}"}, …]
//! ```

use std::sync::Arc;

use serde::Deserialize;

use super::{ContainerError, ContainerInfo, Containers, RuntimePod};

#[derive(Deserialize)]
struct Entry {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    #[serde(default)]
    metadata: Option<String>,
}

/// JSON within JSON.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Metadata {
    #[serde(default)]
    image_name: String,
}

/// Reads the list; containers without a name are left out.
pub fn parse(json: &[u8]) -> Result<Containers, ContainerError> {
    let entries: Vec<Entry> = serde_json::from_slice(json).map_err(|source| ContainerError::Json {
        what: "the list",
        id: String::new(),
        source,
    })?;
    Ok(entries.into_iter().filter_map(info).collect())
}

fn info(entry: Entry) -> Option<(Arc<str>, ContainerInfo)> {
    let metadata = entry.metadata.and_then(|text| serde_json::from_str::<Metadata>(&text).ok());
    let image = metadata.unwrap_or_default().image_name;
    let name = entry.names?.into_iter().next().filter(|name| !name.is_empty())?;
    let info = match of_kubernetes(&name) {
        Some((container, pod)) => {
            let is_sandbox = container == "POD";
            let name = if is_sandbox { String::new() } else { container.to_owned() };
            ContainerInfo { name, image, pod: Some(pod), is_sandbox, ..ContainerInfo::default() }
        }
        None => ContainerInfo { name, image, ..ContainerInfo::default() },
    };
    Some((entry.id.into(), info.bounded()))
}

/// `k8s_CONTAINER_POD_NAMESPACE_UID_ATTEMPT`, what CRI-O and Docker call kubelet's containers; none of the names in it can
/// have an underscore. The sandbox's container is called `POD`.
pub(super) fn of_kubernetes(name: &str) -> Option<(&str, RuntimePod)> {
    let parts: Vec<&str> = name.split('_').collect();
    let ["k8s", container, pod, namespace, uid, _attempt] = parts[..] else { return None };
    let pod = RuntimePod { namespace: namespace.into(), name: pod.into(), uid: uid.into() };
    Some((container, pod))
}
