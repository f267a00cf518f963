//! Files that change under a running daemon.

use super::{Authority, agent, server};
use crate::tls::IdentitySource;
use crate::tls::reload::Reloader;
use std::fs;

fn source(scratch: &Authority) -> IdentitySource {
    let path = |file: &str| scratch.path(file);
    IdentitySource::files(&path("server.pem"), &path("server.key"), &path("ca.pem"))
}

#[test]
fn a_change_counts_once_it_stands_still_and_then_once() {
    let scratch = Authority::new();
    scratch.issue("server", server);
    let mut reloader = Reloader::new(source(&scratch));
    assert!(reloader.look().is_none());

    scratch.issue("server", server);
    assert!(reloader.look().is_none(), "seen once: it may be half of a change");
    scratch.issue("server", server);
    assert!(reloader.look().is_none(), "it changes still");
    assert!(reloader.look().unwrap().is_ok());
    assert!(reloader.look().is_none() && reloader.look().is_none());

    scratch.issue("server", server);
    assert!(reloader.now().unwrap().is_ok(), "somebody said that it is whole");
    assert!(reloader.now().is_none());
}

#[test]
fn a_bad_identity_is_told_once_and_so_is_its_mending() {
    let scratch = Authority::new();
    scratch.issue("server", server);
    let mut reloader = Reloader::new(source(&scratch));
    let good = fs::read(scratch.path("server.key")).unwrap();
    scratch.issue("agent", agent);
    fs::copy(scratch.path("agent.key"), scratch.path("server.key")).unwrap();
    assert!(reloader.look().is_none());
    let error = reloader.look().unwrap().unwrap_err().to_string();
    assert!(error.contains("does not belong to the certificate"), "{error}");
    assert!(
        reloader.look().is_none() && reloader.look().is_none(),
        "told once"
    );

    fs::remove_file(scratch.path("server.key")).unwrap();
    assert!(reloader.now().unwrap().is_err());
    scratch.write_key("server", std::str::from_utf8(&good).unwrap());
    assert!(reloader.now().unwrap().is_ok());
}
