//! Files that walks keep coming by → the rest of their pages, before a walk needs them.
//!
//! Each page that is met first costs a sample that may not be whole: a snapshot holds so much of a stack. In a large
//! program (rustc's driver has 1,600 pages) that would go on for minutes; loading all of it takes milliseconds. A small
//! file is loaded whole when it is met first: where a walk leaves the stack that a snapshot holds (cgo, signal stacks), each
//! page beyond would show only when the one before it is loaded. Only while there is room to spare, and never in place of
//! another page.

use std::collections::{HashMap, VecDeque};

use super::publisher::Publisher;
use super::store::{RowKey, RowStore, RowsAt};
use super::text_pages::Wish;
use crate::process::files::FileTable;

/// Pages met in a file before the rest is loaded.
const MET_MIN: u32 = 8;
/// A file with so many pages at most is loaded whole at once: 2 MiB of text, some 150 KiB of rows.
const SMALL_PAGES_MAX: usize = 32;
/// Files that are counted.
const FILES_MAX: usize = 4096;

/// Which files are met often, and how far each is loaded.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    met: HashMap<RowKey, u32>,
    /// With the number of pages that were looked at.
    files: VecDeque<(RowKey, usize)>,
}

impl Ahead {
    /// Notes a page that a walk came by, of a file with so many.
    pub(super) fn met(&mut self, key: RowKey, pages: usize) {
        if self.met.len() >= FILES_MAX && !self.met.contains_key(&key) {
            self.met.clear(); // those that are met often come again
        }
        let met = self.met.entry(key).or_default();
        *met = met.saturating_add(1);
        let enough = if pages <= SMALL_PAGES_MAX { 1 } else { MET_MIN };
        if *met == enough {
            self.files.push_back((key, 0));
        }
    }

    /// Forgets a file.
    pub(super) fn forget(&mut self, key: RowKey) {
        self.met.remove(&key);
        self.files.retain(|(file, _)| *file != key);
    }

    /// Up to so many pages that are not loaded, of the file met first.
    pub(super) fn wishes(
        &mut self,
        pages_max: usize,
        publisher: &Publisher,
        store: &mut RowStore,
        files: &FileTable,
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        while wishes.len() < pages_max
            && let Some((key, position)) = self.files.front_mut()
            && publisher.has_room_to_spare()
        {
            let rows = match store.rows(*key, files) {
                RowsAt::Ready(rows) => rows,
                RowsAt::Pending => break,
                RowsAt::Never(_) => {
                    self.files.pop_front();
                    continue;
                }
            };
            let Some(page) = rows.pages().get(*position) else {
                self.files.pop_front();
                continue;
            };
            *position += 1;
            if publisher.is_wanted(*key, page.number) {
                wishes.push(Wish { key: *key, page: page.number, rows: Some(rows), heat: 0 });
            }
        }
        wishes
    }
}
