//! What values mean together and on this host: keys that exclude or need each other, files that are not there, limits
//! of the kernel. Errors stop the daemon; warnings are what works and is worth a word.

use std::error::Error;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use bytesize::ByteSize;

use super::document::join;
use super::key::{option_name, variable_name};
use super::place::Place;
use super::problem::{At, Report, Wrong};
use super::reader::Places;
use super::{DaemonConfig, Endpoint, Http, LabelSettings, Sampling};
use crate::attribute::relabel::{Relabel, RelabelError};
use crate::deliver::push::{Client, Endpoint as PushEndpoint, ProxyEnvironment, WebRoots};
use crate::deliver::serve::ListenAddress;
use crate::deliver::spool::state::ENDPOINTS_MAX;
use crate::host::{Clock, Host, ProcFs};
use crate::sample::kernel_features::max_sample_rate;
use crate::unwind::publisher::TABLES_BYTES_MIN;

/// Shorter windows are for tests.
const SHORT_WINDOW: Duration = Duration::from_secs(5);

/// Bytes of a file that holds a password or a token: more is another file.
const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;

/// Reports what is wrong with a configuration whose values are right, each by itself.
pub(super) fn check(config: &DaemonConfig, places: &Places, host: &Host, report: &mut Report) {
    let mut checks = Checks { places, report };
    checks.sampling(&config.sampling, &host.proc);
    checks.labels(&config.labels);
    for (position, endpoint) in config.push.endpoints.iter().enumerate() {
        checks.endpoint(&format!("push[{position}]"), endpoint, host.clock);
    }
    checks.endpoints_together(&config.push.endpoints);
    if config.push.endpoints.is_empty() {
        let option = option_name("push.url");
        let message = format!("no endpoint: nothing is pushed; --{option} or [[push]] gives one");
        checks.warning("push", Wrong::Value(message));
    }
    checks.http(&config.http);
    for (key, file) in [
        ("kubernetes.kubeconfig", &config.kubernetes.kubeconfig),
        ("kubernetes.token_file", &config.kubernetes.token_file),
        ("kubernetes.ca_file", &config.kubernetes.ca_file),
    ] {
        checks.readable(key, file.as_deref());
    }
}

struct Checks<'a> {
    places: &'a Places,
    report: &'a mut Report,
}

impl Checks<'_> {
    fn at(&self, key: &str) -> At {
        let place = self.places.get(key).cloned().unwrap_or(Place::Default);
        At { key: key.to_owned(), place }
    }

    fn error(&mut self, key: &str, wrong: Wrong) {
        self.report.error(self.at(key), wrong);
    }

    fn warning(&mut self, key: &str, wrong: Wrong) {
        self.report.warning(self.at(key), wrong);
    }

    fn conflict(&mut self, key: &str, message: &str) {
        self.error(key, Wrong::Conflict(message.to_owned()));
    }

    fn sampling(&mut self, sampling: &Sampling, proc: &ProcFs) {
        let rate = sampling.rate.get();
        if let Some(max) = max_sample_rate(proc).filter(|max| rate > *max) {
            let message = format!(
                "this host allows {max} samples a second, not {rate}; `sysctl kernel.perf_event_max_sample_rate={rate}` allows more"
            );
            self.error("sampling.rate", Wrong::Value(message));
        }
        if sampling.unwind_tables_max.as_u64() < TABLES_BYTES_MIN {
            let least = ByteSize::b(TABLES_BYTES_MIN);
            let message = format!("the empty tables alone take most of {least}; give more");
            self.error("sampling.unwind_tables_max", Wrong::Value(message));
        }
        if sampling.window < SHORT_WINDOW {
            let message = "windows under 5s are for tests: each costs requests and storage".to_owned();
            self.warning("sampling.window", Wrong::Value(message));
        }
    }

    fn labels(&mut self, labels: &LabelSettings) {
        for (name, value) in &labels.static_labels {
            let key = join("labels.static", name);
            let at = At { key, ..self.at("labels.static") };
            if !is_label_name(name) {
                let message = "is no name of a label: letters, digits and _, no digit first, no __ before it";
                self.report.error(at, Wrong::Value(message.to_owned()));
            } else if value.is_empty() {
                let message = "is empty, and Prometheus takes such a label for none".to_owned();
                self.report.warning(at, Wrong::Value(message));
            }
        }
        for (position, rule) in labels.relabel_configs.iter().enumerate() {
            // One by one, so that all that are wrong are told.
            if let Err(RelabelError::Rule { fault, .. }) = Relabel::new(vec![rule.to_relabel()]) {
                let key = format!("labels.relabel_configs[{position}]");
                let place = self.given(&key).unwrap_or(Place::Default);
                self.report.error(At { key, place }, Wrong::Value(with_source(&fault)));
            }
        }
        if let Err(many @ RelabelError::TooManyRules { .. }) = Relabel::new(labels.relabel_rules()) {
            self.error("labels.relabel_configs", Wrong::Value(many.to_string()));
        }
    }

    fn endpoint(&mut self, key: &str, endpoint: &Endpoint, clock: Clock) {
        let of = |name: &str| join(key, name);
        match endpoint.to_push().validate() {
            Ok(checked) => {
                self.odd_endpoint(key, endpoint);
                self.files_of(key, endpoint, checked, clock);
            }
            Err(errors) => {
                for error in errors {
                    // Begins with the key that it is about, or with two: "bearer_token and basic_auth: …".
                    let text = error.to_string();
                    let (names, message) = text.split_once(": ").unwrap_or(("", &text));
                    let given = names.split(" and ").map(of).find_map(|key| self.given(&key));
                    let beside = || self.given(of(names).rsplit_once('.')?.0);
                    let place = given.or_else(beside).unwrap_or(Place::Default);
                    let at = At { key: of(names), place };
                    self.report.error(at, Wrong::Value(message.to_owned()));
                }
            }
        }
    }

    /// The spool has room for so many, and tells them apart by where they are and whose profiles they take.
    fn endpoints_together(&mut self, endpoints: &[Endpoint]) {
        if endpoints.len() > ENDPOINTS_MAX {
            let message =
                format!("{} endpoints are more than the {ENDPOINTS_MAX} that are fed", endpoints.len());
            self.error("push", Wrong::Value(message));
        }
        for (position, endpoint) in endpoints.iter().enumerate() {
            let same =
                endpoints.iter().take(position).position(|other| other.spool_key() == endpoint.spool_key());
            if let Some(same) = same {
                let message = format!("is push[{same}] again, url and tenant; give each once");
                self.error(&format!("push[{position}].url"), Wrong::Value(message));
                continue;
            }
            // Metrics tell them apart by nothing else.
            let Ok(checked) = endpoint.to_push().validate() else { continue };
            let is_namesake = |other: &Endpoint| {
                other.to_push().validate().is_ok_and(|other| other.name() == checked.name())
            };
            if let Some(namesake) = endpoints.iter().take(position).position(is_namesake) {
                let message =
                    format!("push[{namesake}] is called {} too; give one another name", checked.name());
                self.error(&format!("push[{position}].name"), Wrong::Value(message));
            }
        }
    }

    /// That an endpoint's files are there, and are what they should be.
    fn files_of(&mut self, key: &str, endpoint: &Endpoint, checked: PushEndpoint, clock: Clock) {
        let files = [
            ("basic_auth.password_file", &endpoint.basic_auth_password_file),
            ("bearer_token_file", &endpoint.bearer_token_file),
            ("tls.ca_file", &endpoint.tls_ca_file),
            ("tls.cert_file", &endpoint.tls_cert_file),
            ("tls.key_file", &endpoint.tls_key_file),
        ];
        let named = files.into_iter().filter_map(|(name, file)| Some((join(key, name), file.as_deref()?)));
        let named: Vec<(String, &Path)> = named.collect();
        let errors_before = self.report.errors.len();
        for (key, file) in &named {
            self.readable(key, Some(file));
        }
        if named.is_empty() || self.report.errors.len() > errors_before {
            return;
        }
        // The certificates of the world are no matter of the configuration.
        let client = Client::new(checked, WebRoots::of_store(Vec::new()), ProxyEnvironment::default(), clock);
        if let Err(message) = client.check_files() {
            let is_named = |(_, file): &&(String, &Path)| message.contains(&file.display().to_string());
            let key = named.iter().find(is_named).map_or(key, |(key, _)| key);
            self.error(key, Wrong::Value(message));
        }
    }

    /// Where a key, or one of those in a table of this name, was written.
    fn given(&self, key: &str) -> Option<Place> {
        let inside = format!("{key}.");
        let mut found = self
            .places
            .iter()
            .filter(|(path, place)| (*path == key || path.starts_with(&inside)) && **place != Place::Default);
        found.next().map(|(_, place)| place.clone())
    }

    fn odd_endpoint(&mut self, key: &str, endpoint: &Endpoint) {
        let has_bearer = endpoint.bearer_token.is_some() || endpoint.bearer_token_file.is_some();
        if (has_bearer || endpoint.basic_auth_username.is_some()) && endpoint.url.scheme() == "http" {
            let message = "credentials go over http:// for everybody on the way to read".to_owned();
            self.warning(&join(key, "url"), Wrong::Value(message));
        }
        if endpoint.tls_insecure_skip_verify {
            let message = "whoever answers is believed to be the database".to_owned();
            self.warning(&join(key, "tls.insecure_skip_verify"), Wrong::Value(message));
        }
    }

    fn http(&mut self, http: &Http) {
        if http.token.is_some() && http.token_file.is_some() {
            self.conflict("http.token_file", "there is a token too; which one?");
        }
        if let Err(wrong) = http.access() {
            let key = if http.token.is_some() { "http.token" } else { "http.token_file" };
            self.error(key, wrong);
        }
        let has_token = http.token.is_some() || http.token_file.is_some();
        if http.loopback_needs_token && !has_token {
            self.conflict("http.loopback_needs_token", "there is no token to be shown");
        }
        let is_elsewhere = |address: &&ListenAddress| match address {
            ListenAddress::Tcp(address) => !address.ip().to_canonical().is_loopback(),
            ListenAddress::Unix(_) => false,
        };
        if let Some(address) = http.listen.iter().find(is_elsewhere).filter(|_| !has_token) {
            let message = format!(
                "{address} is not loopback and there is no token: from elsewhere metrics and health can be seen, nothing else; {} gives one",
                variable_name("http.token")
            );
            self.warning("http.listen", Wrong::Value(message));
        }
    }

    /// That a file is there, can be read and is no folder.
    fn readable(&mut self, key: &str, file: Option<&Path>) {
        let Some(file) = file else { return };
        if let Err(source) = read_some(file) {
            self.error(key, Wrong::File { path: file.to_owned(), source });
        }
    }
}

/// An error and what it comes from, in a line.
fn with_source(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Only regular files: a pipe would be waited for.
fn read_some(file: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(file)?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file)?.take(SECRET_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "is empty"));
    }
    Ok(())
}

/// As Prometheus has it, without the names that it keeps for itself.
fn is_label_name(name: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(is_letter)
        && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
        && !name.starts_with("__")
}
