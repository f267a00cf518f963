//! Files that others could change, and what is no file.

#![cfg(unix)]

use super::*;
use std::process::Command;

#[test]
fn a_ca_that_everyone_can_write_is_refused_with_what_mends_it() {
    let ca = Authority::new();
    ca.server();
    for (mode, refused) in [
        (0o666, true),
        (0o646, true),
        (0o664, false),
        (0o644, false),
        (0o444, false),
    ] {
        set_mode(&ca.path("ca.pem"), mode);
        let loaded = ca.load("server");
        assert_eq!(loaded.is_err(), refused, "{mode:o}: {loaded:?}");
        if let Err(error) = loaded {
            let said = error.to_string();
            assert!(
                said.contains("run: chmod go-w") && said.contains("ca.pem"),
                "{said}"
            );
        }
    }
    // A directory like that is told of, and no more: what brings secrets into containers makes such ones.
    set_mode(&ca.directory, 0o777);
    ca.load("server").unwrap();
}

#[test]
fn a_pipe_or_directory_is_no_file_and_nobody_waits_for_it() {
    for name in ["server.key", "server.pem", "ca.pem"] {
        let ca = Authority::new();
        ca.server();
        let path = ca.path(name);
        fs::remove_file(&path).unwrap();
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        set_mode(&path, 0o600);
        let said = ca.refusal("server");
        assert!(said.contains("is not a file") && said.contains(name), "{said}");
        // Nor does who looks for changes.
        let source =
            IdentitySource::files(&ca.path("server.pem"), &ca.path("server.key"), &ca.path("ca.pem"));
        assert!(crate::tls::reload::Reloader::new(source).look().is_none());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let said = ca.refusal("server");
        assert!(said.contains("is not a file"), "{said}");
    }
}
