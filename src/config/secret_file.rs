//! Files that hold secrets.

use std::{
    fs::{self, File, Metadata},
    io,
    path::Path,
};

use crate::log::warn;

/// Opens a regular file.
///
/// # Errors
///
/// When it cannot be opened, or is something else: opening a named pipe would wait for a writer.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        File::open(path)
    } else {
        Err(io::Error::other("it is not a regular file"))
    }
}

/// Warns if others on this machine can read or change a file that holds a secret.
pub(crate) fn warn_if_too_open(path: &Path) {
    // What cannot be read is told by who reads it.
    if let Some(mode) = fs::metadata(path).ok().as_ref().and_then(too_open) {
        let path = path.display();
        warn!(
            file = %path,
            "the file [{path}] holds a secret, and others on this machine can read or change it \
             (mode {mode:o}); run `chmod 600` on it"
        );
    }
}

/// Returns the mode of a file that all users may read, or others than its owner may write. That its
/// group may read it is how Kubernetes gives it to a process that is not root.
#[cfg(unix)]
fn too_open(metadata: &Metadata) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o026 != 0).then_some(mode)
}

#[cfg(not(unix))]
const fn too_open(_: &Metadata) -> Option<u32> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::{env, fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn file_is_too_open_when_all_can_read_or_others_can_write_it() {
        let file = env::temp_dir().join(format!("too-open-{}", std::process::id()));
        fs::write(&file, "x").expect("a writable directory");
        let of = |mode| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).expect("it is ours");
            too_open(&fs::metadata(&file).expect("just written"))
        };
        for mode in [0o666, 0o644, 0o604, 0o602, 0o620, 0o660] {
            assert_eq!(of(mode), Some(mode), "{mode:o}");
        }
        for mode in [0o600, 0o400, 0o440, 0o640] {
            assert_eq!(of(mode), None, "{mode:o}");
        }
        fs::remove_file(&file).expect("just written");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let folder = env::temp_dir();
        for path in [Path::new("/dev/zero"), &folder] {
            let error = open_regular(path).expect_err("no file");
            assert!(error.to_string().contains("regular file"), "{error}");
        }
    }
}
