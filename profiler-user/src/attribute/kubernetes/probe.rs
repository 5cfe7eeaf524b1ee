//! One look for this node's pods, for `doctor`: whether lists and watches are answered, and if not, why.

use std::time::Duration;

use super::api::Api;
use super::config::{Access, KubernetesConfig, PodEnvironment};
use super::error::KubernetesError;

/// What was found.
#[derive(Debug)]
pub enum Reach {
    /// There is no API server to ask, or it shall not be asked.
    NotAsked,
    /// Lists and watches are answered.
    Answered {
        /// The node that was asked about.
        node: String,
        /// Its pods that have not ended.
        pods: usize,
    },
    /// They are not.
    Failed(KubernetesError),
}

/// Asks once. Each answer must have begun within this time. In a tokio runtime with time and network.
pub async fn probe(
    config: &KubernetesConfig,
    environment: &PodEnvironment,
    host_name: &str,
    answer_within: Duration,
) -> Reach {
    let asked = async {
        let Some(access) = config.access(environment)? else { return Ok(Reach::NotAsked) };
        let node = config.node(environment, host_name)?;
        let pods = ask(&access, &node, answer_within).await?;
        Ok(Reach::Answered { node, pods })
    };
    asked.await.unwrap_or_else(Reach::Failed)
}

async fn ask(access: &Access, node: &str, answer_within: Duration) -> Result<usize, KubernetesError> {
    let api = Api::new(access, node, answer_within).await?;
    let list = api.list(true, None).await?;
    // Another right than that to list.
    drop(api.watch(&list.metadata.resource_version, Duration::from_secs(1)).await?);
    Ok(list.items.len())
}
