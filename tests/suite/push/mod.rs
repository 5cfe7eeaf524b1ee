//! Pushes by the product's own client to a server that speaks the database's protocol with the database's own types:
//! what arrives, and what the client makes of every way to fail.
//!
//! None of it samples, so none takes the machine.

mod access;
mod faults;
mod limits;
mod wire;

use anyhow::{Context, Result};
use profiler_tests::MadePprof;
use profiler_user::attribute::labels::Labels;
use profiler_user::deliver::finished::SeriesProfile;
use profiler_user::deliver::push::{Client, EndpointConfig, ProxyEnvironment, PushOutcome, WebRoots};
use profiler_user::host::Clock;
use tokio::runtime::Runtime;

/// A client and the one thread that it runs on, as in the daemon.
struct Pusher {
    client: Client,
    runtime: Runtime,
}

impl Pusher {
    /// Of an endpoint with this URL and further lines of configuration.
    fn new(url: &str, more: &str) -> Result<Self> {
        Self::with_environment(url, more, ProxyEnvironment::default())
    }

    fn with_environment(url: &str, more: &str, environment: ProxyEnvironment) -> Result<Self> {
        let config: EndpointConfig =
            toml::from_str(&format!("url = '{url}'\n{more}")).context("configuration")?;
        let endpoint = config.validate().map_err(|errors| anyhow::anyhow!("{errors:?}"))?;
        // The host's own certificates are no part of these tests.
        let roots = WebRoots::of_store(Vec::new());
        let client = Client::new(endpoint, roots, environment, Clock::host());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { client, runtime })
    }

    fn push(&self, profile: &SeriesProfile) -> PushOutcome {
        self.runtime.block_on(self.client.push(profile))
    }

    /// Pushes a recent profile: `delivered`, `retry CAUSE` or `refused CAUSE`.
    fn outcome(&self) -> Result<String> {
        Ok(summary(&self.push(&series(&MadePprof::recent()?)?)))
    }
}

fn summary(outcome: &PushOutcome) -> String {
    match outcome {
        PushOutcome::Delivered => "delivered".to_owned(),
        PushOutcome::Retry { cause, .. } => format!("retry {cause}"),
        PushOutcome::Refused { cause, .. } => format!("refused {cause}"),
    }
}

fn message(outcome: &PushOutcome) -> &str {
    match outcome {
        PushOutcome::Delivered => "",
        PushOutcome::Retry { message, .. } | PushOutcome::Refused { message, .. } => message,
    }
}

/// A made profile of a shop's front end.
fn series(made: &MadePprof) -> Result<SeriesProfile> {
    let packed = made.pack()?;
    let labels: Labels = [
        ("service_name", "shop-frontend"),
        ("namespace", "shop-production"),
        ("pod", "shop-frontend-6d5f8c7b9d-x2k4q"),
        ("container", "frontend"),
        ("node", "ip-10-12-33-7.eu-west-1.compute.internal"),
        ("process_executable_name", "java"),
        ("language", "java"),
        ("instance", "ip-10-12-33-7"),
    ]
    .into_iter()
    .collect();
    Ok(SeriesProfile {
        labels,
        pprof_gz: packed.gz,
        uncompressed_bytes: u32::try_from(packed.unpacked_bytes)?,
        samples: u64::try_from(made.stacks)?,
        cpu_nanos: u64::try_from(packed.cpu_nanos)?,
    })
}
