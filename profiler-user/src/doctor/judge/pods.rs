//! Whether the API server of Kubernetes tells of this node's pods.

use crate::doctor::evidence::{Evidence, Pods};
use crate::doctor::finding::Finding;

const COST: &str = "processes in pods have no labels but those that their containers' runtime tells";

pub(in crate::doctor) fn pods(evidence: &Evidence) -> Finding {
    match &evidence.pods {
        Pods::NotAsked => Finding::ok("not asked for: this is no pod of Kubernetes"),
        Pods::Answered { node, pods: 0 } => Finding::limited(format!("none on a node called {node}"), COST)
            .cure("set kubernetes.node_name to the name that kubectl get nodes shows for this host"),
        Pods::Answered { node, pods } => Finding::ok(format!("{pods} on {node}")),
        Pods::Failed { cause, reason } => Finding::limited(reason.clone(), COST).cure(match *cause {
            "forbidden" => "let its service account list and watch pods (a ClusterRole, as the Helm chart has it)",
            "token" => "mount the service account's token: automountServiceAccountToken: true",
            "broken" | "silent" | "ended" => {
                "see that nothing forbids the connection (network policies, proxies), and that kubernetes.ca_file is the \
                 API server's authority"
            }
            _ => "see the keys of [kubernetes] in the configuration",
        }),
    }
}
