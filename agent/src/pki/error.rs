//! Why the private CA could not do what it was told. Each text says what to do.

use super::Role;
use fluidity_wire::TargetError;
use fluidity_wire::tls::{IdentityError, PeerIdentityError};
use std::io;
use std::path::{Path, PathBuf};

/// Why a `fluidity pki` command failed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or the directory cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or the directory cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there already.
    #[error("{} exists already and was left as it is; {}", path.display(), replacing(path))]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// The directory holds no CA.
    #[error("there is no CA in {}; make one with: fluidity pki init --dir {}", directory.display(), directory.display())]
    NoAuthority {
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// The CA's certificate is there, but not its key.
    #[error("{} is missing, and without it nothing can be issued; bring it back from where it is kept", path.display())]
    NoAuthorityKey {
        /// Where it should be.
        path: PathBuf,
    },
    /// The CA's key cannot be read, or can be read by others.
    #[error(transparent)]
    Key(#[from] IdentityError),
    /// The CA's key is no ECDSA P-256 key in PEM form.
    #[error("{} holds no private key that this CA can sign with", path.display())]
    AuthorityKey {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// The CA's certificate is not a CA's.
    #[error("{} is not the certificate of a CA", path.display())]
    NotAuthority {
        /// The file.
        path: PathBuf,
    },
    /// The CA's key is another CA's.
    #[error("{} does not belong to {}; use the two files that were made together", key.display(), certificate.display())]
    AuthorityMismatch {
        /// The CA's certificate.
        certificate: PathBuf,
        /// The key that is not its.
        key: PathBuf,
    },
    /// The CA's time is over.
    #[error(
        "the CA ended on {ended}; make a new one with: fluidity pki init --force (or, if that is not past, set this machine's clock)"
    )]
    AuthorityExpired {
        /// The day.
        ended: String,
    },
    /// A file holds no certificate, or one that cannot be understood.
    #[error("{} holds no certificate that can be understood", path.display())]
    NotCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The CA's name is empty, too long, or has control characters in it.
    #[error("a CA's name is 1 to 64 characters that can be printed")]
    AuthorityName,
    /// The name is not a DNS name, or an alternative name neither a DNS name nor an address.
    #[error("{name:?} is not a name that a server can have")]
    ServerName {
        /// The name.
        name: String,
        /// Why.
        source: TargetError,
    },
    /// The server's name is an address.
    #[error("{name} is an address, but a server is known by a DNS name; addresses go into --san")]
    ServerAddress {
        /// The address.
        name: String,
    },
    /// The server's name is too long.
    #[error("{name} is longer than 64 bytes; choose a shorter name, and give this one as --san")]
    ServerNameLength {
        /// The name.
        name: String,
    },
    /// The name is not an agent's.
    #[error("{name:?} is not a name that an agent can have")]
    AgentName {
        /// The name.
        name: String,
        /// Why.
        source: PeerIdentityError,
    },
    /// There is no such certificate to renew.
    #[error("there is no {} to renew; make it with: fluidity pki issue {role} {name}", path.display())]
    NeverIssued {
        /// The certificate's file.
        path: PathBuf,
        /// For what it would be.
        role: Role,
        /// For whom it would be.
        name: String,
    },
    /// There is nothing to renew.
    #[error("no certificate in {} can be renewed; make one with: fluidity pki issue", directory.display())]
    NothingIssued {
        /// Where they were looked for.
        directory: PathBuf,
    },
    /// The certificate is another identity's than its file name says.
    #[error("{} is for {found}, not for {expected}; move it away and issue a new one", path.display())]
    OtherIdentity {
        /// The certificate's file.
        path: PathBuf,
        /// Whom it names.
        found: String,
        /// Whom its file name says.
        expected: String,
    },
    /// A key or certificate could not be made.
    #[error("cannot make the certificate")]
    Make(#[from] rcgen::Error),
    /// What was done could not be said.
    #[error("cannot write the result")]
    Output(#[source] io::Error),
}

/// What replacing a file of the CA's directory comes to.
fn replacing(path: &Path) -> &'static str {
    match path.file_name().and_then(|name| name.to_str()) {
        Some("ca.pem" | "ca.key") => {
            "--force replaces it, and then every certificate that it issued has to be issued anew"
        }
        _ => "--force replaces it, and `fluidity pki renew` gives it more time",
    }
}
