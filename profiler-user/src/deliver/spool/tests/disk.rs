//! A disk in memory that knows what the device has and what only the kernel has, and stops at a step that a test says.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::deliver::spool::{Disk, Space, SpoolError};

/// A file: what was written, and what the device has of it.
#[derive(Clone, Debug, Default)]
struct Inode {
    written: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Default)]
struct Content {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    steps: u64,
    stop_at: Option<u64>,
    /// What calls that write answer, and whether the folder is gone.
    write_error: Option<io::ErrorKind>,
    remove_error: Option<io::ErrorKind>,
    is_missing: bool,
    is_remade: bool,
    free_bytes: u64,
    /// Bytes that may be written before the disk is full.
    room: Option<usize>,
}

/// Clones are the same disk.
#[derive(Clone, Debug)]
pub(super) struct FakeDisk {
    content: Arc<Mutex<Content>>,
    died: Arc<Notify>,
    /// The life of this handle: after a kill, handles of the life before touch nothing.
    life: u64,
    lives: Arc<Mutex<u64>>,
}

impl FakeDisk {
    pub(super) fn new() -> Self {
        let content = Content { free_bytes: 1 << 40, is_remade: true, ..Content::default() };
        Self { content: Arc::new(Mutex::new(content)), died: Arc::default(), life: 0, lives: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().expect("no test panics with it")
    }

    /// The same disk for the next run of the program; the one before touches it no more. It is killed after so many steps.
    pub(super) fn next_life(&self, steps: Option<u64>) -> Self {
        let mut lives = self.lives.lock().expect("no test panics with it");
        *lives += 1;
        let mut content = self.lock();
        content.stop_at = steps.map(|steps| content.steps + steps);
        content.is_remade = true;
        drop(content);
        Self { died: Arc::default(), life: *lives, ..self.clone() }
    }

    /// One step of this life. False if it was killed at or before it.
    pub(super) fn step(&self) -> bool {
        if !self.is_alive() {
            return false;
        }
        let mut content = self.lock();
        content.steps += 1;
        if content.stop_at.is_some_and(|stop_at| content.steps >= stop_at) {
            drop(content);
            *self.lives.lock().expect("no test panics with it") += 1;
            self.died.notify_one();
            return false;
        }
        true
    }

    pub(super) fn is_alive(&self) -> bool {
        *self.lives.lock().expect("no test panics with it") == self.life
    }

    /// Comes back when this life is killed.
    pub(super) async fn died(&self) {
        self.died.notified().await;
    }

    /// The power fails: of what the device was not told to keep, some is kept and some is not.
    pub(super) fn cut_power(&self, mut is_kept: impl FnMut() -> bool) {
        let mut content = self.lock();
        for inode in &mut content.inodes {
            if is_kept() {
                inode.durable = inode.written.clone();
            }
            inode.written = inode.durable.clone();
        }
        let (names, durable) = (content.names.clone(), content.durable_names.clone());
        let mut after = durable.clone();
        for (name, inode) in &names {
            if durable.get(name) != Some(inode) && is_kept() {
                after.insert(name.clone(), *inode);
            }
        }
        for name in durable.keys().filter(|name| !names.contains_key(*name)) {
            if is_kept() {
                after.remove(name);
            }
        }
        content.names = after.clone();
        content.durable_names = after;
    }

    /// The folder is deleted; another can be made, or not as long as writes fail.
    pub(super) fn delete_folder(&self) {
        let mut content = self.lock();
        content.names.clear();
        content.durable_names.clear();
        content.is_missing = true;
    }

    pub(super) fn fail_writes(&self, error: Option<io::ErrorKind>) {
        self.lock().write_error = error;
    }

    pub(super) fn fail_removals(&self, error: Option<io::ErrorKind>) {
        self.lock().remove_error = error;
    }

    pub(super) fn set_free_bytes(&self, bytes: u64) {
        self.lock().free_bytes = bytes;
    }

    pub(super) fn set_room(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// Puts a file there, as somebody else would.
    pub(super) fn plant(&self, name: &str, bytes: &[u8]) {
        let mut content = self.lock();
        let inode = Inode { written: bytes.to_vec(), durable: bytes.to_vec() };
        content.inodes.push(inode);
        let number = content.inodes.len() - 1;
        content.names.insert(name.to_owned(), number);
        content.durable_names.insert(name.to_owned(), number);
    }

    pub(super) fn content_of(&self, name: &str) -> Vec<u8> {
        let content = self.lock();
        content.inodes[content.names[name]].written.clone()
    }

    /// Does a part of the work between two steps.
    fn part<T>(&self, work: impl FnOnce(&mut Content) -> io::Result<T>) -> io::Result<T> {
        let killed = || io::Error::other("killed");
        if !self.step() {
            return Err(killed());
        }
        let done = work(&mut self.lock());
        if self.step() { done } else { Err(killed()) }
    }

    fn write_part<T>(&self, work: impl FnOnce(&mut Content) -> io::Result<T>) -> io::Result<T> {
        self.part(|content| match content.write_error {
            Some(kind) => Err(kind.into()),
            None if content.is_missing => Err(io::ErrorKind::NotFound.into()),
            None => work(content),
        })
    }
}

impl Content {
    fn inode(&mut self, name: &str) -> io::Result<&mut Inode> {
        let number = self.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        self.inodes.get_mut(number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn used(&self) -> usize {
        self.names.values().map(|number| self.inodes[*number].written.len()).sum()
    }
}

impl Disk for FakeDisk {
    fn ensure(&self) -> Result<bool, SpoolError> {
        let mut content = self.lock();
        if content.is_missing {
            if let Some(kind) = content.write_error {
                return Err(SpoolError::Unavailable { path: "/spool".into(), source: kind.into() });
            }
            content.is_missing = false;
            content.is_remade = true;
        }
        Ok(std::mem::take(&mut content.is_remade))
    }

    fn list(&self) -> Result<Vec<(String, u64)>, SpoolError> {
        let content = self.lock();
        let size = |number: &usize| content.inodes[*number].written.len() as u64;
        Ok(content.names.iter().map(|(name, number)| (name.clone(), size(number))).collect())
    }

    fn create(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let bytes = parts.concat();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.write_part(|content| {
            if content.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            content.inodes.push(Inode::default());
            let number = content.inodes.len() - 1;
            content.names.insert(name.to_owned(), number);
            Ok(())
        })?;
        for half in [first, second] {
            self.write_part(|content| {
                let is_full = content.room.is_some_and(|room| content.used() + half.len() > room);
                content.inode(name)?.written.extend(half);
                if is_full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            })?;
        }
        self.write_part(|content| {
            let inode = content.inode(name)?;
            inode.durable = inode.written.clone();
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.write_part(|content| {
            let number = content.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            content.names.insert(to.to_owned(), number);
            Ok(())
        })
    }

    fn sync_names(&self) -> io::Result<()> {
        self.write_part(|content| {
            content.durable_names = content.names.clone();
            Ok(())
        })
    }

    fn read_at(&self, name: &str, start: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.is_alive() {
            return Err(io::Error::other("killed"));
        }
        let mut content = self.lock();
        let bytes = content.inode(name)?.written.clone();
        super::format::ReadAt::read_at(&bytes.as_slice(), start, buffer)
    }

    fn write_at(&self, name: &str, start: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_part(|content| {
            let start = usize::try_from(start).map_err(io::Error::other)?;
            let written = &mut content.inode(name)?.written;
            written
                .get_mut(start..start + bytes.len())
                .ok_or(io::ErrorKind::InvalidInput)?
                .copy_from_slice(bytes);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.part(|content| match content.remove_error {
            Some(kind) => Err(kind.into()),
            None => content.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()),
        })
    }

    fn space(&self) -> io::Result<Space> {
        let content = self.lock();
        Ok(Space { free_bytes: content.free_bytes, total_bytes: 1 << 40 })
    }
}
