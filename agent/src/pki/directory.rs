//! The directory of the CA: its files, and how they come to be.
//!
//! Invariants: a file appears whole or not at all; a private key is mode 0600 from its first byte; what is there is
//! replaced only on demand. A pair is two files and cannot be replaced in one step: a daemon that starts in between
//! finds a key that does not fit and refuses it, and renewing again mends a pair that was left so.

use super::PkiError;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The stem of the CA's own files.
pub(super) const CA: &str = "ca";

/// Where a CA lives.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

/// What happens to a file that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existing {
    Kept,
    Replaced,
}

impl Existing {
    /// As the `--force` flag says.
    pub(super) fn replaced_if(force: bool) -> Self {
        if force { Self::Replaced } else { Self::Kept }
    }
}

/// A certificate and its private key, in PEM form. Not `Debug`: the key is a secret.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn certificate(&self, stem: &str) -> PathBuf {
        self.0.join(format!("{stem}.pem"))
    }

    pub(super) fn key(&self, stem: &str) -> PathBuf {
        self.0.join(format!("{stem}.key"))
    }

    /// The flag that names this directory, for a command that is suggested; nothing where it is the default.
    pub(super) fn flag(&self) -> String {
        if self.0 == Path::new("pki") {
            String::new()
        } else {
            format!(" --dir {}", self.0.display())
        }
    }

    /// Whether anything is at `path`, be it a dangling link.
    pub(super) fn has(&self, path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    /// Makes the directory, closed to others; one that is there stays as it is.
    pub(super) fn create(&self) -> Result<(), PkiError> {
        let wrong = |source| PkiError::Write {
            path: self.0.clone(),
            source,
        };
        if let Some(parent) = self.0.parent() {
            fs::create_dir_all(parent).map_err(wrong)?;
        }
        match private_directory().create(&self.0) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && self.0.is_dir() => Ok(()),
            made => made.map_err(wrong),
        }
    }

    /// The stems of all certificates, the CA's first.
    pub(super) fn stems(&self) -> Result<Vec<String>, PkiError> {
        let wrong = |source| PkiError::Read {
            path: self.0.clone(),
            source,
        };
        let mut stems = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            // What is not UTF-8, or is hidden, is not ours.
            if let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".pem"))
                && !stem.starts_with('.')
            {
                stems.push(stem.to_owned());
            }
        }
        stems.sort_by_key(|stem| (stem != CA, stem.clone()));
        Ok(stems)
    }

    /// Writes a pair: both files to neighbours first, which then take the names.
    pub(super) fn write(&self, stem: &str, pair: &Pair, existing: Existing) -> Result<(), PkiError> {
        let (certificate, key) = (self.certificate(stem), self.key(stem));
        if existing == Existing::Kept
            && let Some(path) = [&key, &certificate].into_iter().find(|path| self.has(path))
        {
            return Err(PkiError::Exists { path: path.clone() });
        }
        let key = Draft::write(key, &pair.key, Audience::Owner)?;
        let certificate = Draft::write(certificate, &pair.certificate, Audience::Everyone)?;
        key.publish(existing)?;
        certificate.publish(existing)
    }
}

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Owner,
    Everyone,
}

/// A file that is written, but does not have its name yet. It is removed when dropped.
pub(super) struct Draft {
    path: PathBuf,
    target: PathBuf,
}

impl Draft {
    pub(super) fn write(target: PathBuf, text: &str, audience: Audience) -> Result<Self, PkiError> {
        let mut path = target.clone();
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        path.set_file_name(format!(".{name}.{:016x}.tmp", rand::random::<u64>()));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        if audience == Audience::Owner {
            close_to_others(&mut options);
        }
        let wrong = |source| PkiError::Write {
            path: target.clone(),
            source,
        };
        let mut file = options.open(&path).map_err(wrong)?;
        // From here on the file is there, and is removed whatever happens.
        let draft = Self {
            path,
            target: target.clone(),
        };
        if audience == Audience::Everyone {
            open_to_readers(&file).map_err(wrong)?;
        }
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(wrong)?;
        Ok(draft)
    }

    pub(super) fn publish(self, existing: Existing) -> Result<(), PkiError> {
        let published = match existing {
            Existing::Replaced => fs::rename(&self.path, &self.target),
            // Unlike a rename, a link never takes the place of a file that has come meanwhile.
            Existing::Kept => match fs::hard_link(&self.path, &self.target) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => self.rename_unless_there(),
                linked => linked,
            },
        };
        published.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => PkiError::Exists {
                path: self.target.clone(),
            },
            _ => PkiError::Write {
                path: self.target.clone(),
                source,
            },
        })
    }

    /// For file systems without hard links.
    fn rename_unless_there(&self) -> io::Result<()> {
        if self.target.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.path, &self.target)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After a rename there is nothing left to remove.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(unix)]
fn private_directory() -> fs::DirBuilder {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

#[cfg(unix)]
fn close_to_others(options: &mut OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

/// Whatever the umask says: others read it, and nobody but the owner writes it, who so decides who is trusted.
#[cfg(unix)]
fn open_to_readers(file: &fs::File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn open_to_readers(_: &fs::File) -> io::Result<()> {
    Ok(())
}

/// Elsewhere the access list of the directory above decides.
#[cfg(not(unix))]
fn private_directory() -> fs::DirBuilder {
    fs::DirBuilder::new()
}

#[cfg(not(unix))]
fn close_to_others(_: &mut OpenOptions) {}
