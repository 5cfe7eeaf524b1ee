//! `[kubernetes]` of the configuration, and what the environment of a pod says → which API server to ask, as whom,
//! and about which node.
//!
//! ```text
//!   api_server (token_file, ca_file)  ▷  kubeconfig  ▷  KUBERNETES_SERVICE_HOST: the first that is there
//!   node_name                         ▷  NODE_NAME   ▷  the host's name
//! ```
//!
//! Opens nothing: what cannot be read later is told as an error of the watch, which goes on trying.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::KubernetesError;

/// Where kubelet puts a service account's files.
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// `[kubernetes]` in the configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// Whether to watch this node's pods; not set: if there is an API server to ask.
    pub enabled: Option<bool>,
    /// The node's name in the cluster; else `NODE_NAME` of the environment, else the host's name.
    pub node_name: Option<String>,
    /// URL of the API server, for an agent outside of a pod.
    pub api_server: Option<String>,
    /// Bearer token for `api_server`; read anew for each request.
    pub token_file: Option<PathBuf>,
    /// Certificates that `api_server`'s is checked against; else those of the system.
    pub ca_file: Option<PathBuf>,
    /// A kubeconfig, for an agent outside of a pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context in `kubeconfig`; else its current one.
    pub context: Option<String>,
    /// Annotations to keep, by how their names begin: what relabelling can see.
    pub annotations: Vec<String>,
    /// Pods that are kept; further ones are left out and counted.
    pub max_pods: usize,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            enabled: None,
            node_name: None,
            api_server: None,
            token_file: None,
            ca_file: None,
            kubeconfig: None,
            context: None,
            annotations: Vec::new(),
            max_pods: 1024,
        }
    }
}

/// What a pod's environment says, read once by whoever starts the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodEnvironment {
    /// `KUBERNETES_SERVICE_HOST`
    pub service_host: Option<String>,
    /// `KUBERNETES_SERVICE_PORT`
    pub service_port: Option<String>,
    /// `NODE_NAME`, which the DaemonSet sets from `spec.nodeName`.
    pub node_name: Option<String>,
}

impl PodEnvironment {
    /// By a function that looks variables up.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        Self {
            service_host: set("KUBERNETES_SERVICE_HOST"),
            service_port: set("KUBERNETES_SERVICE_PORT"),
            node_name: set("NODE_NAME"),
        }
    }
}

/// How an API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// By its URL.
    Direct {
        /// Scheme, host and port.
        url: String,
        /// Bearer token.
        token_file: Option<PathBuf>,
        /// Certificates to check its own against.
        ca_file: Option<PathBuf>,
    },
    /// As a kubeconfig says.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context; else the current one.
        context: Option<String>,
    },
}

impl KubernetesConfig {
    /// The API server to ask; `None` if there is none, or if it shall not be asked.
    ///
    /// # Errors
    ///
    /// If it shall be asked and none is known, or if a token would go over the wire in clear.
    pub fn access(&self, environment: &PodEnvironment) -> Result<Option<Access>, KubernetesError> {
        if self.enabled == Some(false) {
            return Ok(None);
        }
        if let Some(url) = &self.api_server {
            let access = self.direct(url.trim_end_matches('/'))?;
            return Ok(Some(access));
        }
        if let Some(path) = &self.kubeconfig {
            return Ok(Some(Access::Kubeconfig { path: path.clone(), context: self.context.clone() }));
        }
        match &environment.service_host {
            Some(host) => Ok(Some(in_pod(host, environment.service_port.as_deref()))),
            None if self.enabled == Some(true) => Err(KubernetesError::NoApiServer),
            None => Ok(None),
        }
    }

    fn direct(&self, url: &str) -> Result<Access, KubernetesError> {
        let is_local = ["http://localhost:", "http://127.0.0.1:", "http://[::1]:"]
            .iter()
            .any(|local| url.starts_with(local));
        if self.token_file.is_some() && !url.starts_with("https://") && !is_local {
            return Err(KubernetesError::TokenInClear { url: url.to_owned() });
        }
        let (token_file, ca_file) = (self.token_file.clone(), self.ca_file.clone());
        Ok(Access::Direct { url: url.to_owned(), token_file, ca_file })
    }

    /// The name of this node.
    ///
    /// # Errors
    ///
    /// If it is no name of a node.
    pub fn node(&self, environment: &PodEnvironment, host_name: &str) -> Result<String, KubernetesError> {
        let node = self.node_name.as_deref().or(environment.node_name.as_deref()).unwrap_or(host_name);
        let is_letter =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        // A DNS name in small letters; with a comma in it, it would ask for more than one node's pods.
        if (1..=253).contains(&node.len()) && node.bytes().all(is_letter) {
            Ok(node.to_owned())
        } else {
            Err(KubernetesError::NodeName { node: node.to_owned() })
        }
    }
}

/// As a pod's environment and service account say.
fn in_pod(host: &str, port: Option<&str>) -> Access {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let file = |name: &str| Some(PathBuf::from(ACCOUNT_FOLDER).join(name));
    Access::Direct {
        url: format!("https://{host}:{}", port.unwrap_or("443")),
        token_file: file("token"),
        ca_file: file("ca.crt"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> KubernetesConfig {
        toml::from_str(text).unwrap()
    }

    fn in_cluster() -> PodEnvironment {
        PodEnvironment::read(|name| match name {
            "KUBERNETES_SERVICE_HOST" => Some("10.0.0.1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            "NODE_NAME" => Some("node-7".to_owned()),
            _ => None,
        })
    }

    fn url(text: &str, environment: &PodEnvironment) -> String {
        match config(text).access(environment) {
            Ok(Some(Access::Direct { url, token_file, .. })) => {
                format!("{url} {}", token_file.unwrap_or_default().display())
            }
            Ok(Some(Access::Kubeconfig { path, context })) => format!("{} {context:?}", path.display()),
            Ok(None) => "none".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_first_api_server_that_is_known_is_asked() {
        let nowhere = PodEnvironment::default();
        let account = "https://10.0.0.1:6443 /var/run/secrets/kubernetes.io/serviceaccount/token";
        assert_eq!(url("", &in_cluster()), account);
        assert_eq!(url("", &nowhere), "none");
        assert_eq!(url("enabled = false", &in_cluster()), "none");
        assert_eq!(url("enabled = true", &nowhere), KubernetesError::NoApiServer.to_string());
        assert_eq!(url("kubeconfig = 'k'\ncontext = 'c'", &in_cluster()), "k Some(\"c\")");
        assert_eq!(url("api_server = 'https://a:1/'\ntoken_file = 't'", &in_cluster()), "https://a:1 t");
        let six = PodEnvironment { service_host: Some("fd00::1".to_owned()), ..PodEnvironment::default() };
        assert!(url("", &six).starts_with("https://[fd00::1]:443 "));
    }

    #[test]
    fn a_token_does_not_go_in_clear() {
        let nowhere = PodEnvironment::default();
        let with = |server: &str| url(&format!("api_server = '{server}'\ntoken_file = 't'"), &nowhere);
        assert!(with("http://10.0.0.1:80").contains("in clear"));
        assert_eq!(with("http://127.0.0.1:8001"), "http://127.0.0.1:8001 t");
        assert_eq!(url("api_server = 'http://10.0.0.1:80'", &nowhere), "http://10.0.0.1:80 ");
    }

    #[test]
    fn the_node_is_named_by_configuration_environment_or_host() {
        let node = |text: &str, environment: &PodEnvironment, host: &str| {
            config(text).node(environment, host).map_err(|error| error.to_string())
        };
        let nowhere = PodEnvironment::default();
        assert_eq!(node("node_name = 'a'", &in_cluster(), "h").as_deref(), Ok("a"));
        assert_eq!(node("", &in_cluster(), "h").as_deref(), Ok("node-7"));
        assert_eq!(node("", &nowhere, "h.example.org").as_deref(), Ok("h.example.org"));
        assert!(node("", &nowhere, "h,spec.nodeName!=h").is_err());
        assert!(node("", &nowhere, "").is_err());
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(toml::from_str::<KubernetesConfig>("node = 'a'").is_err());
    }
}
