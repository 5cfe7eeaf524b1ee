//! What a window in the spool is called: unique across restarts and clock steps, in the order of writing.

use std::fmt;

/// How names of windows end.
pub const WINDOW_ENDING: &str = ".window";
/// How names of files begin that are being written.
pub const NEW_PREFIX: &str = ".new-";

/// A window of the spool. The order is that of writing, whatever the wall clock said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowId {
    /// One more than the highest that the folder had.
    pub sequence: u64,
    /// Random, of the run that wrote it: a folder that was emptied counts from 1 again.
    pub run: u64,
}

impl WindowId {
    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{self}{WINDOW_ENDING}")
    }

    /// The name of its file while it is being written.
    pub fn new_name(&self) -> String {
        format!("{NEW_PREFIX}{self}")
    }

    /// Whose file has this name, if it is a window's.
    pub fn of_file_name(name: &str) -> Option<Self> {
        let (sequence, run) = name.strip_suffix(WINDOW_ENDING)?.split_once('-')?;
        let number = |text: &str| {
            let is_ours = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            is_ours.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        Some(Self { sequence: number(sequence)?, run: number(run)? })
    }
}

impl fmt::Display for WindowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}", self.sequence, self.run)
    }
}

/// A profile of a window of the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId {
    /// The window.
    pub window: WindowId,
    /// Which of its profiles, from 0.
    pub index: u32,
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.window, self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_sort_as_windows_do() {
        let ids = [(9, u64::MAX), (10, 0), (u64::MAX, 3)].map(|(sequence, run)| WindowId { sequence, run });
        let names = ids.map(|id| id.file_name());
        assert!(names.is_sorted());
        assert_eq!(names.clone().map(|name| WindowId::of_file_name(&name)), ids.map(Some));
        assert_eq!(names[0], "0000000000000009-ffffffffffffffff.window");
    }

    #[test]
    fn other_names_are_nobodys() {
        let name = WindowId { sequence: 1, run: 2 }.file_name();
        let others = [
            "",
            ".window",
            "-.window",
            "1-2.window",
            &name.to_uppercase(),
            &format!("{name}~"),
            &format!("x{name}"),
            &name.replacen('0', "+", 1),
            &WindowId { sequence: 1, run: 2 }.new_name(),
        ];
        assert_eq!(others.map(WindowId::of_file_name), [None; 9]);
    }
}
