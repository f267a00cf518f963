//! Why an identity cannot be used, in words that say which file and what to do.

use super::{Audience, Found, Holder, Role};
use std::io;
use std::path::PathBuf;

/// Why an identity cannot be used. Each text says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read.
    #[error("cannot read {}; check the path and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds no PEM of the kind that is needed.
    #[error("{} holds no {what} in PEM form{found}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is there instead.
        found: Found,
    },
    /// Others on this machine can read the private key.
    #[error(
        "{} can be read by {audience} (mode {mode:04o}); run: chmod 600 {}, or, where a mount brings it, give it mode 0440 and this program's group there",
        path.display(),
        path.display()
    )]
    KeyReadable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Who can read it.
        audience: Audience,
    },
    /// The certificate is for the other end, or for neither.
    #[error("{} is {holder}, and {role}", path.display())]
    Role {
        /// The certificate's file.
        path: PathBuf,
        /// Whose it is.
        holder: Holder,
        /// What is needed.
        role: Role,
    },
    /// The certificate does not say what it is for, and peers refuse it.
    #[error(
        "{} does not say what it is for, and so is refused by the other end (it needs the extended key usage {usage}); use a \
         certificate that fluidity pki made",
        path.display()
    )]
    Usage {
        /// The certificate's file.
        path: PathBuf,
        /// What it should say.
        usage: &'static str,
    },
    /// Everyone on this machine can change it.
    #[error(
        "{} can be written by everyone on this machine (mode {mode:04o}), who so decide who is trusted; run: chmod go-w {}",
        path.display(),
        path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a directory, a pipe or a device.
    #[error("{} is not a file; name the PEM file itself, not a directory, pipe or device", path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// The certificate cannot be parsed.
    #[error("{} holds a certificate that cannot be understood; use the file that fluidity pki made", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// The certificate's time is over.
    #[error(
        "the certificate {} ended on {not_after}, and here it is {now}; make a new one with: fluidity pki renew (or, if \
         that is not the time, set this machine's clock)",
        path.display()
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// The last moment of its time.
        not_after: String,
        /// What the clock says.
        now: String,
    },
    /// The certificate's time has not come.
    #[error(
        "the certificate {} is valid only from {not_before}, and here it is {now}; set this machine's clock",
        path.display()
    )]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The first moment of its time.
        not_before: String,
        /// What the clock says.
        now: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key {} does not belong to the certificate {}; use the two files that were made together",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The key is of a kind that TLS cannot sign with.
    #[error("{} holds a key that TLS cannot use; make a new one with: fluidity pki renew", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the CA file is not one of a CA.
    #[error("{} holds a certificate that is not a CA's; use the ca.pem that fluidity pki init made", path.display())]
    NotCa {
        /// The file.
        path: PathBuf,
    },
}
