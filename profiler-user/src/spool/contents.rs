//! A spool and a selection → its windows, as both outputs of `ls` show them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::attribute::labels::Labels;
use crate::deliver::spool::SpoolError;
use crate::deliver::spool::export::Selection;
use crate::deliver::spool::format::Head;
use crate::deliver::spool::id::WindowId;
use crate::deliver::spool::read::{SpoolReader, is_in, states_of};
use crate::deliver::spool::state::{EndpointKey, State};
use crate::host::WallNanos;

/// What is shown.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) path: PathBuf,
    pub(super) windows: Vec<ShownWindow>,
    /// Every endpoint that any of them knows, in the order of their coming, and what tells it from the others.
    pub(super) endpoints: Vec<(EndpointKey, String)>,
    /// Windows of the folder that were not selected.
    pub(super) left_out: usize,
    /// Files that are no windows, and why; damaged ones among them.
    pub(super) others: Vec<(String, String)>,
}

/// A window, as far as it is selected.
#[derive(Debug)]
pub(super) struct ShownWindow {
    pub(super) id: WindowId,
    pub(super) started: WallNanos,
    pub(super) duration: Duration,
    pub(super) host: String,
    pub(super) file_bytes: u64,
    pub(super) profiles: Vec<ShownProfile>,
}

/// A profile.
#[derive(Debug)]
pub(super) struct ShownProfile {
    pub(super) samples: u64,
    pub(super) cpu_nanos: u64,
    pub(super) bytes: u32,
    /// With each endpoint that its window knows.
    pub(super) states: Vec<(EndpointKey, State)>,
    /// If they were asked for.
    pub(super) labels: Option<Labels>,
}

impl ShownWindow {
    pub(super) fn samples(&self) -> u64 {
        self.profiles.iter().map(|profile| profile.samples).fold(0, u64::saturating_add)
    }

    pub(super) fn cpu(&self) -> Duration {
        Duration::from_nanos(
            self.profiles.iter().map(|profile| profile.cpu_nanos).fold(0, u64::saturating_add),
        )
    }

    /// How many profiles are in which state with an endpoint, the most first.
    pub(super) fn states(&self, endpoint: EndpointKey) -> Vec<(State, usize)> {
        let mut counts: Vec<(State, usize)> = Vec::new();
        for (_, state) in
            self.profiles.iter().flat_map(|profile| &profile.states).filter(|(key, _)| *key == endpoint)
        {
            match counts.iter_mut().find(|(known, _)| known == state) {
                Some((_, count)) => *count += 1,
                None => counts.push((*state, 1)),
            }
        }
        counts.sort_by_key(|(state, count)| (std::cmp::Reverse(*count), *state));
        counts
    }
}

impl Contents {
    /// Reads heads, and profiles only for their labels: to select by them, or to show them.
    pub(super) fn read(
        reader: &SpoolReader,
        path: &Path,
        selection: &Selection,
        with_labels: bool,
    ) -> Result<Self, SpoolError> {
        let listing = reader.list()?;
        let strangers = listing.others.into_iter();
        let mut contents = Self {
            path: path.to_owned(),
            windows: Vec::new(),
            endpoints: Vec::new(),
            left_out: 0,
            others: strangers.map(|name| (name, "is no window of a spool".to_owned())).collect(),
        };
        for (id, bytes) in listing.windows {
            match reader.head(id, bytes) {
                Ok(Some(head)) => contents.add(reader, id, &head, selection, with_labels),
                Ok(None) => {}
                Err(error) => contents.others.push((id.file_name(), error.to_string())),
            }
        }
        contents.tell_endpoints_apart();
        Ok(contents)
    }

    /// Two of one name: the same database for two tenants, or long addresses that are cut.
    fn tell_endpoints_apart(&mut self) {
        let names: Vec<String> = self.endpoints.iter().map(|(_, name)| name.clone()).collect();
        for (key, name) in &mut self.endpoints {
            if names.iter().filter(|other| *other == name).count() > 1 {
                *name = format!("{name} ({key})");
            }
        }
    }

    fn add(
        &mut self,
        reader: &SpoolReader,
        id: WindowId,
        head: &Head,
        selection: &Selection,
        with_labels: bool,
    ) {
        let mut profiles = Vec::new();
        let has_time = selection.has_time(head.started, head.duration);
        for (index, record) in head.records.iter().enumerate() {
            if !has_time || !is_in(head, index, &selection.states) {
                continue;
            }
            let labels = if with_labels || !selection.labels.is_empty() {
                match reader.profile(id, head, index) {
                    Ok(profile) => profile.map(|profile| profile.labels),
                    Err(error) => {
                        self.others.push((id.file_name(), format!("profile {index}: {error}")));
                        continue;
                    }
                }
            } else {
                None
            };
            if labels.as_ref().is_some_and(|labels| !selection.has_labels(labels)) {
                continue;
            }
            profiles.push(ShownProfile {
                samples: record.samples,
                cpu_nanos: record.cpu_nanos,
                bytes: record.pprof_bytes,
                states: states_of(head, index).iter().map(|known| (known.key, known.state)).collect(),
                labels: labels.filter(|_| with_labels),
            });
        }
        if profiles.is_empty() {
            self.left_out += 1;
            return;
        }
        for (key, name) in head.places.0.iter().flatten() {
            if self.endpoints.iter().all(|(known, _)| known != key) {
                self.endpoints.push((*key, name.clone()));
            }
        }
        self.windows.push(ShownWindow {
            id,
            started: head.started,
            duration: head.duration,
            host: head.host.clone(),
            file_bytes: head.file_bytes,
            profiles,
        });
    }
}
