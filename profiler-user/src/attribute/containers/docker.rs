//! Docker's account of a container → [`ContainerInfo`]: `config.v2.json` in its state folder, or the answer of its API,
//! which have the same fields. Podman's API answers alike. Pure.
//!
//! kubelet's containers (cri-dockerd, and kubelets before 1.24) carry their pod in labels.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ContainerError, ContainerInfo, RuntimePod};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    config: Option<Config>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

/// Reads `config.v2.json`, or the body of `GET /containers/ID/json`. `None` if there is no name in it.
pub fn parse(id: &str, json: &[u8]) -> Result<Option<ContainerInfo>, ContainerError> {
    let container: Container = serde_json::from_slice(json).map_err(|source| ContainerError::Json {
        what: "Docker's account",
        id: id.to_owned(),
        source,
    })?;
    let name = container.name.unwrap_or_default();
    let config = container.config.unwrap_or(Config { image: None, labels: None });
    let labels = config.labels.unwrap_or_default();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let pod = RuntimePod {
        namespace: label("io.kubernetes.pod.namespace"),
        name: label("io.kubernetes.pod.name"),
        uid: label("io.kubernetes.pod.uid"),
    };
    let in_pod = label("io.kubernetes.container.name");
    let is_sandbox = label("io.kubernetes.docker.type") == "podsandbox" || in_pod == "POD";
    let is_of_pod = !pod.name.is_empty();
    let name = if is_of_pod { in_pod } else { name.strip_prefix('/').unwrap_or(&name).to_owned() };
    if name.is_empty() && !is_of_pod {
        return Ok(None);
    }
    let image = config.image.unwrap_or_default();
    Ok(Some(ContainerInfo { name, image, labels, pod: is_of_pod.then_some(pod), is_sandbox }.bounded()))
}
