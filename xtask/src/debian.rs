//! A locked Debian package, fetched by apt without installing anything.
//!
//! ```text
//!   the host's own mirror ─▶ a private apt root (one suite) ─▶ apt-get download ─▶ SHA-256 ─▶ dpkg-deb
//! ```
//!
//! The host's package lists, its installed packages and its settings are not touched.

use crate::folders::{fresh_folder, replace_folder};
use crate::shell;
use crate::workspace::Workspace;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Exactly one package: another build of the same version is refused.
pub(crate) struct Package {
    /// Of another architecture than the host's: `name:architecture`.
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) suite: &'static str,
    pub(crate) sha256: &'static str,
}

/// Downloads the package below `target/tools` and checks its hash.
pub(crate) fn download(workspace: &Workspace, package: &Package) -> Result<PathBuf> {
    let mut failures = String::new();
    for mirror in archives(workspace, "")? {
        match download_from(workspace, package, &mirror) {
            Ok(file) => return Ok(file),
            Err(error) => failures += &format!("; {error:#}"),
        }
    }
    bail!("no mirror of this host has {} {}{failures}", package.name, package.version)
}

/// The archives that the host gets its own release from; with the ending `-security`, that release's security updates.
pub(crate) fn archives(workspace: &Workspace, ending: &str) -> Result<Vec<String>> {
    if shell::find_program("apt-get").is_none() {
        bail!("no apt-get on this machine");
    }
    // Says what an update would fetch, without fetching it: works without package lists and without root.
    let uris = shell::output(workspace.command("apt-get").args(["update", "--print-uris"]))?;
    let release = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let codename = codename(&release).context("/etc/os-release has no VERSION_CODENAME")?;
    let found = mirrors(&uris, &format!("{codename}{ending}"));
    Ok(found.into_iter().map(str::to_owned).collect())
}

/// The `VERSION_CODENAME` of an os-release file.
fn codename(os_release: &str) -> Option<&str> {
    os_release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"'))
}

/// The archives that the host gets its own release from, each once: those carry the other suites too.
fn mirrors<'a>(update_uris: &'a str, codename: &str) -> Vec<&'a str> {
    let release_file = format!("/dists/{codename}/InRelease");
    let mut found = Vec::new();
    for line in update_uris.lines() {
        let uri = line.strip_prefix('\'').and_then(|rest| rest.split('\'').next());
        if let Some(mirror) = uri.and_then(|uri| uri.strip_suffix(&release_file))
            && !found.contains(&mirror)
        {
            found.push(mirror);
        }
    }
    found
}

fn download_from(workspace: &Workspace, package: &Package, mirror: &str) -> Result<PathBuf> {
    // Beside the host's own.
    let architecture = package.name.split_once(':').map(|(_, architecture)| architecture);
    let root = workspace.tools().join("apt");
    let apt = PrivateApt::make(&root, package.suite, mirror, architecture.as_slice())?;
    let wanted = format!("{}={}", package.name, package.version);
    shell::run(apt.command("apt-get").args(["--quiet", "download", &wanted]))?;
    let file = apt.only_package()?;
    let bytes = fs::read(&file).with_context(|| format!("read {}", file.display()))?;
    let found = shell::sha256(&bytes)?;
    if found != package.sha256 {
        bail!("{} has SHA-256 {found}, locked is {}", file.display(), package.sha256);
    }
    Ok(file)
}

/// A folder that apt takes for its state, cache and sources, with the package lists of one suite.
pub(crate) struct PrivateApt {
    root: PathBuf,
    architectures: Vec<String>,
}

impl PrivateApt {
    /// Fetches the lists of these architectures; of none: of the host's.
    pub(crate) fn make(root: &Path, suite: &str, mirror: &str, architectures: &[&str]) -> Result<Self> {
        let root = fresh_folder(root)?;
        for folder in ["state/lists/partial", "cache/archives/partial", "parts"] {
            fresh_folder(&root.join(folder))?;
        }
        // The archive signs every suite with the keys of this package; without it apt's own keys decide.
        let keys = "/usr/share/keyrings/debian-archive-keyring.gpg";
        let keys = if Path::new(keys).exists() { format!("Signed-By: {keys}\n") } else { String::new() };
        let source = format!("Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\n{keys}");
        let file = root.join("private.sources");
        fs::write(&file, source).with_context(|| format!("write {}", file.display()))?;
        let architectures = architectures.iter().map(|&name| name.to_owned()).collect();
        let apt = Self { root, architectures };
        shell::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    /// One of apt's programs that sees this folder and nothing of the host's, started in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        let settings = [
            ("Dir::Etc::sourcelist", self.root.join("private.sources")),
            ("Dir::Etc::sourceparts", self.root.join("parts")),
            ("Dir::State", self.root.join("state")),
            ("Dir::Cache", self.root.join("cache")),
        ];
        for (name, path) in settings {
            command.arg("-o").arg(format!("{name}={}", path.display()));
        }
        // The checkout may lie in a folder that apt's unprivileged user cannot enter.
        command.args(["-o", "APT::Sandbox::User=", "-o", "Acquire::Languages=none"]);
        for architecture in &self.architectures {
            command.args(["-o", &format!("APT::Architectures::={architecture}")]);
        }
        command
    }

    /// The file that `apt-get download` has left.
    pub(crate) fn only_package(&self) -> Result<PathBuf> {
        for entry in fs::read_dir(&self.root).with_context(|| format!("list {}", self.root.display()))? {
            let path = entry.with_context(|| format!("list {}", self.root.display()))?.path();
            if path.extension().is_some_and(|ending| ending == "deb") {
                return Ok(path);
            }
        }
        bail!("apt-get download left no package in {}", self.root.display())
    }
}

/// Unpacks one folder of the package, such as `./usr/src/rustc-1.95.0/library`, into `place`.
pub(crate) fn unpack(workspace: &Workspace, package: &Path, folder: &str, place: &Path) -> Result<()> {
    let scratch = fresh_folder(&place.with_added_extension("partial"))?;
    let above = Path::new(folder).components().count().saturating_sub(1);
    let mut reader = workspace
        .command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("start dpkg-deb")?;
    let stream = reader.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = workspace.command("tar");
    tar.arg("-x").arg("-C").arg(&scratch).arg(format!("--strip-components={above}")).arg(folder);
    let unpacked = shell::run(tar.stdin(Stdio::from(stream)));
    let read = reader.wait().context("wait for dpkg-deb")?;
    unpacked?;
    if !read.success() {
        bail!("dpkg-deb of {} ended with {read}", package.display());
    }
    replace_folder(&scratch, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_archives_of_the_own_release_are_mirrors() {
        let uris = "'mirror:a/debian/dists/bookworm/InRelease' a_InRelease 0 \n\
                    'mirror:a/debian/dists/bookworm-updates/InRelease' a_InRelease 0 \n\
                    'mirror:a/debian/dists/bookworm/main/binary-amd64/Packages.xz' a_Packages 0 \n\
                    'mirror:b/security/dists/bookworm-security/InRelease' b_InRelease 0 \n\
                    'mirror:c/debian/dists/bookworm/InRelease' c_InRelease 0 \n\
                    'mirror:a/debian/dists/bookworm/InRelease' a_InRelease 0 \n";
        assert_eq!(mirrors(uris, "bookworm"), ["mirror:a/debian", "mirror:c/debian"]);
        assert_eq!(mirrors(uris, "sid"), Vec::<&str>::new());
    }

    #[test]
    fn the_codename_may_be_quoted_or_missing() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n"), Some("noble"));
        assert_eq!(codename("ID=arch\n"), None);
    }
}
