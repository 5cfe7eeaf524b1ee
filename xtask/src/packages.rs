//! Programs that the tests need → the distribution's packages, installed only when missing.
//!
//! With apt-get and the right to use it (root, or sudo) they are installed and named; anywhere else they are
//! only named, and the tests that need them say that they were skipped.

use crate::shell;
use crate::workspace::Workspace;
use anyhow::Result;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Something that tests and tasks need of the machine.
pub(crate) struct Need {
    pub(crate) package: &'static str,
    /// A program that the package brings, from wherever the machine has it; none: ask dpkg.
    pub(crate) program: Option<&'static str>,
    pub(crate) why: &'static str,
}

const NEEDS: [Need; 25] = [
    Need { package: "gcc", program: Some("gcc"), why: "workloads in C" },
    Need { package: "g++", program: Some("g++"), why: "workloads in C++" },
    Need { package: "binutils", program: Some("objcopy"), why: "stripped workloads and debug links" },
    Need { package: "libc6-dbg", program: None, why: "names inside libc by its build id" },
    Need { package: "linux-perf", program: Some("perf"), why: "a second opinion on the same load" },
    Need {
        package: "golang",
        program: Some("go"),
        why: "`go tool pprof` reads our profiles; workloads in Go",
    },
    Need { package: "nodejs", program: Some("node"), why: "a JIT with a perf map" },
    Need { package: "python3", program: Some("python3"), why: "an interpreter without frame pointers" },
    Need { package: "perl", program: Some("perl"), why: "another interpreter" },
    Need { package: "ruby", program: Some("ruby"), why: "another interpreter" },
    Need { package: "php-cli", program: Some("php"), why: "another interpreter, a static one" },
    Need {
        package: "gcc-aarch64-linux-gnu",
        program: Some("aarch64-linux-gnu-gcc"),
        why: "stacks of arm64: programs",
    },
    Need { package: "libc6-dev-arm64-cross", program: None, why: "stacks of arm64: their C library" },
    Need {
        package: "qemu-user",
        program: Some("qemu-aarch64"),
        why: "stacks of arm64: recorded under emulation",
    },
    Need {
        package: "runc",
        program: Some("runc"),
        why: "containers: with the paths of pods, with the rights that the chart gives",
    },
    Need {
        package: "podman",
        program: Some("podman"),
        why: "containers: Podman's, and its API like Docker's",
    },
    // Not where Docker's own package has it: Debian's would replace that.
    Need {
        package: "containerd",
        program: Some("ctr"),
        why: "containers: containerd's, with annotations of CRI",
    },
    Need { package: "default-jdk-headless", program: Some("javac"), why: "a virtual machine" },
    Need { package: "mmdebstrap", program: Some("mmdebstrap"), why: "a Debian to install into" },
    Need {
        package: "strace",
        program: Some("strace"),
        why: "the system calls that a filter has to let through",
    },
    Need { package: "rpm", program: Some("rpm"), why: "packages of the other kind are read and installed" },
    Need { package: "mandoc", program: Some("mandoc"), why: "man pages are judged" },
    Need { package: "zsh", program: Some("zsh"), why: "its completions are read" },
    Need { package: "fish", program: Some("fish"), why: "its completions are asked" },
    Need { package: "systemd", program: Some("systemd-analyze"), why: "the service's unit is verified" },
];

/// Installs what the tests miss, or says why it cannot.
pub(crate) fn install_missing(workspace: &Workspace) -> Result<()> {
    install(workspace, &NEEDS)
}

/// Installs what is missing of these, or says why it cannot.
pub(crate) fn install(workspace: &Workspace, needs: &[Need]) -> Result<()> {
    let has_apt = shell::find_program("apt-get").is_some();
    let missing: Vec<&Need> = needs.iter().filter(|need| is_missing(need, has_apt)).collect();
    if missing.is_empty() {
        println!("packages: nothing is missing");
        return Ok(());
    }
    println!("packages: {}", table(&missing));
    let Some(rights) = rights() else {
        println!("packages: neither root nor sudo, so nothing is installed; what needs them is left out");
        return Ok(());
    };
    if !has_apt {
        println!("packages: no apt-get here; install them by hand, or what needs them is left out");
        return Ok(());
    }
    let apt = |words: &[&str]| {
        let mut command = workspace.command(rights[0]);
        shell::run(
            command
                .args(&rights[1..])
                .args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"])
                .args(words),
        )
    };
    if let Err(error) = apt(&["update"]) {
        println!("packages: {error:#}");
    }
    // One at a time: a name that this release does not have must not keep the others away.
    for need in missing {
        if let Err(error) = apt(&["install", "--yes", "--no-install-recommends", need.package]) {
            println!("packages: {} stays missing: {error:#}", need.package);
        }
    }
    Ok(())
}

fn is_missing(need: &Need, has_apt: bool) -> bool {
    match need.program {
        Some(program) => shell::find_program(program).is_none(),
        None if has_apt => {
            let query = ["--show", "--showformat=${db:Status-Status}", need.package];
            shell::output(Command::new("dpkg-query").args(query)).map_or(true, |status| status != "installed")
        }
        // Elsewhere the package has another name, and nothing that could be asked for it.
        None => false,
    }
}

/// The words before `VARIABLE=value apt-get`, if this user may install at all.
fn rights() -> Option<&'static [&'static str]> {
    if is_root() { Some(&["env"]) } else { shell::find_program("sudo").map(|_| ["sudo", "env"].as_slice()) }
}

/// Whether this process runs as root: its own entry in /proc belongs to its effective user.
pub(crate) fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn table(needs: &[&Need]) -> String {
    let mut text = "missing".to_owned();
    for need in needs {
        text += &format!("\n  {:<22} {}", need.package, need.why);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_path_has_is_not_missing_whatever_package_it_came_from() {
        let need = Need { package: "no-such-package", program: Some("sh"), why: "" };
        assert!(!is_missing(&need, true));
        assert!(is_missing(&Need { program: Some("no-such-program"), ..need }, true));
    }

    #[test]
    fn the_list_of_missing_packages_says_what_for() {
        let needs: Vec<&Need> = NEEDS.iter().filter(|need| need.package.starts_with('g')).collect();
        let table = table(&needs);
        expect_test::expect![[r#"
            missing
              gcc                    workloads in C
              g++                    workloads in C++
              golang                 `go tool pprof` reads our profiles; workloads in Go
              gcc-aarch64-linux-gnu  stacks of arm64: programs"#]]
        .assert_eq(&table);
    }
}
