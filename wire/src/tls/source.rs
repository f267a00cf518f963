//! Where an identity comes from: PEM files, or the PEM texts themselves, as a container's secrets bring them.

use super::ownership::require_file;
use super::{Identity, IdentityError, Role, read_private};
use std::fmt;
use std::path::{Path, PathBuf};

/// One PEM text: in a file, or given as such under the name of what gave it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// The file.
    File(PathBuf),
    /// The text, and what errors call it.
    Text {
        /// Such as `identity.key-pem`.
        name: PathBuf,
        /// May be a private key.
        text: String,
    },
}

impl Pem {
    /// What errors call it.
    pub(super) fn name(&self) -> &Path {
        match self {
            Self::File(path) | Self::Text { name: path, .. } => path,
        }
    }

    pub(super) fn read(&self) -> Result<Vec<u8>, IdentityError> {
        match self {
            Self::File(path) => {
                require_file(path)?;
                std::fs::read(path).map_err(|source| IdentityError::Read {
                    path: path.clone(),
                    source,
                })
            }
            Self::Text { text, .. } => Ok(text.clone().into_bytes()),
        }
    }

    /// As [`read`](Self::read), but a file that others can read is refused.
    pub(super) fn read_private(&self) -> Result<Vec<u8>, IdentityError> {
        match self {
            Self::File(path) => read_private(path),
            Self::Text { .. } => self.read(),
        }
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name().fmt(f)
    }
}

/// A daemon's certificate, its key, and the CA that peers are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySource {
    /// The certificate, with those between it and the CA, if there are any.
    pub certificate: Pem,
    /// Its private key.
    pub key: Pem,
    /// The private CA, or several, so that one can take over from another.
    pub ca: Pem,
    /// The end that the certificate must be for; any where this is not set.
    pub role: Option<Role>,
}

impl IdentitySource {
    /// Three files.
    pub fn files(certificate: &Path, key: &Path, ca: &Path) -> Self {
        Self {
            certificate: Pem::File(certificate.into()),
            key: Pem::File(key.into()),
            ca: Pem::File(ca.into()),
            role: None,
        }
    }

    /// Reads and checks the identity.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load(&self) -> Result<Identity, IdentityError> {
        Identity::from_source(self)
    }
}
