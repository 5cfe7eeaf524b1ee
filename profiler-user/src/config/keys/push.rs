//! The keys of an endpoint, `[[push]]`.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Url;

use crate::config::group::settings;
use crate::config::key::Key;
use crate::config::value::{Headers, Secret};

settings! {
    /// A profile database.
    pub struct Endpoint {
        /// Address of the database: Pyroscope, or a gateway before it.
        ///
        /// Profiles go to `push.v1.PusherService/Push` below it.
        url: Url = Key::new("url", "URL").required().example("\"http://pyroscope:4040\"").reload();

        /// What metrics and logs call it; by default host and port of the URL.
        name: Option<String> = Key::new("name", "NAME").example("\"main\"").reload();

        /// Whose profiles these are, `X-Scope-OrgID`, for a database with several tenants.
        tenant: Option<String> = Key::new("tenant", "NAME").example("\"demo\"").reload();

        /// User of basic authentication.
        basic_auth_username: Option<String> = Key::new("basic_auth.username", "NAME").example("\"1234\"").reload();

        /// Password of basic authentication.
        basic_auth_password: Option<Secret> = Key::new("basic_auth.password", "PASSWORD").example("\"secret\"").reload();

        /// File with the password, in place of it; read again when it changes.
        basic_auth_password_file: Option<PathBuf> = Key::new("basic_auth.password_file", "FILE").example("\"/etc/flamekeeper/password\"").reload();

        /// Token of bearer authentication.
        bearer_token: Option<Secret> = Key::new("bearer_token", "TOKEN").example("\"secret\"").reload();

        /// File with the token, in place of it; read again when it changes.
        bearer_token_file: Option<PathBuf> = Key::new("bearer_token_file", "FILE").example("\"/etc/flamekeeper/token\"").reload();

        /// Certificates of authorities to trust, PEM, in place of the system's.
        tls_ca_file: Option<PathBuf> = Key::new("tls.ca_file", "FILE").example("\"/etc/flamekeeper/ca.crt\"").reload();

        /// Own certificate, PEM, for databases that ask for one.
        tls_cert_file: Option<PathBuf> = Key::new("tls.cert_file", "FILE").example("\"/etc/flamekeeper/client.crt\"").reload();

        /// Private key of the certificate, PEM.
        tls_key_file: Option<PathBuf> = Key::new("tls.key_file", "FILE").example("\"/etc/flamekeeper/client.key\"").reload();

        /// Believe whoever answers. For trying out only.
        tls_insecure_skip_verify: bool = Key::new("tls.insecure_skip_verify", "BOOL").default("false").reload();

        /// Further headers of each request.
        ///
        /// `X-Team=core,X-Site=north` as an option or a variable. Values are not shown anywhere.
        headers: Headers = Key::new("headers", "NAME=VALUE").example("{ X-Team = \"core\" }").reload();

        /// Proxy to reach it by: `http://`, `https://` or `socks5://`.
        proxy_url: Option<Url> = Key::new("proxy_url", "URL").example("\"http://proxy:3128\"").reload();

        /// Take the proxy from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
        proxy_from_environment: bool = Key::new("proxy_from_environment", "BOOL").default("false").reload();

        /// Speak HTTP/2 over `http://` without asking.
        ///
        /// It halves what a push costs beside its profile. Pyroscope itself takes it; a proxy before it may not.
        http2_prior_knowledge: bool = Key::new("http2_prior_knowledge", "BOOL").default("false").reload();

        /// How long a request may take.
        timeout: Duration = Key::new("timeout", "TIME").default("10s").between("100ms", "10m").reload();
    }
}
