//! Bytes as a Go program's build information → version, module, revision.

use profiler_user::attribute::go_build::GoBuild;
use profiler_user::elf::ElfHeaders;

use crate::image::{self, Machine, Section};

pub(crate) fn run(bytes: &[u8]) {
    let parsed = GoBuild::parse(bytes);
    if let Some(build) = &parsed {
        assert!(build.version.len() <= 256 && build.version.is_ascii(), "{:?}", build.version);
        assert!(build.module.len() <= 256 && build.revision.len() <= 256 + "+dirty".len());
        let texts = [&build.version, &build.module, &build.revision];
        assert!(!texts.iter().any(|text| text.contains(char::is_control)), "{build:?}");
    }
    let section = Section { name: ".go.buildinfo", flags: 0, bytes };
    let file = image::with_sections(Machine::X86_64, &[section]);
    let headers = ElfHeaders::read(&file[..]).expect("the image is a good file");
    assert_eq!(GoBuild::read(&file[..], &headers).expect("the image has all its bytes"), parsed);
}
