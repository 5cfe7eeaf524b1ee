//! A changed file or a SIGHUP → a new configuration, a refusal, or keys that wait for a restart.
//!
//! The file is read every few seconds and compared, rather than watched by inotify: a ConfigMap is changed by swapping a
//! link two folders above it, editors put another file in its place, and network file systems tell nothing; a few KiB from
//! the page cache cost some ten microseconds and miss none of it. A file that changed counts only once it has been the same
//! at two looks, so that one that is being written is not read by halves.
//!
//! Blocks for the time that a local file takes. Owns no timer and no signal: whoever calls says when to look.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use futures::{Stream, StreamExt};

use super::key::Key;
use super::load::{Fingerprint, Loaded, Loader};
use super::problem::{ConfigErrors, Problem, Wrong};
use super::{Change, DaemonConfig};

/// How often to look.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What came of a changed file.
#[derive(Debug)]
pub enum Reload {
    /// Some values are new.
    Applied {
        /// What is in force from now on: changed keys that need a restart have their old values.
        config: Arc<DaemonConfig>,
        /// What differs from before.
        changed: Vec<&'static Key>,
        /// What differs in the file and takes a restart.
        needs_restart: Vec<&'static Key>,
        /// What works and is worth a word.
        warnings: Vec<Problem>,
    },
    /// Nothing that could change without a restart has changed.
    NeedsRestart(Vec<&'static Key>),
    /// The file says what it said before, or the same in other words.
    Unchanged,
    /// It is wrong: the old configuration goes on.
    Refused(ConfigErrors),
}

/// Looks after the file. What is in force is [`Self::config`].
#[derive(Debug)]
pub struct ConfigWatcher {
    loader: Loader,
    config: Arc<DaemonConfig>,
    /// What was judged last.
    judged: Fingerprint,
    /// What was seen at the last look and is another: judged if it is the same at the next.
    unsettled: Option<Fingerprint>,
}

impl ConfigWatcher {
    /// After the first load, which is taken as what the file says.
    pub fn new(loader: Loader, loaded: Loaded) -> Self {
        Self { loader, config: Arc::new(loaded.config), judged: loaded.fingerprint, unsettled: None }
    }

    /// What is in force.
    pub fn config(&self) -> &Arc<DaemonConfig> {
        &self.config
    }

    /// A look at the file, to be made every [`LOOK_EVERY`]: `None` while there is nothing new.
    pub fn look(&mut self) -> Option<Reload> {
        let file = self.loader.read()?;
        let seen = Loader::fingerprint(&file);
        if seen == self.judged {
            self.unsettled = None;
            return None;
        }
        if self.unsettled.replace(seen) != Some(seen) {
            return None; // it may still be being written
        }
        Some(self.judge(Some(file)))
    }

    /// Somebody asks for it, by SIGHUP: at once, and with an answer in any case. Reads what the file names anew, too.
    pub fn reload(&mut self) -> Reload {
        let file = self.loader.read();
        self.judge(file)
    }

    fn judge(&mut self, file: Option<Result<Vec<u8>, Wrong>>) -> Reload {
        self.unsettled = None;
        self.judged = file.as_ref().map_or(self.judged, Loader::fingerprint);
        let Loaded { config: new, warnings, .. } = match self.loader.load_bytes(file) {
            Ok(loaded) => loaded,
            Err(errors) => return Reload::Refused(errors),
        };
        let (changed, needs_restart): (Vec<_>, Vec<_>) =
            self.config.changed(&new).into_iter().partition(|key| key.change == Change::Reload);
        match (changed.is_empty(), needs_restart.is_empty()) {
            (true, true) => Reload::Unchanged,
            (true, false) => Reload::NeedsRestart(needs_restart),
            (false, _) => {
                self.config = Arc::new(self.config.with_reloaded(&new));
                Reload::Applied { config: Arc::clone(&self.config), changed, needs_restart, warnings }
            }
        }
    }

    /// Waits for the next thing to tell: looks at each tick, reloads at each hangup. `None` once both have ended.
    /// May be dropped while it waits.
    pub async fn next(
        &mut self,
        ticks: &mut (impl Stream<Item = ()> + Unpin),
        hangups: &mut (impl Stream<Item = ()> + Unpin),
    ) -> Option<Reload> {
        loop {
            match select(hangups.next(), ticks.next()).await {
                Either::Left((Some(()), _)) => return Some(self.reload()),
                Either::Right((Some(()), _)) => {
                    if let Some(reload) = self.look() {
                        return Some(reload);
                    }
                }
                Either::Left((None, ticks)) => {
                    ticks.await?;
                    if let Some(reload) = self.look() {
                        return Some(reload);
                    }
                }
                Either::Right((None, hangups)) => {
                    hangups.await?;
                    return Some(self.reload());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::{Path, PathBuf};

    use futures::stream;

    use super::*;
    use crate::host::ProcFs;

    fn watch(file: PathBuf) -> ConfigWatcher {
        let loader = Loader::new(Some(file), [].into(), [], ProcFs::at("no-such-folder"));
        let loaded = loader.load().unwrap();
        ConfigWatcher::new(loader, loaded)
    }

    fn rate(watcher: &ConfigWatcher) -> u32 {
        watcher.config().sampling.rate.get()
    }

    fn paths(keys: &[&'static Key]) -> Vec<&'static str> {
        keys.iter().map(|key| key.path).collect()
    }

    /// A folder with a file in it that says this.
    fn folder_with(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.toml");
        fs::write(&file, text).unwrap();
        (folder, file)
    }

    #[test]
    fn a_changed_file_counts_once_it_is_the_same_at_two_looks() {
        let (_folder, file) = folder_with("[sampling]\nrate = 29\n");
        let mut watcher = watch(file.clone());
        assert!(watcher.look().is_none());
        fs::write(&file, "[sampling]\nrate = 3").unwrap(); // half of it
        assert!(watcher.look().is_none());
        fs::write(&file, "[sampling]\nrate = 39\n").unwrap();
        assert!(watcher.look().is_none());
        assert_eq!(rate(&watcher), 29);
        let Some(Reload::Applied { config, changed, needs_restart, warnings }) = watcher.look() else {
            panic!()
        };
        assert_eq!((config.sampling.rate.get(), rate(&watcher)), (39, 39));
        assert_eq!(
            (paths(&changed), paths(&needs_restart), warnings.len()),
            (vec!["sampling.rate"], vec![], 1)
        );
        assert!(watcher.look().is_none());
    }

    #[test]
    fn a_wrong_file_is_refused_once_and_the_old_configuration_goes_on() {
        let (_folder, file) = folder_with("[sampling]\nrate = 29\n");
        let mut watcher = watch(file.clone());
        for wrong in ["[sampling]\nrate = 0\nwindow = 'x'\n", "[sampling\n", ""] {
            match wrong {
                "" => fs::remove_file(&file).unwrap(),
                wrong => fs::write(&file, wrong).unwrap(),
            }
            assert!(watcher.look().is_none());
            assert!(matches!(watcher.look(), Some(Reload::Refused(_))), "{wrong}");
            assert!(watcher.look().is_none(), "told twice: {wrong}");
            assert_eq!(rate(&watcher), 29);
        }
        fs::write(&file, "[sampling]\nrate = 29\n").unwrap();
        assert!(watcher.look().is_none());
        assert!(matches!(watcher.look(), Some(Reload::Unchanged)));
    }

    #[test]
    fn what_takes_a_restart_keeps_its_old_value() {
        let (_folder, file) = folder_with("");
        let mut watcher = watch(file.clone());
        fs::write(&file, "[spool]\ndir = '/elsewhere'\n").unwrap();
        let Reload::NeedsRestart(keys) = watcher.reload() else { panic!() };
        assert_eq!(paths(&keys), ["spool.dir"]);
        fs::write(&file, "[spool]\ndir = '/elsewhere'\nmax_bytes = '1GiB'\n[[push]]\nurl = 'http://a'\n")
            .unwrap();
        let Reload::Applied { config, changed, needs_restart, .. } = watcher.reload() else { panic!() };
        assert_eq!(
            (paths(&changed), paths(&needs_restart)),
            (vec!["push", "spool.max_bytes"], vec!["spool.dir"])
        );
        assert_eq!(config.spool.dir, Path::new("/var/lib/flamekeeper/spool"));
        assert_eq!((config.spool.max_bytes.as_u64(), config.push.endpoints.len()), (1 << 30, 1));
    }

    /// As the kubelet does it: config.toml → ..data/config.toml, ..data → a folder that is swapped.
    #[test]
    fn a_config_map_that_is_swapped_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, rate) in [("..1", 29), ("..2", 39)] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("config.toml"), format!("[sampling]\nrate = {rate}\n")).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/config.toml", at("config.toml")).unwrap();
        let mut watcher = watch(at("config.toml"));
        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        fs::remove_dir_all(at("..1")).unwrap();
        assert!(watcher.look().is_none());
        assert!(matches!(watcher.look(), Some(Reload::Applied { .. })));
        assert_eq!(rate(&watcher), 39);
    }

    #[tokio::test]
    async fn hangups_are_answered_at_once_and_ticks_when_there_is_something() {
        let (_folder, file) = folder_with("");
        let mut watcher = watch(file.clone());
        let told = watcher.next(&mut stream::pending(), &mut stream::iter([()])).await;
        assert!(matches!(told, Some(Reload::Unchanged)));
        fs::write(&file, "[sampling]\nrate = 39\n").unwrap();
        let mut ticks = stream::iter([(); 3]);
        assert!(matches!(
            watcher.next(&mut ticks, &mut stream::pending()).await,
            Some(Reload::Applied { .. })
        ));
        assert_eq!(ticks.next().await, Some(()), "it was told at the second tick");
        assert!(watcher.next(&mut stream::empty(), &mut stream::empty()).await.is_none());
    }

    #[test]
    fn without_a_file_there_is_nothing_to_see() {
        let loader = Loader::new(None, [].into(), [], ProcFs::at("no-such-folder"));
        let loaded = loader.load().unwrap();
        let mut watcher = ConfigWatcher::new(loader, loaded);
        assert!(watcher.look().is_none());
        assert!(matches!(watcher.reload(), Reload::Unchanged));
    }
}
