//! Container ids → what is known of them, each read once: kept, bounded, and asked again later if nothing was found.

use std::collections::HashMap;
use std::sync::Arc;

use super::elsewhere::{Found, Wanted};
use super::folders::ContainerFolders;
use super::{ContainerInfo, Containers};
use crate::attribute::cgroup::CgroupContainer;
use crate::host::{MonotonicNanos, ProcFs};

/// Containers that are known at a time; hosts run some hundreds. The least recently used goes first.
const CONTAINERS_MAX: usize = 4096;
/// Requests to other threads that were not taken yet.
const WANTED_MAX: usize = 1024;
/// A runtime writes a container's files before it starts it, but the list may come a little later.
const AGAIN_NANOS_MIN: u64 = 1_000_000_000;
/// What was not found for long will hardly be.
const AGAIN_NANOS_MAX: u64 = 60_000_000_000;

/// What is known of one container.
#[derive(Debug)]
struct Known {
    info: Option<Arc<ContainerInfo>>,
    used: MonotonicNanos,
    /// When nothing was found: asked again then, and after what pause the next time.
    again: MonotonicNanos,
    pause_nanos: u64,
}

/// The containers that were met.
#[derive(Debug)]
pub struct ContainerStore {
    proc: ProcFs,
    folders: ContainerFolders,
    asks_elsewhere: bool,
    known: HashMap<Arc<str>, Known>,
    wanted: Vec<Wanted>,
}

impl ContainerStore {
    /// Reads these folders. `proc` must be the running host's. Without `asks_elsewhere` nothing is [wanted](Self::take_wanted).
    pub fn new(proc: ProcFs, folders: ContainerFolders, asks_elsewhere: bool) -> Self {
        Self { proc, folders, asks_elsewhere, known: HashMap::new(), wanted: Vec::new() }
    }

    /// What is known of a container; `user` is the one whose slice it runs in. Reads files of the system's state folders if the
    /// container is new, or was unknown for a while.
    pub fn get(
        &mut self,
        container: &CgroupContainer,
        user: Option<u32>,
        now: MonotonicNanos,
    ) -> Option<Arc<ContainerInfo>> {
        if let Some(name) = container.name() {
            let info = ContainerInfo { name: name.into(), ..ContainerInfo::default() };
            return Some(Arc::new(info));
        }
        if let Some(known) = self.known.get_mut(&*container.id) {
            known.used = now;
            if known.info.is_some() || now < known.again {
                return known.info.clone();
            }
        }
        let found = self.folders.find(&self.proc, container.runtime, &container.id);
        self.learn_all(found, now);
        if let Some(info) = self.known.get(&*container.id).and_then(|known| known.info.clone()) {
            return Some(info);
        }
        self.missed(container, user, now);
        None
    }

    /// When a container of which nothing is known is to be asked for again; `None` if all is known.
    pub fn again(&self, container: &CgroupContainer) -> Option<MonotonicNanos> {
        let known = self.known.get(&*container.id)?;
        known.info.is_none().then_some(known.again)
    }

    /// What the system's folders do not know, for [`super::Elsewhere`] on another thread. Each is told once until it is asked for again.
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes what was found elsewhere. True if it is news.
    pub fn learn(&mut self, found: Found, now: MonotonicNanos) -> bool {
        self.learn_all(found.containers, now)
    }

    /// How many containers are known, and of how many of them something.
    pub fn counts(&self) -> (usize, usize) {
        (self.known.len(), self.known.values().filter(|known| known.info.is_some()).count())
    }

    fn learn_all(&mut self, found: Containers, now: MonotonicNanos) -> bool {
        let mut is_news = false;
        for (position, (id, info)) in found.into_iter().enumerate() {
            // The first is the one that was asked for; the others of a list may be met or not.
            if position > 0 && self.known.len() >= CONTAINERS_MAX / 2 {
                break;
            }
            if self.known.get(&id).is_some_and(|known| known.info.is_some()) {
                continue; // the system's own files are believed before a user's
            }
            is_news = true;
            self.insert(id, Known { info: Some(Arc::new(info)), used: now, again: now, pause_nanos: 0 });
        }
        is_news
    }

    fn missed(&mut self, container: &CgroupContainer, user: Option<u32>, now: MonotonicNanos) {
        let before = self.known.get(&*container.id).map(|known| known.pause_nanos);
        let pause_nanos = before.map_or(AGAIN_NANOS_MIN, |pause| (pause * 2).min(AGAIN_NANOS_MAX));
        let again = MonotonicNanos(now.0.saturating_add(pause_nanos));
        let id: Arc<str> = container.id.as_str().into();
        if self.asks_elsewhere && self.wanted.len() < WANTED_MAX {
            self.wanted.push(Wanted { id: Arc::clone(&id), runtime: container.runtime, user });
        }
        self.insert(id, Known { info: None, used: now, again, pause_nanos });
    }

    fn insert(&mut self, id: Arc<str>, known: Known) {
        if self.known.len() >= CONTAINERS_MAX && !self.known.contains_key(&id) {
            // A quarter at once, so that the search is not made for each.
            let mut uses: Vec<MonotonicNanos> = self.known.values().map(|known| known.used).collect();
            let (_, &mut oldest, _) = uses.select_nth_unstable(CONTAINERS_MAX / 4);
            self.known.retain(|_, known| known.used > oldest);
        }
        self.known.insert(id, known);
    }
}
