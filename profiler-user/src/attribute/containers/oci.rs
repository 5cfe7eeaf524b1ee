//! The annotations in a container's OCI `config.json` → [`ContainerInfo`], as containerd (CRI and nerdctl) and CRI-O
//! write them. Pure.
//!
//! The file also has the environment of the container, secrets and all: nothing but the annotations is kept.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ContainerError, ContainerInfo, RuntimePod};

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// Annotation names of the two CRI runtimes: containerd's, CRI-O's.
const CONTAINER_NAME: [&str; 2] = ["io.kubernetes.cri.container-name", "io.kubernetes.container.name"];
const CONTAINER_TYPE: [&str; 2] = ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];
const IMAGE: [&str; 3] =
    ["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.kubernetes.cri-o.Image"];
const POD_NAMESPACE: [&str; 2] = ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];
const POD_NAME: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const POD_UID: [&str; 2] = ["io.kubernetes.cri.sandbox-uid", "io.kubernetes.pod.uid"];
/// nerdctl's name for its containers.
const NERDCTL_NAME: &str = "nerdctl/name";
/// nerdctl, in some versions.
const NERDCTL_IMAGE: &str = "nerdctl/image";

/// Annotations that are no labels of the container: whole documents, and what stands elsewhere already.
const NO_LABELS: [&str; 4] =
    ["io.kubernetes.cri", "io.kubernetes.cri-o.", "io.podman.", "io.container.manager"];

/// Reads `config.json`. `None` if its annotations tell nothing of a container that people named.
pub fn parse(id: &str, json: &[u8]) -> Result<Option<ContainerInfo>, ContainerError> {
    let spec: Spec = serde_json::from_slice(json).map_err(|source| ContainerError::Json {
        what: "the OCI configuration",
        id: id.to_owned(),
        source,
    })?;
    Ok(of_annotations(spec.annotations.unwrap_or_default()))
}

fn of_annotations(mut annotations: BTreeMap<String, String>) -> Option<ContainerInfo> {
    let one_of = |names: &[&str]| {
        let mut values =
            names.iter().filter_map(|name| annotations.get(*name)).filter(|value| !value.is_empty());
        values.next().cloned().unwrap_or_default()
    };
    let pod =
        RuntimePod { namespace: one_of(&POD_NAMESPACE), name: one_of(&POD_NAME), uid: one_of(&POD_UID) };
    let is_sandbox = one_of(&CONTAINER_TYPE) == "sandbox";
    let of_nerdctl = |name| annotations.get(name).cloned();
    let name = of_nerdctl(NERDCTL_NAME).unwrap_or_else(|| one_of(&CONTAINER_NAME));
    let image = of_nerdctl(NERDCTL_IMAGE).unwrap_or_else(|| one_of(&IMAGE));
    let pod = (!pod.name.is_empty()).then_some(pod);
    if name.is_empty() && pod.is_none() {
        return None;
    }
    // CRI-O calls the sandbox by what once was Docker's name for it.
    let name = if is_sandbox { String::new() } else { name };
    annotations.retain(|name, _| !NO_LABELS.iter().any(|prefix| name.starts_with(prefix)));
    Some(ContainerInfo { name, image, labels: annotations, pod, is_sandbox }.bounded())
}
