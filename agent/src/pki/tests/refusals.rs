//! What is refused, and in what words.

use super::*;
use authority::{Authority, Days};
use std::io;
use time::Duration;

fn assert_says(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn without_a_ca_the_way_to_one_is_named() {
    let scratch = Scratch::new();
    for line in ["issue agent laptop", "issue server exit", "renew", "show"] {
        let said = scratch.refusal(line);
        assert_says(
            &said,
            &[
                "there is no CA in",
                scratch.0.to_str().unwrap(),
                "fluidity pki init",
            ],
        );
    }
    assert!(!scratch.0.exists());
}

#[cfg(unix)]
#[test]
fn a_ca_key_that_others_can_read_signs_nothing() {
    let scratch = Scratch::with_pair();
    let key = scratch.path("ca.key");
    for bad in [0o644, 0o640, 0o604, 0o660] {
        set_mode(&key, bad);
        for line in ["issue agent phone", "renew", "issue server exit"] {
            let said = scratch.refusal(line);
            assert_says(
                &said,
                &["can be read by others", &format!("chmod 600 {}", key.display())],
            );
        }
    }
    assert_eq!(scratch.files().len(), 6);
}

#[test]
fn a_ca_that_is_not_whole_is_refused() {
    let (scratch, other) = (Scratch::with_pair(), Scratch::with_pair());
    let restore = |name: &str, text: &str| fs::write(scratch.path(name), text).unwrap();
    let (certificate, key) = (scratch.read("ca.pem"), scratch.read("ca.key"));

    restore("ca.key", &other.read("ca.key"));
    assert_says(
        &scratch.refusal("issue agent phone"),
        &["ca.key does not belong to", "ca.pem"],
    );
    restore("ca.key", "nothing");
    assert_says(
        &scratch.refusal("issue agent phone"),
        &["ca.key holds no private key"],
    );
    fs::remove_file(scratch.path("ca.key")).unwrap();
    assert_says(&scratch.refusal("issue agent phone"), &["ca.key is missing"]);

    fs::copy(scratch.path("agent-laptop.key"), scratch.path("ca.key")).unwrap();
    restore("ca.pem", &scratch.read("agent-laptop.pem"));
    assert_says(
        &scratch.refusal("issue agent phone"),
        &["ca.pem is not the certificate of a CA"],
    );
    restore("ca.pem", "nothing");
    assert_says(
        &scratch.refusal("issue agent phone"),
        &["ca.pem holds no certificate"],
    );

    restore("ca.pem", &certificate);
    restore("ca.key", &key);
    scratch.must("issue agent phone");
}

#[test]
fn a_ca_whose_time_is_over_signs_nothing() {
    let scratch = Scratch::new();
    let long_ago = OffsetDateTime::now_utc() - Duration::days(100);
    let (pair, _) = Authority::create("old", Days(50), long_ago).unwrap();
    scratch.plant("ca", &pair);
    assert_says(
        &scratch.refusal("issue agent laptop"),
        &["the CA ended on", "init --force"],
    );
    assert!(scratch.must("show").contains("ca.pem  [EXPIRED]"));
}

#[test]
fn names_that_cannot_be_are_refused_before_anything_is_written() {
    let scratch = Scratch::new();
    scratch.must("init");
    let long = "a".repeat(65);
    for name in ["", "../x", "a/b", "A", ".a", "é", &long] {
        let said = scratch.refusal(&format!("issue agent {name}"));
        assert_says(&said, &["is not a name that an agent can have", "1 to 64"]);
        scratch.refusal(&format!("renew agent {name}"));
    }
    for name in ["", "../x", "a/b", "*.example", "a..b", "é", "1.2.3", "2130706433"] {
        let said = scratch.refusal(&format!("issue server {name}"));
        assert_says(&said, &["is not a name that a server can have"]);
        scratch.refusal(&format!("renew server {name}"));
        if !name.is_empty() {
            scratch.refusal(&format!("issue server exit --san {name}"));
        }
    }
    for address in ["127.0.0.1", "::1", "[::1]"] {
        assert_says(
            &scratch.refusal(&format!("issue server {address}")),
            &["is an address", "--san"],
        );
    }
    let long = format!("{}.example", "a".repeat(60));
    assert_says(
        &scratch.refusal(&format!("issue server {long}")),
        &["longer than 64", "--san"],
    );
    assert_eq!(scratch.files(), ["ca.key", "ca.pem"]);
}

#[test]
fn a_ca_has_a_name_that_can_be_printed() {
    for name in ["", " ", "a\nb", "a\u{1b}[31m", &"a".repeat(65)] {
        let refused = Authority::create(name, Days(1), OffsetDateTime::now_utc());
        assert!(matches!(refused, Err(PkiError::AuthorityName)), "{name:?}");
    }
    let scratch = Scratch::new();
    scratch.must("init --name Überseenetz");
    assert_eq!(scratch.certificate("ca").subject, "CN=Überseenetz");
    scratch.must("issue agent laptop");
    connections::load(&scratch, "agent-laptop").unwrap();
}

#[test]
fn what_was_never_issued_cannot_be_renewed() {
    let scratch = Scratch::new();
    scratch.must("init");
    assert_says(
        &scratch.refusal("renew"),
        &["can be renewed", "fluidity pki issue"],
    );
    let said = scratch.refusal("renew agent phone");
    assert_says(&said, &["agent-phone.pem", "fluidity pki issue agent phone"]);
}

#[test]
fn a_certificate_under_anothers_name_is_not_renewed() {
    let scratch = Scratch::with_pair();
    for (from, to, line) in [
        ("agent-laptop", "agent-phone", "renew agent phone"),
        ("server-fluidity-server", "server-exit", "renew server exit"),
        ("server-fluidity-server", "agent-tablet", "renew agent tablet"),
        ("agent-laptop", "server-laptop", "renew server laptop"),
        ("ca", "agent-ca", "renew agent ca"),
    ] {
        fs::copy(
            scratch.path(&format!("{from}.pem")),
            scratch.path(&format!("{to}.pem")),
        )
        .unwrap();
        let said = scratch.refusal(line);
        assert_says(&said, &[&format!("{to}.pem is for"), "issue a new one"]);
        // Nor with all others: nothing is renewed before everything was found in order.
        let before = scratch.read("agent-laptop.pem");
        scratch.refusal("renew");
        assert_eq!(scratch.read("agent-laptop.pem"), before);
        fs::remove_file(scratch.path(&format!("{to}.pem"))).unwrap();
    }
}

#[test]
fn an_output_that_is_closed_is_an_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::with_pair();
    let place = Place {
        dir: scratch.0.clone(),
    };
    let refused = run_to(PkiCommand::Show { place }, &mut Closed).unwrap_err();
    assert!(matches!(refused, PkiError::Output(_)), "{refused:?}");
}
