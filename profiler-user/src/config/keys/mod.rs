//! The daemon's keys: each is declared here once, or in `push.rs` and `relabel.rs` if it belongs to a list of tables.
//!
//! File, options, variables, help, `deploy/config.example.toml` and `docs/configuration.md` are made of these
//! declarations; tests hold them together. The first paragraph of a description is the short help.

mod push;
mod relabel;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::ValueEnum;
use reqwest::Url;

pub use push::Endpoint;
pub use relabel::RelabelRule;

use super::group::settings;
use super::key::Key;
use super::value::{Secret, Tables};
use crate::cli::UnwindArg;
use crate::deliver::serve::ListenAddress;
use crate::sample::Hertz;

settings! {
    /// What is sampled, and how.
    pub struct Sampling {
        /// Samples per second on each CPU.
        ///
        /// A rate that does not divide 100 keeps from walking in step with timers. The CPU budget may lower it for a while.
        rate: Hertz = Key::new("sampling.rate", "HZ").default("19").between("1", "999").reload();

        /// How long a window is: one profile of each series is made and pushed every so often.
        ///
        /// Windows are cut on the clock: those of 15s begin at :00, :15, :30 and :45. Less than 5s is for tests: it costs
        /// requests and storage.
        window: Duration = Key::new("sampling.window", "TIME").default("15s").between("100ms", "5m").reload();

        /// How to walk user stacks: `rows` or `frame-pointers`.
        ///
        /// `rows` goes by the programs' unwind information and gives whole stacks with or without frame pointers.
        /// `frame-pointers` is for kernels that cannot do that, and costs less.
        unwind: UnwindArg = Key::new("sampling.unwind", "HOW").default("rows");

        /// Kernel memory that unwind tables may take; the coldest rows go first.
        unwind_tables_max: ByteSize = Key::new("sampling.unwind_tables_max", "BYTES").default("32MiB");

        /// Folder where unwind rows are kept for the next start, in 256 MiB at most; an empty name for nowhere.
        cache_dir: Option<PathBuf> =
            Key::new("sampling.cache_dir", "FOLDER").default("/var/cache/flamekeeper").empty_counts();

        /// Where the kernel's list of its functions can be seen, if a service manager hides that of `/proc`.
        kernel_symbols: Option<PathBuf> =
            Key::new("sampling.kernel_symbols", "FILE").example("\"/run/flamekeeper-proc/kallsyms\"");

        /// Do not leave flamekeeper itself out.
        include_self: bool = Key::new("sampling.include_self", "BOOL").default("false");
    }
}

settings! {
    /// What flamekeeper may cost this host.
    pub struct Budget {
        /// CPU time that it may take, user, system and BPF programs together, in percent of one CPU; 0 for no limit.
        ///
        /// While it takes more, the sampling rate goes down in steps; it comes back when there is room again. Totals stay CPU
        /// time: fewer samples weigh more. Not part of it is reading debug information, which another rate would not make
        /// cheaper: that may take a second at first, and then 0.05 percent.
        cpu_percent: f64 =
            Key::new("budget.cpu_percent", "PERCENT").default("1").between("0", "10000").reload();

        /// Memory that it may take, resident; caches are emptied when it comes near.
        ///
        /// The tables in the kernel are not part of it: they have `sampling.unwind_tables_max`.
        memory_max: ByteSize =
            Key::new("budget.memory_max", "BYTES").default("256MiB").at_least("64MiB").reload();
    }
}

settings! {
    /// The folder that finished windows wait in until every endpoint has them.
    pub struct Spool {
        /// Where it is; made if it is not there.
        dir: PathBuf = Key::new("spool.dir", "FOLDER").default("/var/lib/flamekeeper/spool");

        /// What it may take on disk; the oldest windows go first, and are counted.
        max_bytes: ByteSize =
            Key::new("spool.max_bytes", "BYTES").default("256MiB").at_least("1MiB").reload();

        /// What it leaves free in its file system; by default 5 % of it, or 512 MiB if that is less.
        min_free_bytes: Option<ByteSize> =
            Key::new("spool.min_free_bytes", "BYTES").example("\"512MiB\"").reload();

        /// Age from which the database takes no profile any more, its `reject_older_than`.
        ///
        /// Older windows are not sent but set aside in the spool, within its size; `flamekeeper spool` reads them.
        reject_older_than: Duration =
            Key::new("spool.reject_older_than", "TIME").default("1h").between("2m", "30days").reload();
    }
}

settings! {
    /// What the series are called.
    pub struct LabelSettings {
        /// Labels of every series.
        ///
        /// `team=core,site=north` as an option or a variable.
        static_labels: BTreeMap<String, String> =
            Key::new("labels.static", "NAME=VALUE").example("{ team = \"core\" }").reload();

        /// The label `instance`; by default the name of the host.
        instance: Option<String> = Key::new("labels.instance", "NAME").example("\"host-7\"").reload();

        /// Whether series have the label `hostname`, the name of the host.
        hostname: bool = Key::new("labels.hostname", "BOOL").default("false").reload();

        /// How many label sets a window may have; the smallest beyond go to `service_name="other"`, and are counted.
        label_sets_max: u32 =
            Key::new("labels.label_sets_max", "COUNT").default("200").between("1", "5000").reload();

        /// Rules that rewrite labels or drop processes, as Prometheus defines them, applied in order.
        ///
        /// `keep` and `drop` decide before anything is built for a process. As an option or a variable: a list of tables in
        /// TOML, such as `[{action = "drop", source_labels = ["service_name"], regex = "cron.*"}]`.
        relabel_configs: Tables<RelabelRule> =
            Key::new("labels.relabel_configs", "TOML").elements(RelabelRule::KEYS).reload();
    }
}

settings! {
    /// Where the metadata of this node's pods comes from.
    pub struct Kubernetes {
        /// Whether to ask the API server: `auto`, `on` or `off`.
        ///
        /// `auto` asks it in a pod that has a service account, or if there is a kubeconfig.
        enabled: Switch = Key::new("kubernetes.enabled", "WHEN").default("auto");

        /// The node that pods are watched on; by default the name of the host.
        ///
        /// In a DaemonSet it comes from `spec.nodeName` by the downward API.
        node_name: Option<String> = Key::new("kubernetes.node_name", "NAME").example("\"node-7\"");

        /// Address and credentials of the API server, for agents outside a pod.
        kubeconfig: Option<PathBuf> =
            Key::new("kubernetes.kubeconfig", "FILE").example("\"/etc/flamekeeper/kubeconfig\"");

        /// The API server, in place of the one that a pod's environment names.
        api_server: Option<Url> =
            Key::new("kubernetes.api_server", "URL").example("\"https://10.0.0.1:6443\"");

        /// Token for the API server, in place of the service account's; read again when it changes.
        token_file: Option<PathBuf> =
            Key::new("kubernetes.token_file", "FILE").example("\"/etc/flamekeeper/token\"");

        /// Certificate authority of the API server, in place of the service account's.
        ca_file: Option<PathBuf> =
            Key::new("kubernetes.ca_file", "FILE").example("\"/etc/flamekeeper/ca.crt\"");
    }
}

settings! {
    /// Where container runtimes keep what they know of their containers. Each folder is optional; an empty list for none.
    pub struct Containers {
        /// Docker's data roots.
        docker_dirs: Vec<PathBuf> = Key::new("containers.docker_dirs", "FOLDER").default("/var/lib/docker");

        /// containerd's state folders.
        containerd_dirs: Vec<PathBuf> =
            Key::new("containers.containerd_dirs", "FOLDER")
                .default("/run/containerd,/run/k3s/containerd,/var/snap/microk8s/common/run/containerd");

        /// Run roots of containers/storage, which CRI-O and Podman share.
        storage_run_dirs: Vec<PathBuf> =
            Key::new("containers.storage_run_dirs", "FOLDER").default("/run/containers/storage");

        /// Graph roots of containers/storage.
        storage_dirs: Vec<PathBuf> =
            Key::new("containers.storage_dirs", "FOLDER").default("/var/lib/containers/storage");

        /// Folders with homes in them, for the containers of users who run Podman or Docker without root.
        home_dirs: Vec<PathBuf> = Key::new("containers.home_dirs", "FOLDER").default("/home");

        /// Sockets that speak Docker's API, asked for what no folder tells; none unless given.
        ///
        /// A socket that only root may open refuses an agent that is not root.
        sockets: Vec<PathBuf> = Key::new("containers.sockets", "SOCKET").example("[\"/run/docker.sock\"]");
    }
}

settings! {
    /// The profile databases that profiles are pushed to. Each has everything, and a place of its own in the spool.
    pub struct Push {
        /// The endpoints, each a table `[[push]]`.
        ///
        /// As an option or a variable: a list of tables in TOML, in place of the file's. The options and variables of single
        /// keys lie over the first endpoint, or are one if there is none.
        endpoints: Tables<Endpoint> =
            Key::new("push", "TOML").elements(Endpoint::KEYS).first_has_options().reload();
    }
}

settings! {
    /// How large a profile may be: what is larger is pushed in parts.
    ///
    /// Pyroscope takes 4 MiB, 16,000 samples, and of a tenant no more than 2 MB at a time; raise these only with its limits.
    pub struct ProfileLimits {
        /// Size of a profile before compression.
        max_bytes: ByteSize =
            Key::new("profile.max_bytes", "BYTES").default("1536KiB").between("64KiB", "64MiB").reload();

        /// Distinct stacks in a profile.
        max_samples: u32 =
            Key::new("profile.max_samples", "COUNT").default("16000").between("100", "1000000").reload();
    }
}

settings! {
    /// Metrics, health, targets and profiles for those who ask.
    pub struct Http {
        /// Addresses to listen on, or `unix:/path` of a socket; an empty list for none.
        ///
        /// Off loopback everybody can see metrics and health; the rest needs the token.
        listen: Vec<ListenAddress> = Key::new("http.listen", "ADDRESS").default("127.0.0.1:4041");

        /// What clients from elsewhere have to show, as `Authorization: Bearer TOKEN`; 16 characters at least.
        token: Option<Secret> = Key::new("http.token", "TOKEN").example("\"0123456789abcdef\"").reload();

        /// File with the token, in place of it.
        token_file: Option<PathBuf> =
            Key::new("http.token_file", "FILE").example("\"/etc/flamekeeper/http-token\"").reload();

        /// Whether loopback needs the token too: for hosts whose users may not see each other's programs.
        loopback_needs_token: bool = Key::new("http.loopback_needs_token", "BOOL").default("false").reload();

        /// Names beside `localhost` that this host is asked by over loopback.
        ///
        /// Requests with another name in `Host` are refused: they may come from a page in a browser.
        allowed_hosts: Vec<String> =
            Key::new("http.allowed_hosts", "NAME").example("[\"profiles.example.org\"]").reload();
    }
}

settings! {
    /// What it says of itself on stderr.
    pub struct Log {
        /// How much: `error`, `warn`, `info`, `debug` or `trace`.
        ///
        /// `debug` at the start also has the kernel half write a line about each sample or stack that it loses.
        level: LogLevel = Key::new("log.level", "LEVEL").default("info").reload();

        /// `logfmt` or `json`, a line each.
        format: LogFormat = Key::new("log.format", "FORMAT").default("logfmt");
    }
}

settings! {
    /// How it ends.
    pub struct Shutdown {
        /// Time from SIGTERM until the last window is in the spool; whatever is not there by then is lost, and the log says so.
        drain_timeout: Duration =
            Key::new("shutdown.drain_timeout", "TIME").default("10s").between("1s", "5m").reload();
    }
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// If it can be.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What is broken.
    Error,
    /// What may need a hand.
    Warn,
    /// What happens once or rarely.
    Info,
    /// What happens in each window.
    Debug,
    /// What happens all the time.
    Trace,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// `key=value` pairs.
    Logfmt,
    /// An object.
    Json,
}
