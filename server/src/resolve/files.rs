//! The system's files: looked at again while the server runs, since networks come and go (boot, DHCP, VPN).

use super::hosts::Hosts;
use super::system::SystemOptions;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where the system says how names are resolved.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The name servers; not looked at where others are configured.
    pub(super) resolv: Option<PathBuf>,
    /// The names that need none.
    pub(super) hosts: PathBuf,
}

/// How the files looked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps([Option<Stamp>; 2]);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    changed: Option<SystemTime>,
    size: u64,
    /// Another file under the same name.
    id: u64,
}

/// What the files said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Of the name servers.
    pub(super) system: Option<SystemOptions>,
    /// Of the hosts.
    pub(super) hosts: Hosts,
}

impl Files {
    /// Those of the machine.
    pub(super) fn of_system(servers_are_configured: bool) -> Self {
        Self {
            resolv: (!servers_are_configured).then(|| PathBuf::from("/etc/resolv.conf")),
            hosts: PathBuf::from("/etc/hosts"),
        }
    }

    /// How they look.
    pub(super) fn stamps(&self) -> Stamps {
        Stamps([self.resolv.as_deref().and_then(Stamp::of), Stamp::of(&self.hosts)])
    }

    /// What they say. One that is missing or cannot be read says nothing.
    pub(super) fn read(&self) -> Said {
        Said {
            system: self
                .resolv
                .as_deref()
                .map(|path| SystemOptions::parse(&text(path))),
            hosts: Hosts::parse(&text(&self.hosts)),
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        #[cfg(unix)]
        let id = std::os::unix::fs::MetadataExt::ino(&found);
        #[cfg(not(unix))]
        let id = 0;
        Some(Self {
            changed: found.modified().ok(),
            size: found.len(),
            id,
        })
    }
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is read.
    let _ = File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Hosts files with lists of unwanted sites are large.
const LARGEST_FILE: u64 = 16 << 20;
