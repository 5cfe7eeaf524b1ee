//! Real programs, compiled here and stripped, and processes of the interpreters that this machine has.

use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::elf::fixture::Fixture;

fn evidence(fixture: &Fixture) -> Evidence {
    let file = fixture.open();
    let bytes = file.metadata().unwrap().len();
    executable::Search::new().evidence(&file, bytes)
}

const C: &str = "#include <stdio.h>\nint main(void) { puts(\"St is no class\"); return 0; }\n";
const CPP: &str = "#include <iostream>\n#include <vector>\n\
                   int main(int c, char **) { std::vector<int> v(c); try { v.at(c); } catch (std::exception &e) { std::cout << e.what(); } }\n";

#[test]
fn compiled_programs_show_their_language_also_stripped() {
    let c = Fixture::compile(C, &["-O2"]);
    assert_eq!(evidence(&c), Evidence::Stub);
    c.run("strip", &["program"]);
    assert_eq!(evidence(&c), Evidence::Stub);
    let static_c = Fixture::compile(C, &["-O2", "-static"]);
    assert_eq!(evidence(&static_c), Evidence::None);
    for flags in [&["-O2"][..], &["-O2", "-static"], &["-O2", "-static-libstdc++", "-static-libgcc"]] {
        let cpp = Fixture::compile_cpp(CPP, flags);
        assert_eq!(evidence(&cpp), Evidence::Cpp, "{flags:?}");
        cpp.run("strip", &["program"]);
        assert_eq!(evidence(&cpp), Evidence::Cpp, "{flags:?}, stripped");
    }
    if let Some(go) = Fixture::go("package main\nfunc main() {}\n", &["-ldflags=-s -w"]) {
        assert!(matches!(evidence(&go), Evidence::Go(build) if build.version.starts_with("go1")));
    }
}

#[test]
fn rust_shows_in_the_comment_and_among_the_constants() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("r.rs"), "fn main() { println!(\"{:?}\", std::env::args()); }\n")
        .unwrap();
    let mut rustc = Command::new("rustc");
    let built =
        rustc.current_dir(folder.path()).args(["-O", "-Cstrip=symbols", "r.rs", "-o", "program"]).status();
    if !built.is_ok_and(|status| status.success()) {
        println!("skipped: no rustc");
        return;
    }
    let of = |name: &str| {
        let file = std::fs::File::open(folder.path().join(name)).unwrap();
        executable::Search::new().evidence(&file, file.metadata().unwrap().len())
    };
    assert_eq!(of("program"), Evidence::Rust);
    let strip = ["--remove-section", ".comment", "program", "without"];
    assert!(Command::new("objcopy").current_dir(folder.path()).args(strip).status().unwrap().success());
    assert_eq!(of("without"), Evidence::Rust, "by the paths in its messages");
}

#[test]
fn any_bytes_show_nothing() {
    let search = executable::Search::new();
    assert!(search.searches_constants());
    for bytes in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0xff; 4096]] {
        assert_eq!(search.evidence(bytes, 100), Evidence::None);
    }
}

#[test]
fn names_of_interpreters_may_have_a_version() {
    let cases = [
        ("python3.13", Some(Language::Python)),
        ("python", Some(Language::Python)),
        ("pythonista", None),
        ("pypy3", Some(Language::Python)),
        ("php-fpm8.2", Some(Language::Php)),
        ("php8.2", Some(Language::Php)),
        ("perl5.36-x86_64-linux-gnu", Some(Language::Perl)),
        ("node", Some(Language::Node)),
        ("node_exporter", None),
        ("node-20", Some(Language::Node)),
        ("java", Some(Language::Java)),
        ("javac", None),
        ("ruby3.1", Some(Language::Ruby)),
        ("", None),
    ];
    for (name, expected) in cases {
        assert_eq!(by_executable_name(name), expected, "{name}");
    }
}

#[test]
fn libraries_tell_who_is_inside() {
    let interpreter = |paths: &[&str]| Libraries::of(paths.iter().map(OsStr::new)).interpreter;
    assert_eq!(interpreter(&["/usr/sbin/uwsgi", "/usr/lib/libpython3.11.so.1.0"]), Some(Language::Python));
    assert_eq!(interpreter(&["/opt/jdk/lib/server/libjvm.so"]), Some(Language::Java));
    assert_eq!(interpreter(&["/usr/lib/apache2/modules/libphp8.2.so"]), Some(Language::Php));
    assert_eq!(interpreter(&["/usr/lib/libruby-3.1.so.3.1"]), Some(Language::Ruby));
    assert_eq!(interpreter(&["/usr/lib/libperl.so.5.36", "libc.so.6"]), Some(Language::Perl));
    assert_eq!(interpreter(&["/usr/lib/libnode.so.108 (deleted)"]), Some(Language::Node));
    assert_eq!(interpreter(&["/usr/lib/libc.so.6", "/x/libpyton.so", "[vdso]", ""]), None);
    let odd = [OsStr::from_bytes(b"/\xff/libjvm.so")];
    assert_eq!(Libraries::of(odd).interpreter, Some(Language::Java));
    assert!(Libraries::of([OsStr::new("/usr/lib/libstdc++.so.6.0.30")]).has_cpp);
}

/// A process that says a line when it runs its language, and then waits for its stdin to close.
struct Waiting(Child);

impl Waiting {
    fn start(words: &[&str]) -> Option<Self> {
        let mut command = Command::new(words.first()?);
        let child = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else {
            println!("skipped: no {}", words[0]);
            return None;
        };
        let mut line = String::new();
        std::io::BufReader::new(child.stdout.as_mut()?).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready", "{words:?}");
        Some(Self(child))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The language of a running process, by what its own `/proc` entries say.
fn language_of(pid: u32) -> Option<Language> {
    let proc = ProcFs::host();
    let scanned = crate::process::scan::scan(&proc, crate::collect::Tgid(pid)).unwrap();
    let maps = std::fs::read(proc.process_path(pid, "maps")).unwrap();
    let entries: Vec<_> = crate::process::maps::executable_mappings(&maps).collect();
    let mapped = entries.iter().map(|entry| entry.path.as_os_str());
    LanguageDetector::new().detect(&proc, pid, &scanned.executable_name, mapped).language
}

#[test]
fn running_interpreters_are_told_by_what_they_are() {
    let scripts: [(&[&str], Language); 5] = [
        (&["python3", "-c", "import sys; print('ready', flush=True); sys.stdin.read()"], Language::Python),
        (&["perl", "-e", "$| = 1; print \"ready\\n\"; <STDIN>;"], Language::Perl),
        (&["ruby", "-e", "$stdout.sync = true; puts 'ready'; STDIN.read"], Language::Ruby),
        (&["php", "-r", "echo \"ready\\n\"; fgets(STDIN);"], Language::Php),
        (&["node", "-e", "console.log('ready'); process.stdin.resume()"], Language::Node),
    ];
    for (words, expected) in scripts {
        if let Some(waiting) = Waiting::start(words) {
            assert_eq!(language_of(waiting.0.id()), Some(expected), "{words:?}");
        }
    }
    assert_eq!(language_of(std::process::id()), Some(Language::Rust), "this test");
}

#[test]
fn a_file_is_read_once_and_a_process_that_is_gone_is_unknown() {
    let mut detector = LanguageDetector::new();
    let proc = ProcFs::host();
    for _ in 0..3 {
        let found = detector.detect(&proc, std::process::id(), "test", []);
        assert_eq!(found.language, Some(Language::Rust));
    }
    assert_eq!(detector.files.len(), 1);
    assert_eq!(detector.detect(&proc, u32::MAX, "gone", []), Detected::default());
    // Its name alone tells what an interpreter is.
    assert_eq!(detector.detect(&proc, u32::MAX, "python3", []).language, Some(Language::Python));
}
