//! What is configured, and what the environment of a pod says → which API server to ask, as whom, and about which node.
//!
//! ```text
//!   api_server, token_file, ca_file; what is not set is the service account's  ─┐
//!   kubeconfig                                                                 ─┼▶ the first that is there
//!   KUBERNETES_SERVICE_HOST and the service account                            ─┘
//!
//!   node_name  ▷  NODE_NAME  ▷  the host's name
//! ```
//!
//! Opens nothing: what cannot be read later is told as a failure of the watch, which goes on trying.

use std::path::PathBuf;

use super::error::KubernetesError;

/// Where kubelet puts a service account's files.
const ACCOUNT_FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// What is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// Whether to watch this node's pods; `None`: if there is an API server to ask.
    pub enabled: Option<bool>,
    /// The node's name in the cluster; else `NODE_NAME` of the environment, else the host's name.
    pub node_name: Option<String>,
    /// URL of the API server.
    pub api_server: Option<String>,
    /// Bearer token for it; else, in a pod, the service account's. Read anew for each request.
    pub token_file: Option<PathBuf>,
    /// Certificates that the API server's is checked against; else, in a pod, those of the service account, else those
    /// of the system.
    pub ca_file: Option<PathBuf>,
    /// A kubeconfig, whose current context counts.
    pub kubeconfig: Option<PathBuf>,
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

    /// URL of the API server, if this is a pod.
    fn service(&self) -> Option<String> {
        let host = self.service_host.as_deref()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Some(format!("https://{host}:{}", self.service_port.as_deref().unwrap_or("443")))
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
    /// As the current context of a kubeconfig says.
    Kubeconfig {
        /// The file.
        path: PathBuf,
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
        match (&self.api_server, &self.kubeconfig, environment.service()) {
            (Some(url), _, in_pod) => {
                self.direct(url.trim_end_matches('/').to_owned(), in_pod.is_some()).map(Some)
            }
            (None, Some(path), _) => Ok(Some(Access::Kubeconfig { path: path.clone() })),
            (None, None, Some(url)) => self.direct(url, true).map(Some),
            (None, None, None) if self.enabled == Some(true) => Err(KubernetesError::NoApiServer),
            (None, None, None) => Ok(None),
        }
    }

    fn direct(&self, url: String, in_pod: bool) -> Result<Access, KubernetesError> {
        let accounts = |name: &str| in_pod.then(|| PathBuf::from(ACCOUNT_FOLDER).join(name));
        let token_file = self.token_file.clone().or_else(|| accounts("token"));
        let ca_file = self.ca_file.clone().or_else(|| accounts("ca.crt"));
        let is_local = ["http://localhost:", "http://127.0.0.1:", "http://[::1]:"]
            .iter()
            .any(|local| url.starts_with(local));
        if token_file.is_some() && !url.starts_with("https://") && !is_local {
            return Err(KubernetesError::TokenInClear { url });
        }
        Ok(Access::Direct { url, token_file, ca_file })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// `key=value key=value`
    fn config(text: &str) -> KubernetesConfig {
        let value = |key: &str| {
            let mut pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
            pairs.find(|(name, _)| *name == key).map(|(_, value)| value.to_owned())
        };
        KubernetesConfig {
            enabled: value("enabled").map(|value| value == "true"),
            node_name: value("node_name"),
            api_server: value("api_server"),
            token_file: value("token_file").map(PathBuf::from),
            ca_file: value("ca_file").map(PathBuf::from),
            kubeconfig: value("kubeconfig").map(PathBuf::from),
        }
    }

    fn in_cluster() -> PodEnvironment {
        PodEnvironment::read(|name| match name {
            "KUBERNETES_SERVICE_HOST" => Some("10.0.0.1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            "NODE_NAME" => Some("node-7".to_owned()),
            _ => None,
        })
    }

    fn asked(text: &str, environment: &PodEnvironment) -> String {
        let path = |path: Option<PathBuf>| path.unwrap_or_default().display().to_string();
        match config(text).access(environment) {
            Ok(Some(Access::Direct { url, token_file, ca_file })) => {
                format!("{url} {} {}", path(token_file), path(ca_file))
            }
            Ok(Some(Access::Kubeconfig { path })) => path.display().to_string(),
            Ok(None) => "nobody".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_first_api_server_that_is_known_is_asked() {
        let nowhere = PodEnvironment::default();
        let [token, authority] =
            ["token", "ca.crt"].map(|name| format!("/var/run/secrets/kubernetes.io/serviceaccount/{name}"));
        assert_eq!(asked("", &in_cluster()), format!("https://10.0.0.1:6443 {token} {authority}"));
        assert_eq!(asked("ca_file=c", &in_cluster()), format!("https://10.0.0.1:6443 {token} c"));
        assert_eq!(asked("", &nowhere), "nobody");
        assert_eq!(asked("enabled=false", &in_cluster()), "nobody");
        assert_eq!(asked("enabled=true", &nowhere), KubernetesError::NoApiServer.to_string());
        assert_eq!(asked("kubeconfig=k", &in_cluster()), "k");
        assert_eq!(asked("kubeconfig=k api_server=https://a:1/", &nowhere), "https://a:1  ");
        assert_eq!(
            asked("api_server=https://a:1 token_file=t", &in_cluster()),
            format!("https://a:1 t {authority}")
        );
        let six = PodEnvironment { service_host: Some("fd00::1".to_owned()), ..nowhere };
        assert!(asked("", &six).starts_with("https://[fd00::1]:443 "));
    }

    #[test]
    fn a_token_does_not_go_in_clear() {
        let nowhere = PodEnvironment::default();
        assert!(asked("api_server=http://10.0.0.1:80 token_file=t", &nowhere).contains("in clear"));
        assert!(asked("api_server=http://10.0.0.1:80", &in_cluster()).contains("in clear"));
        assert_eq!(asked("api_server=http://10.0.0.1:80", &nowhere), "http://10.0.0.1:80  ");
        assert_eq!(
            asked("api_server=http://127.0.0.1:8001 token_file=t", &nowhere),
            "http://127.0.0.1:8001 t "
        );
    }

    #[test]
    fn the_node_is_named_by_configuration_environment_or_host() {
        let node = |text: &str, environment: &PodEnvironment, host: &str| {
            config(text).node(environment, host).map_err(|error| error.to_string())
        };
        let nowhere = PodEnvironment::default();
        assert_eq!(node("node_name=a", &in_cluster(), "h").as_deref(), Ok("a"));
        assert_eq!(node("", &in_cluster(), "h").as_deref(), Ok("node-7"));
        assert_eq!(node("", &nowhere, "h.example.org").as_deref(), Ok("h.example.org"));
        assert!(node("", &nowhere, "h,spec.nodeName!=h").is_err());
        assert!(node("", &nowhere, "").is_err());
    }
}
