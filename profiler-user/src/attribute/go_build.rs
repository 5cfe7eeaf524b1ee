//! The build information in a Go program → which Go made it, whether with a profile (PGO), of which revision.
//!
//! ```text
//!   0   14        15     16 …   32
//!   ├───┴─────────┼──────┼──────┼────────┬─────────┬────────┬────────────────────────────────┐
//!   │ magic, size │flags │  0   │ length │ version │ length │ 16 bytes, lines, 16 bytes      │
//!   └─────────────┴──────┴──────┴────────┴─────────┴────────┴────────────────────────────────┘
//!                  2: the texts follow     "go1.26.1"         "mod\texample.com/shop\tv1.2…\nbuild\t-pgo=default.pgo\n…"
//! ```
//!
//! The form since Go 1.18; of older programs, which have pointers there, only that they are Go's. The linker writes it
//! also into stripped programs. Pure but for the reads that it is handed; any bytes give an answer.

use crate::elf::sections::Sections;
use crate::elf::{ElfError, ElfHeaders, ReadAt, read_up_to};

/// What a Go program says of its build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GoBuild {
    /// Such as `go1.26.1`; empty before Go 1.18.
    pub version: String,
    /// Path of the main module; empty if it was built outside of one.
    pub module: String,
    /// Whether the compiler was given a profile.
    pub is_pgo: bool,
    /// The version control system's name of the revision, with `+dirty` behind it if files were changed; empty if not told.
    pub revision: String,
}

const MAGIC: &[u8] = b"\xff Go buildinf:";
const HEADER_BYTES: usize = 32;
/// In the byte behind magic and pointer size: the texts follow the header.
const TEXTS_FOLLOW: u8 = 2;
/// A line for each module that was linked: programs with a thousand take some 100 KiB.
const BYTES_MAX: usize = 512 << 10;
/// `devel go1.27-0123abcd Mon Nov 2 …` and experiments come behind; longer is no version.
const VERSION_BYTES_MAX: usize = 256;
/// Paths and revisions that are longer are cut: they become labels.
const TEXT_BYTES_MAX: usize = 256;
/// Where there are no sections it lies at the start of the data, behind little else.
const SEARCHED_BYTES_MAX: usize = 256 << 10;
/// The linker aligns it to that.
const ALIGNMENT: usize = 16;
/// Segments that are searched; Go's linker makes one of data.
const SEGMENTS_MAX: usize = 4;

impl GoBuild {
    /// Finds and reads it; `None` in what is no Go program.
    pub fn read(source: &(impl ReadAt + ?Sized), headers: &ElfHeaders) -> Result<Option<Self>, ElfError> {
        let sections = Sections::read(source, headers)?;
        Self::read_with(source, headers, &sections)
    }

    /// The same for a caller that has read the sections.
    pub(super) fn read_with(
        source: &(impl ReadAt + ?Sized),
        headers: &ElfHeaders,
        sections: &Sections,
    ) -> Result<Option<Self>, ElfError> {
        if let Some(section) = sections.named(b".go.buildinfo") {
            let bytes = usize::try_from(section.bytes).unwrap_or(usize::MAX).min(BYTES_MAX);
            return Ok(Self::parse(&read_up_to(source, section.at, bytes)?));
        }
        if !sections.is_empty() {
            return Ok(None);
        }
        let data = headers.segments().iter().rev().filter(|segment| !segment.executable);
        for segment in data.take(SEGMENTS_MAX) {
            let bytes = usize::try_from(segment.file_bytes).unwrap_or(usize::MAX).min(SEARCHED_BYTES_MAX);
            let start = read_up_to(source, segment.file_offset.0, bytes)?;
            let mut places = start.chunks(ALIGNMENT);
            if let Some(place) = places.position(|place| place.starts_with(MAGIC)) {
                let into = u64::try_from(place * ALIGNMENT).unwrap_or(0);
                let at = segment.file_offset.0.saturating_add(into);
                return Ok(Self::parse(&read_up_to(source, at, BYTES_MAX)?));
            }
        }
        Ok(None)
    }

    /// Reads bytes that begin with the magic; `None` if they do not.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES).filter(|header| header.starts_with(MAGIC))?;
        if header.get(15).is_none_or(|flags| flags & TEXTS_FOLLOW == 0) {
            return Some(Self::default());
        }
        let mut rest = bytes.get(HEADER_BYTES..)?;
        let version = text(&mut rest).unwrap_or_default();
        let modules = text(&mut rest).unwrap_or_default();
        let mut build = Self { version: plain_version(version).unwrap_or_default(), ..Self::default() };
        build.read_lines(modules);
        Some(build)
    }

    fn read_lines(&mut self, modules: &[u8]) {
        // Markers of 16 bytes, by which the text is found in a running program too.
        let lines = modules.get(16..modules.len().saturating_sub(16)).unwrap_or_default();
        let mut is_dirty = false;
        for line in lines.split(|&byte| byte == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            match line.split_once('\t') {
                Some(("mod", module)) => {
                    self.module = cut(module.split('\t').next().unwrap_or_default());
                }
                Some(("build", setting)) => match setting.split_once('=') {
                    Some(("-pgo", profile)) => self.is_pgo = !matches!(profile, "" | "off"),
                    Some(("vcs.revision", revision)) => self.revision = cut(revision),
                    Some(("vcs.modified", "true")) => is_dirty = true,
                    _ => {}
                },
                _ => {}
            }
        }
        if is_dirty && !self.revision.is_empty() {
            self.revision.push_str("+dirty");
        }
    }
}

/// A length in Go's variable form and so many bytes; `None` if they are not all there.
fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut length = 0_usize;
    for shift in (0..28).step_by(7) {
        let (&byte, behind) = rest.split_first()?;
        *rest = behind;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let (text, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            return Some(text);
        }
    }
    None // 256 MiB and more
}

/// `go1.26.1`, or `devel go1.27-0123abcd`, without the experiments and the date that may follow.
fn plain_version(version: &[u8]) -> Option<String> {
    let version = std::str::from_utf8(version.get(..VERSION_BYTES_MAX).unwrap_or(version)).ok()?;
    let words = if version.starts_with("devel ") { 2 } else { 1 };
    let version: Vec<&str> = version.split_ascii_whitespace().take(words).collect();
    let is_plain = |word: &&str| word.bytes().all(|byte| byte.is_ascii_graphic());
    version.iter().all(is_plain).then(|| version.join(" "))
}

/// Printable, and no longer than a label should be.
fn cut(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text);
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::fixture::Fixture;
    use std::process::Command;

    fn blob(version: &str, lines: &str) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        blob.extend([8, TEXTS_FOLLOW]);
        blob.resize(HEADER_BYTES, 0);
        let marked = format!("0123456789abcdef{lines}0123456789abcdef");
        for text in [version, &marked] {
            let mut length = text.len();
            while length > 0x7f {
                blob.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
                length >>= 7;
            }
            blob.push(u8::try_from(length).unwrap());
            blob.extend(text.bytes());
        }
        blob
    }

    fn shown(bytes: &[u8]) -> String {
        GoBuild::parse(bytes).map_or("no Go".to_owned(), |build| {
            let GoBuild { version, module, is_pgo, revision } = build;
            format!("{version}|{module}|{is_pgo}|{revision}")
        })
    }

    #[test]
    fn version_module_profile_and_revision_are_read() {
        let lines = "path\texample.com/shop/cmd/web\nmod\texample.com/shop\tv1.2.3\th1:x=\ndep\ta.b/c\tv1\t\n\
                     build\t-compiler=gc\nbuild\t-pgo=/src/default.pgo\nbuild\tvcs=git\nbuild\tvcs.revision=0123abcd\n";
        assert_eq!(shown(&blob("go1.26.1", lines)), "go1.26.1|example.com/shop|true|0123abcd");
        let dirty = format!("{lines}build\tvcs.modified=true\nbuild\t-pgo=off\n");
        assert_eq!(shown(&blob("go1.26.1", &dirty)), "go1.26.1|example.com/shop|false|0123abcd+dirty");
        assert_eq!(shown(&blob("go1.22.1 X:boringcrypto", "")), "go1.22.1||false|");
        assert_eq!(shown(&blob("devel go1.27-12ab Mon Nov 2", "")), "devel go1.27-12ab||false|");
        let many = "dep\ta.b/c\tv1\th1:xxxxxxxxxxxxxxxx=\n".repeat(1000) + "build\tvcs.revision=r\n";
        assert_eq!(shown(&blob("go1.26.1", &many)), "go1.26.1||false|r");
    }

    #[test]
    fn odd_bytes_give_an_answer() {
        assert_eq!(shown(b""), "no Go");
        assert_eq!(shown(&[0; 64]), "no Go");
        let good = blob("go1.26.1", "mod\tm\tv1\n");
        let mut pointers = good.clone();
        pointers[15] = 0;
        assert_eq!(shown(&pointers), "|||".replace("||", "||false"), "before Go 1.18");
        for end in HEADER_BYTES..good.len() {
            assert!(shown(&good[..end]).starts_with(['g', '|']), "cut at {end}");
        }
        let endless = [&good[..HEADER_BYTES], &[0xff; 40]].concat();
        assert_eq!(shown(&endless), "||false|");
        assert_eq!(shown(&blob("\u{1b}[31m", "mod\ta\u{7}b\tv\n")), "|ab|false|");
        assert_eq!(
            GoBuild::parse(&blob("go1", &format!("mod\t{}\n", "é".repeat(999)))).unwrap().module.len(),
            256
        );
    }

    /// Builds a module with Go itself, in a repository of its own.
    fn built(flags: &[&str], prepare: impl Fn(&std::path::Path)) -> Option<std::fs::File> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("go.mod", "module example.com/shop\n\ngo 1.21\n");
        write("main.go", "package main\n\nfunc main() { println(1) }\n");
        prepare(folder.path());
        let go = ["go", "/usr/local/go/bin/go"]
            .into_iter()
            .find(|go| Command::new(go).arg("version").output().is_ok());
        let Some(go) = go else {
            println!("skipped: no go");
            return None;
        };
        let mut build = Command::new(go);
        build.current_dir(folder.path()).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-trimpath");
        let output = build.args(["build", "-o", "program"]).args(flags).arg(".").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(std::fs::File::open(folder.path().join("program")).unwrap())
    }

    fn read(file: &std::fs::File) -> GoBuild {
        GoBuild::read(file, &ElfHeaders::read(file).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn a_real_program_says_as_much_as_go_version_does() {
        let Some(plain) = built(&["-ldflags=-s -w"], |_| ()) else { return };
        let found = read(&plain);
        assert!(found.version.starts_with("go1.") || found.version.starts_with("devel "), "{found:?}");
        assert_eq!((&*found.module, found.is_pgo, &*found.revision), ("example.com/shop", false, ""));
    }

    #[test]
    fn a_program_built_with_a_profile_in_a_repository_says_so() {
        let in_repository = |folder: &std::path::Path| {
            let own = "user.name=t";
            let steps = [
                vec!["init", "-q"],
                vec!["add", "."],
                vec!["-c", own, "-c", "user.email=t@example.com", "commit", "-q", "-m", "first"],
            ];
            for step in steps {
                assert!(Command::new("git").current_dir(folder).args(step).status().unwrap().success());
            }
            // An empty profile is one: nothing was hot.
            let pprof: [u8; 6] = [0x0a, 0x04, 0x08, 0x01, 0x10, 0x02];
            let strings = [b"\x32\0".as_slice(), b"\x32\x03cpu", b"\x32\x0bnanoseconds"].concat();
            std::fs::write(folder.join("default.pgo"), [&pprof[..], &strings].concat()).unwrap();
        };
        if Command::new("git").arg("--version").output().is_err() {
            println!("skipped: no git");
            return;
        }
        let Some(file) = built(&["-buildvcs=true", "-pgo=default.pgo"], in_repository) else { return };
        let found = read(&file);
        assert!(found.is_pgo, "{found:?}");
        let revision = found.revision.strip_suffix("+dirty").expect("the profile is not in the repository");
        assert!(revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit()), "{found:?}");
    }

    #[test]
    fn without_section_headers_it_is_found_in_the_data() {
        let Some(fixture) = Fixture::go("package main\nfunc main() {}\n", &["-ldflags=-s"]) else { return };
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut fixture.open(), &mut bytes).unwrap();
        let whole = GoBuild::read(&bytes[..], &ElfHeaders::read(&bytes[..]).unwrap()).unwrap();
        bytes[0x28..0x30].fill(0); // e_shoff
        bytes[0x3c..0x40].fill(0); // e_shnum, e_shstrndx
        let headerless = GoBuild::read(&bytes[..], &ElfHeaders::read(&bytes[..]).unwrap()).unwrap();
        assert!(headerless.as_ref().is_some_and(|build| build.version.starts_with("go1")), "{headerless:?}");
        assert_eq!(headerless, whole);
    }

    #[test]
    fn a_c_program_is_no_go() {
        let fixture = Fixture::compile("int main(void) { return 0; }\n", &[]);
        let file = fixture.open();
        assert_eq!(GoBuild::read(&file, &ElfHeaders::read(&file).unwrap()).unwrap(), None);
    }
}
