//! The ports file: where a daemon that was told to take any free port says which it took.

use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Writes `ports` as JSON, whole or not at all: to a neighbour first, which then takes the file's name.
pub fn write(path: &Path, ports: &impl Serialize) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let mut file = std::fs::File::create(&name)?;
    file.write_all(&serde_json::to_vec(ports)?)?;
    file.sync_all()?;
    std::fs::rename(&name, path)
}
