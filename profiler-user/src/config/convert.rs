//! The configuration's tables → what the stages are set up with. Each stage has types of its own; only this file knows both.

use std::fs;
use std::time::Duration;

use tracing::Level;

use super::problem::Wrong;
use super::{
    Containers, DaemonConfig, Endpoint, Http, Kubernetes, LabelSettings, LogFormat, LogLevel, ProfileLimits,
    RelabelRule, Spool, Switch,
};
use crate::attribute::containers::ContainerFolders;
use crate::attribute::kubernetes::KubernetesConfig;
use crate::attribute::relabel::RelabelConfig;
use crate::deliver::push::{BasicAuthConfig, EndpointConfig, Secret as PushSecret, TlsConfig};
use crate::deliver::series::SizeLimits;
use crate::deliver::serve::{Access, Token};
use crate::deliver::spool::SpoolSettings;
use crate::deliver::spool::state::{Endpoint as SpoolEndpoint, EndpointKey};
use crate::telemetry::logs;

/// What is nearly too old is not sent: sending takes a moment, and clocks differ a little.
const OLD_MARGIN: Duration = Duration::from_secs(60);

impl Endpoint {
    /// For [`EndpointConfig::validate`].
    pub fn to_push(&self) -> EndpointConfig {
        let secret = |secret: &super::Secret| PushSecret::new(secret.reveal());
        let has_basic_auth = self.basic_auth_username.is_some()
            || self.basic_auth_password.is_some()
            || self.basic_auth_password_file.is_some();
        EndpointConfig {
            name: self.name.clone(),
            url: self.url.to_string(),
            tenant: self.tenant.clone(),
            basic_auth: has_basic_auth.then(|| BasicAuthConfig {
                username: self.basic_auth_username.clone().unwrap_or_default(),
                password: self.basic_auth_password.as_ref().map(secret),
                password_file: self.basic_auth_password_file.clone(),
            }),
            bearer_token: self.bearer_token.as_ref().map(secret),
            bearer_token_file: self.bearer_token_file.clone(),
            tls: TlsConfig {
                ca_file: self.tls_ca_file.clone(),
                cert_file: self.tls_cert_file.clone(),
                key_file: self.tls_key_file.clone(),
                insecure_skip_verify: self.tls_insecure_skip_verify,
            },
            headers: self
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), PushSecret::new(value)))
                .collect(),
            proxy_url: self.proxy_url.as_ref().map(|url| PushSecret::new(url.as_str())),
            proxy_from_environment: self.proxy_from_environment,
            http2_prior_knowledge: self.http2_prior_knowledge,
            timeout: Some(humantime::format_duration(self.timeout).to_string()),
        }
    }
}

impl Endpoint {
    /// Which endpoint it is to the spool: another token or another name do not make it another.
    pub fn spool_key(&self) -> EndpointKey {
        EndpointKey::new(self.url.as_str(), self.tenant.as_deref().unwrap_or(""))
    }
}

impl Spool {
    /// For [`Spool::set_limits`](crate::deliver::spool::Spool::set_limits) and its opening.
    pub fn limits(&self) -> SpoolSettings {
        SpoolSettings {
            max_bytes: self.max_bytes.as_u64(),
            min_free_bytes: self.min_free_bytes.map(|bytes| bytes.as_u64()),
            ..SpoolSettings::default()
        }
    }
}

impl DaemonConfig {
    /// For [`Spool::set_endpoints`](crate::deliver::spool::Spool::set_endpoints) and its opening.
    pub fn spool_endpoints(&self) -> Vec<SpoolEndpoint> {
        let takes_back = self.spool.reject_older_than.saturating_sub(OLD_MARGIN);
        let endpoint = |endpoint: &Endpoint| SpoolEndpoint {
            key: endpoint.spool_key(),
            name: endpoint
                .to_push()
                .validate()
                .map_or_else(|_| endpoint.url.to_string(), |checked| checked.name().to_owned()),
            takes_back: Some(takes_back),
        };
        self.push.endpoints.iter().map(endpoint).collect()
    }
}

impl LabelSettings {
    /// For [`Relabel::new`](crate::attribute::relabel::Relabel::new).
    pub fn relabel_rules(&self) -> Vec<RelabelConfig> {
        self.relabel_configs.iter().map(RelabelRule::to_relabel).collect()
    }
}

impl RelabelRule {
    /// A value that is the default counts as not given, as in Prometheus.
    pub(super) fn to_relabel(&self) -> RelabelConfig {
        let given = |value: &str, default: &str| (value != default).then(|| value.to_owned());
        RelabelConfig {
            source_labels: self.source_labels.clone(),
            separator: given(&self.separator, ";"),
            regex: given(&self.regex, "(.*)"),
            modulus: self.modulus,
            target_label: self.target_label.clone(),
            replacement: given(&self.replacement, "$1"),
            action: self.action,
        }
    }
}

impl ProfileLimits {
    /// For [`encode_for_database`](crate::deliver::series::encode_for_database).
    pub fn size_limits(&self) -> SizeLimits {
        SizeLimits {
            profile_bytes_max: u32::try_from(self.max_bytes.as_u64()).unwrap_or(u32::MAX),
            samples_max: usize::try_from(self.max_samples).unwrap_or(usize::MAX),
        }
    }
}

impl Kubernetes {
    /// For [`PodWatch`](crate::attribute::kubernetes::PodWatch) and its like.
    pub fn to_watch(&self) -> KubernetesConfig {
        KubernetesConfig {
            enabled: match self.enabled {
                Switch::Auto => None,
                Switch::On => Some(true),
                Switch::Off => Some(false),
            },
            node_name: self.node_name.clone(),
            api_server: self.api_server.as_ref().map(ToString::to_string),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            kubeconfig: self.kubeconfig.clone(),
        }
    }
}

impl Containers {
    /// For [`ContainerStore`](crate::attribute::containers::ContainerStore) and its like.
    pub fn folders(&self) -> ContainerFolders {
        ContainerFolders {
            docker: self.docker_dirs.clone(),
            containerd: self.containerd_dirs.clone(),
            storage_run: self.storage_run_dirs.clone(),
            storage: self.storage_dirs.clone(),
            homes: self.home_dirs.clone(),
        }
    }
}

impl LogLevel {
    /// For [`tracing`].
    pub fn to_tracing(self) -> Level {
        match self {
            Self::Error => Level::ERROR,
            Self::Warn => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
            Self::Trace => Level::TRACE,
        }
    }
}

impl LogFormat {
    /// For [`LogOptions`](crate::telemetry::logs::LogOptions).
    pub fn to_telemetry(self) -> logs::LogFormat {
        match self {
            Self::Logfmt => logs::LogFormat::Logfmt,
            Self::Json => logs::LogFormat::Json,
        }
    }
}

impl Http {
    /// Who may see what. Reads the token's file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or what is in it is no token.
    pub fn access(&self) -> Result<Access, Wrong> {
        let text = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.reveal().to_owned()),
            (None, Some(path)) => {
                let text = fs::read_to_string(path);
                Some(text.map_err(|source| Wrong::File { path: path.clone(), source })?)
            }
            (None, None) => None,
        };
        let token = text.map(|text| Token::new(&text)).transpose();
        Ok(Access {
            token: token.map_err(|bad| Wrong::Value(bad.to_string()))?,
            loopback_needs_token: self.loopback_needs_token,
            allowed_hosts: self.allowed_hosts.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;
    use crate::config::tests;

    #[test]
    fn defaults_are_those_of_the_stages() {
        let loader = Loader::new(None, [].into(), [], tests::host());
        let config = loader.load().unwrap().config;
        assert_eq!(config.profile.size_limits(), SizeLimits::default());
        assert_eq!(config.containers.folders(), ContainerFolders::below(Path::new("/")));
        assert_eq!(config.http.listen, [crate::deliver::serve::DEFAULT_ADDRESS.parse().unwrap()]);
    }
}
