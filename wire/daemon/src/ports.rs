//! The ports file: where a daemon that was told to take any free port says which it took.

use serde::Serialize;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Writes `ports` as JSON, whole or not at all: to a neighbour first, which then takes the file's name.
///
/// A reader that waits for the file never sees a part of it. An older file is replaced.
pub fn write(path: &Path, ports: &impl Serialize) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let written = write_new(Path::new(&name), ports).and_then(|()| fs::rename(&name, path));
    if written.is_err() {
        // What failed first is what counts.
        let _ = fs::remove_file(&name);
    }
    written
}

fn write_new(path: &Path, ports: &impl Serialize) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(&serde_json::to_vec(ports)?)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("fluidity-ports-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn the_file_is_replaced_and_nothing_is_left_beside_it() {
        let directory = directory("replace");
        let path = directory.join("ports.json");
        for ports in [
            serde_json::json!({"quic": "127.0.0.1:1"}),
            serde_json::json!({"admin": "[::1]:2"}),
        ] {
            write(&path, &ports).unwrap();
            assert_eq!(
                serde_json::from_slice::<serde_json::Value>(&fs::read(&path).unwrap()).unwrap(),
                ports
            );
        }
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error_and_leaves_nothing() {
        let directory = directory("refuse");
        assert!(write(&directory.join("missing/ports.json"), &1).is_err());
        // A directory is in the way of the name.
        let taken = directory.join("taken");
        fs::create_dir_all(taken.join("inside")).unwrap();
        assert!(write(&taken, &1).is_err());
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
