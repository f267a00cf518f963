//! Modes of the files of `fluidity pki`, and what a daemon says of files that others could change.

#![cfg(unix)]

use fluidity_tests::{TestPki, TestServer, binary, run};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).expect("the file").permissions().mode() & 0o7777
}

#[test]
fn certificates_are_for_all_to_read_and_the_owners_to_write_whatever_the_umask() {
    let pki = TestPki::new();
    for umask in ["000", "022", "077", "002"] {
        let dir = pki.dir().join(format!("umask-{umask}"));
        for args in ["init", "issue agent laptop", "renew"] {
            let command = format!("umask {umask}; exec \"$0\" pki {args} --dir \"$1\"");
            let mut shell = Command::new("sh");
            let output = shell
                .args(["-c", &command])
                .arg(binary("fluidity"))
                .arg(&dir)
                .output();
            let output = output.expect("sh");
            assert!(output.status.success(), "{output:?}");
            for entry in fs::read_dir(&dir).expect("the directory") {
                let path = entry.expect("an entry").path();
                let wanted = match path.extension().and_then(|ending| ending.to_str()) {
                    Some("key") => 0o600,
                    _ => 0o644,
                };
                assert_eq!(mode(&path), wanted, "{umask} {args}: {}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn a_server_does_not_start_with_a_ca_that_everyone_can_write() {
    let pki = TestPki::new();
    let ca = pki.file("ca.pem");
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o666)).expect("chmod");
    let config = pki.dir().join("server.yaml");
    fs::write(&config, TestServer::settings(&pki).text()).expect("write");
    let mut server = tokio::process::Command::new(binary("fluidity-server"));
    server.arg("run").arg("-c").arg(&config).kill_on_drop(true);
    let output = run(&mut server, Duration::from_secs(60)).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("chmod go-w") && said.contains("ca.pem"), "{said}");
}
