//! Who else could change an identity's files: a CA that others can write is anybody's CA.
//!
//! What hands the trust to everyone is refused; what hands it to a group, to another user or to who may write the
//! directory is told, with what mends it: machines with such rights work today, and some mean it. Where files have no such
//! modes nothing is checked.

use super::{IdentityError, IdentitySource, Pem};
use std::path::Path;

/// Refuses what is no file: a pipe would keep the daemon waiting, and cannot be read a second time.
pub(super) fn require_file(path: &Path) -> Result<(), IdentityError> {
    let metadata = std::fs::metadata(path).map_err(|source| IdentityError::Read {
        path: path.into(),
        source,
    })?;
    match metadata.is_file() {
        true => Ok(()),
        false => Err(IdentityError::NotAFile { path: path.into() }),
    }
}

/// Looks who could change the CA, and says so.
pub(super) fn check(source: &IdentitySource) -> Result<(), IdentityError> {
    for pem in [&source.certificate, &source.key, &source.ca] {
        if let Pem::File(path) = pem {
            require_file(path)?;
        }
    }
    match &source.ca {
        Pem::File(path) => check_file(path),
        Pem::Text { .. } => Ok(()),
    }
}

#[cfg(not(unix))]
const fn check_file(_: &Path) -> Result<(), IdentityError> {
    Ok(())
}

/// Whoever can change it decides who is trusted. Who may read or write a key is looked at where it is read.
#[cfg(unix)]
fn check_file(path: &Path) -> Result<(), IdentityError> {
    use std::os::unix::fs::MetadataExt;
    use tracing::warn;
    let Ok(file) = path.metadata() else { return Ok(()) };
    let mode = file.mode() & 0o7777;
    if mode & 0o002 != 0 {
        return Err(IdentityError::Writable {
            path: path.into(),
            mode,
        });
    }
    let shown = path.display();
    if mode & 0o020 != 0 {
        warn!(
            "{shown} can be written by its group (mode {mode:04o}), which so decides who is trusted; run: chmod g-w {shown}"
        );
    }
    let (owner, own) = (file.uid(), rustix::process::geteuid().as_raw());
    if ![own, ROOT, NOBODY].contains(&owner) {
        warn!(
            "{shown} belongs to user {owner}, who so decides who is trusted, and not to user {own}, as whom this runs; \
             run: chown {own} {shown}"
        );
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    if let Ok(found) = directory.metadata()
        && found.mode() & (OTHERS_WRITE | STICKY) == OTHERS_WRITE
    {
        let (shown, mode) = (directory.display(), found.mode() & 0o7777);
        warn!("everyone can replace the files in {shown} (mode {mode:04o}); run: chmod o-w {shown}");
    }
    Ok(())
}

#[cfg(unix)]
const ROOT: u32 = 0;
/// Whom files belong to whose owner does not exist in this container.
#[cfg(unix)]
const NOBODY: u32 = 65_534;
#[cfg(unix)]
const OTHERS_WRITE: u32 = 0o002;
/// Only owners replace what is in it.
#[cfg(unix)]
const STICKY: u32 = 0o1000;
