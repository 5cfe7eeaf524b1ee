//! File, variables and options → the daemon's configuration, checked; all that is wrong with it at once.
//!
//! ```text
//!   keys/*.rs   each key, declared once ──group.rs──▶ structs, table of keys
//!                     │                                     ├─▶ cli/daemon.rs        options and their help
//!                     │                                     ├─▶ example.rs           deploy/config.example.toml
//!                     ▼                                     └─▶ reference.rs         docs/configuration.md
//!   file ──document.rs──▶ tables ─┐
//!   variables, options ──────────┴─reader.rs─▶ DaemonConfig ──check.rs──▶ Loaded ──show.rs──▶ --check-config
//!                                                                           └────watch.rs──▶ reloads
//! ```
//!
//! Option over variable over file over default. Opens the file and what it names, nothing else; prints nothing.

mod check;
mod convert;
mod document;
mod example;
mod group;
mod key;
mod keys;
mod load;
mod nearest;
mod place;
mod problem;
mod reader;
mod reference;
mod show;
#[cfg(test)]
mod tests;
mod value;
mod variables;
mod watch;

pub use example::example;
pub(crate) use key::option_name;
pub use key::{Change, Key, VARIABLE_PREFIX};
pub use keys::{
    Budget, Containers, Endpoint, Http, Kubernetes, LabelSettings, Log, LogFormat, LogLevel, ProfileLimits,
    Push, RelabelRule, Sampling, Shutdown, Spool, Switch,
};
pub use load::{Loaded, Loader};
pub use place::Place;
pub use problem::{ConfigErrors, Problem, Wrong};
pub use reader::Layers;
pub use reference::reference;
pub use show::show;
pub use value::{Headers, Secret, Tables};
pub use watch::{ConfigWatcher, LOOK_EVERY, Reload};

use group::{Group, Shown};
use reader::Reader;

/// A table of the configuration, as help and documentation show it.
#[derive(Debug)]
pub struct Section {
    /// What it is called, in words.
    pub title: &'static str,
    /// What it is for.
    pub about: &'static [&'static str],
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// Its name in the file; none for a list of tables at the top.
    pub fn table(&self) -> Option<&'static str> {
        self.keys.first().and_then(|key| key.path.split_once('.')).map(|(table, _)| table)
    }
}

/// The tables of the configuration, each once: field, type, title.
macro_rules! daemon_config {
    ($($field:ident: $group:ident = $title:literal),+ $(,)?) => {
        /// Everything the daemon is told, checked.
        #[derive(Clone, Debug, PartialEq)]
        pub struct DaemonConfig {
            $(
                #[doc = concat!("See [`", stringify!($group), "`].")]
                pub $field: $group,
            )+
        }

        impl DaemonConfig {
            /// The tables in the order that they are shown in.
            pub fn sections() -> Vec<Section> {
                vec![$( Section { title: $title, about: $group::ABOUT, keys: $group::KEYS } ),+]
            }

            /// Every table from the layers that have it. All are read, whatever is wrong with one.
            fn read(reader: &mut Reader<'_>) -> Option<Self> {
                $( let $field = $group::read(reader); )+
                Some(Self { $( $field: $field? ),+ })
            }

            /// Values by table, in the order of [`Self::sections`].
            fn show(&self) -> Vec<Shown> {
                vec![$( self.$field.show() ),+]
            }

            /// The tables of a key that is a list of them.
            fn elements(&self, key: &Key) -> Vec<Shown> {
                [$( self.$field.elements(key) ),+].into_iter().flatten().collect()
            }

            /// The keys whose values differ.
            pub fn changed(&self, other: &Self) -> Vec<&'static Key> {
                [$( self.$field.changed(&other.$field) ),+].into_iter().flatten().collect()
            }

            /// This configuration with what a reload can change taken from the other.
            #[must_use]
            pub fn with_reloaded(&self, other: &Self) -> Self {
                Self { $( $field: self.$field.with_reloaded(&other.$field) ),+ }
            }
        }
    };
}

daemon_config! {
    sampling: Sampling = "Sampling",
    budget: Budget = "Budgets",
    push: Push = "Push",
    profile: ProfileLimits = "Size of profiles",
    spool: Spool = "Spool",
    labels: LabelSettings = "Labels",
    kubernetes: Kubernetes = "Kubernetes",
    containers: Containers = "Containers",
    http: Http = "HTTP",
    log: Log = "Log",
    shutdown: Shutdown = "Shutdown",
}

/// Every key of the file by its path; those of lists' tables are not among them.
fn all_keys() -> Vec<&'static Key> {
    DaemonConfig::sections().into_iter().flat_map(|section| section.keys).collect()
}
