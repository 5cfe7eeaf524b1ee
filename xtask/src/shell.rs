//! Runs other programs: says which, and fails with the whole command in the message.

use anyhow::{Context, Result, bail};
use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

/// Prints the command, runs it with our own output, fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    eprintln!("$ {}", spelled(command));
    let status = command.status().with_context(|| format!("start {}", spelled(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", spelled(command));
    }
    Ok(())
}

/// Runs the command without printing it and gives its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let bytes = output_bytes(command, &[])?;
    String::from_utf8(bytes).with_context(|| format!("output of {} is not UTF-8", spelled(command)))
}

/// Runs the command with `input` on its standard input and gives its standard output.
pub(crate) fn output_bytes(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {}", spelled(command)))?;
    let stdin = child.stdin.take();
    let done = thread::scope(|scope| {
        // While its output is read: it may write before it has read everything.
        scope.spawn(|| {
            // A program that does not read its input to the end is judged by its exit status.
            stdin.map(|mut stdin| stdin.write_all(input))
        });
        child.wait_with_output()
    });
    let done = done.with_context(|| format!("wait for {}", spelled(command)))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        bail!("{} ended with {}: {}", spelled(command), done.status, said.trim());
    }
    Ok(done.stdout)
}

/// SHA-256 in hex, by coreutils: a task may call programs, so the hash needs no crate.
pub(crate) fn sha256(bytes: &[u8]) -> Result<String> {
    let line = output_bytes(Command::new("sha256sum").arg("-"), bytes)?;
    let line = String::from_utf8(line).context("sha256sum wrote something else than hex")?;
    line.split_whitespace().next().map(str::to_owned).context("sha256sum wrote nothing")
}

/// Where `PATH` has a program.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The command as a person would type it; only for messages.
fn spelled(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_the_standard_says() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(b"abc").unwrap(), abc);
    }

    #[test]
    fn a_program_may_answer_before_it_has_read_everything() {
        let much = vec![b'x'; 4 << 20];
        assert_eq!(output_bytes(&mut Command::new("cat"), &much).unwrap(), much);
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(Command::new("ls").arg("/nonexistent/folder")).unwrap_err().to_string();
        assert!(error.starts_with("ls /nonexistent/folder ended with exit status: 2: "), "{error}");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program")).unwrap_err().to_string();
        assert_eq!(error, "start no-such-program");
    }

    #[test]
    fn finds_what_path_has_and_nothing_else() {
        assert!(find_program("sh").is_some());
        assert_eq!(find_program("no-such-program"), None);
    }
}
