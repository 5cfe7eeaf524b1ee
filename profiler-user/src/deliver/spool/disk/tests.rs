//! The real folder: its rights, its lock, and what happens when it vanishes.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn folder_in(above: &Path) -> Folder {
    Folder::new(&above.join("deep/spool"))
}

#[test]
fn the_folder_is_made_for_its_user_alone_and_files_too() {
    let above = tempfile::tempdir().unwrap();
    let folder = folder_in(above.path());
    assert!(folder.ensure().unwrap());
    assert!(!folder.ensure().unwrap());
    folder.create(".new-a", &[b"one", b"two"]).unwrap();
    folder.rename(".new-a", "a").unwrap();
    folder.sync_names().unwrap();
    let path = above.path().join("deep/spool");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join("a"))), (0o700, 0o600));
    assert_eq!(folder.list().unwrap(), [("a".to_owned(), 6)]);
    folder.write_at("a", 3, b"TW").unwrap();
    let mut buffer = [0; 10];
    assert_eq!(folder.read_at("a", 1, &mut buffer).unwrap(), 5);
    assert_eq!(&buffer[..5], b"neTWo");
    assert_eq!(folder.read_at("a", 9, &mut buffer).unwrap(), 0);
    let twice = folder.create("a", &[]).unwrap_err();
    assert_eq!(twice.kind(), io::ErrorKind::AlreadyExists);
    folder.remove("a").unwrap();
    assert_eq!(folder.remove("a").unwrap_err().kind(), io::ErrorKind::NotFound);
    let space = folder.space().unwrap();
    assert!(space.free_bytes > 0 && space.free_bytes <= space.total_bytes);
}

#[test]
fn two_do_not_share_a_folder() {
    let above = tempfile::tempdir().unwrap();
    let (first, second) = (folder_in(above.path()), folder_in(above.path()));
    first.ensure().unwrap();
    let error = second.ensure().unwrap_err();
    assert!(matches!(error, SpoolError::Busy { .. }), "{error}");
    drop(first);
    assert!(second.ensure().unwrap());
}

#[test]
fn a_folder_that_others_may_write_to_or_that_is_none_is_refused() {
    let above = tempfile::tempdir().unwrap();
    let refused = |path: &Path| match Folder::new(path).ensure() {
        Err(SpoolError::NotTrusted { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let open = above.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o770)).unwrap();
    assert_eq!(refused(&open), "others may write to it");
    assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o770, "it is left as it is");
    let file = above.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(refused(&file), "it is not a folder");
    let link = above.path().join("link");
    symlink(above.path(), &link).unwrap();
    assert_eq!(refused(&link), "it is not a folder");
    // Readable for others is the operator's business: files are not.
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
    assert!(Folder::new(&open).ensure().unwrap());
}

#[test]
fn a_folder_that_vanishes_is_made_again_and_one_that_comes_back_is_used() {
    let above = tempfile::tempdir().unwrap();
    let folder = folder_in(above.path());
    let (path, away) = (above.path().join("deep/spool"), above.path().join("away"));
    folder.ensure().unwrap();
    folder.create("a", &[b"x"]).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(folder.create("b", &[b"x"]).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(folder.ensure().unwrap());
    folder.create("c", &[b"x"]).unwrap();
    fs::rename(&path, &away).unwrap();
    assert!(folder.ensure().unwrap());
    assert_eq!(folder.list().unwrap(), []);
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    assert!(folder.ensure().unwrap());
    assert_eq!(folder.list().unwrap(), [("c".to_owned(), 1)]);
}

#[test]
fn what_is_no_regular_file_is_not_listed_and_not_followed() {
    let above = tempfile::tempdir().unwrap();
    let folder = folder_in(above.path());
    folder.ensure().unwrap();
    let path = above.path().join("deep/spool");
    fs::create_dir(path.join("folder")).unwrap();
    symlink("/etc/passwd", path.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, path.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(folder.list().unwrap(), []);
    assert!(folder.read_at("link", 0, &mut [0; 4]).is_err());
    assert!(folder.write_at("link", 0, b"x").is_err());
}
