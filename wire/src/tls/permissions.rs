//! Who besides this process may read a file that holds a private key.
//!
//! The rule: nobody may, but root and those whom a mount gave the key on purpose. A file that its user could close is
//! refused as soon as its group may read it. Where the user cannot close it (a secret that systemd or Kubernetes mounts),
//! the group may be root's or one that this process is in. `others`, and a group that may write, are refused always.
//! With an access control list the mode's group bits are the list's mask, and say nothing about the group.

use std::fs::File;
use std::io;
use std::path::Path;

/// Who can read a key that nobody else should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Audience {
    /// Everybody on the machine.
    #[error("others")]
    Others,
    /// A group.
    #[error("others (the group {0})")]
    Group(u32),
    /// A user whom an access control list names.
    #[error("others (the user {0}, by an access control list)")]
    User(u32),
}

/// The permission bits of an open file, and who can read it or change it that must not; nobody where there are no such
/// modes.
#[cfg(not(unix))]
pub(super) fn audience(_: &File, _: &Path) -> io::Result<(u32, Option<Audience>)> {
    Ok((0, None))
}

/// The permission bits of an open file, and who can read it or change it that must not.
#[cfg(unix)]
pub(super) fn audience(file: &File, path: &Path) -> io::Result<(u32, Option<Audience>)> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    // The open file, not the path: what is checked is what is read.
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o7777;
    let list = match acl::read(file) {
        acl::Read::None => None,
        acl::Read::Entries(entries) => Some(entries),
        // What cannot be understood may let anybody in.
        acl::Read::Unreadable => return Ok((mode, Some(Audience::Others))),
    };
    let access = Access {
        mode,
        owner: metadata.uid(),
        group: metadata.gid(),
        list,
    };
    let reader = Reader {
        user: rustix::process::geteuid().as_raw(),
        groups: groups(),
        fixed: is_read_only(file),
        credential: is_credential(path),
    };
    Ok((mode, reader.unwanted(&access)))
}

/// How a file may be accessed.
#[cfg(unix)]
#[derive(Debug)]
struct Access {
    mode: u32,
    owner: u32,
    group: u32,
    list: Option<Vec<acl::Entry>>,
}

/// This process, and how the file came to it.
#[cfg(unix)]
#[derive(Debug)]
struct Reader {
    user: u32,
    groups: Vec<u32>,
    /// The file system takes no changes.
    fixed: bool,
    /// The service manager put the file there for this service.
    credential: bool,
}

#[cfg(unix)]
impl Reader {
    fn unwanted(&self, access: &Access) -> Option<Audience> {
        if access.mode & 0o007 != 0 {
            return Some(Audience::Others);
        }
        let Some(list) = &access.list else {
            return self.unwanted_group(access, access.group, access.mode >> 3);
        };
        let mask = list.iter().find_map(|entry| match entry {
            acl::Entry::Mask(bits) => Some(*bits),
            _ => None,
        });
        let mask = mask.unwrap_or(0o7);
        list.iter().find_map(|entry| match *entry {
            acl::Entry::User(user, bits) => self.unwanted_user(user, bits & mask),
            acl::Entry::Group(group, bits) => {
                self.unwanted_group(access, group.unwrap_or(access.group), bits & mask)
            }
            acl::Entry::Other(0) | acl::Entry::Mask(_) => None,
            acl::Entry::Other(_) => Some(Audience::Others),
        })
    }

    fn unwanted_user(&self, user: u32, bits: u32) -> Option<Audience> {
        // systemd's `LoadCredential=` names the service's user, whatever this process has become by now.
        let own = user == 0 || user == self.user || (self.credential && bits & 0o3 == 0);
        (bits & 0o7 != 0 && !own).then_some(Audience::User(user))
    }

    fn unwanted_group(&self, access: &Access, group: u32, bits: u32) -> Option<Audience> {
        if bits & 0o7 == 0 {
            return None;
        }
        // Whoever could say `chmod 600` is told to. Root's own file counts as mounted where not even root may write it.
        let mounted = access.owner != self.user || self.fixed || self.user == 0 && access.mode & 0o200 == 0;
        let known = group == 0 || self.groups.contains(&group);
        (bits & 0o3 != 0 || !mounted || !known).then_some(Audience::Group(group))
    }
}

#[cfg(unix)]
fn groups() -> Vec<u32> {
    let mut groups: Vec<u32> = rustix::process::getgroups()
        .unwrap_or_default()
        .into_iter()
        .map(rustix::process::Gid::as_raw)
        .collect();
    groups.push(rustix::process::getegid().as_raw());
    groups
}

#[cfg(unix)]
fn is_read_only(file: &File) -> bool {
    rustix::fs::fstatvfs(file)
        .is_ok_and(|system| system.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

#[cfg(unix)]
fn is_credential(path: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .and_then(|directory| real(Path::new(&directory)))
        .zip(real(path))
        .is_some_and(|(directory, path)| path.starts_with(directory))
}

/// POSIX access control lists, as Linux keeps them in an extended attribute.
#[cfg(unix)]
mod acl {
    use std::fs::File;

    /// One entry of a list, but for the owner's.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Entry {
        /// A user by number.
        User(u32, u32),
        /// A group by number, or the file's own.
        Group(Option<u32>, u32),
        /// The most that users and groups get.
        Mask(u32),
        /// Everybody else.
        Other(u32),
    }

    /// What a file has.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) enum Read {
        /// Only its mode.
        None,
        /// A list.
        Entries(Vec<Entry>),
        /// A list that is too long, or of another version.
        Unreadable,
    }

    #[cfg(target_os = "linux")]
    pub(super) fn read(file: &File) -> Read {
        use rustix::io::Errno;
        let mut bytes = [0; 4096];
        match rustix::fs::fgetxattr(file, "system.posix_acl_access", &mut bytes) {
            Ok(length) => bytes
                .get(..length)
                .and_then(parse)
                .map_or(Read::Unreadable, Read::Entries),
            Err(Errno::RANGE) => Read::Unreadable,
            // No list, or a file system without any.
            Err(_) => Read::None,
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read(_: &File) -> Read {
        Read::None
    }

    /// `linux/posix_acl_xattr.h`: the version, then tag, permissions and number of each entry, little-endian.
    #[cfg(any(target_os = "linux", test))]
    pub(super) fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
        let entries = bytes.strip_prefix(&2_u32.to_le_bytes())?;
        let mut list = Vec::new();
        for entry in entries.chunks(8) {
            let [tag, tag_high, bits, 0, number @ ..] = entry else {
                return None;
            };
            let (bits, number) = (u32::from(*bits), u32::from_le_bytes(number.try_into().ok()?));
            list.push(match u16::from_le_bytes([*tag, *tag_high]) {
                0x01 => continue,
                0x02 => Entry::User(number, bits),
                0x04 => Entry::Group(None, bits),
                0x08 => Entry::Group(Some(number), bits),
                0x10 => Entry::Mask(bits),
                0x20 => Entry::Other(bits),
                _ => return None,
            });
        }
        Some(list)
    }
}

#[cfg(all(test, unix))]
mod tests;
