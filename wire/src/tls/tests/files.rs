//! What is read from files, and what is said about files that are wrong.

use super::*;
use rcgen::date_time_ymd;

#[cfg(unix)]
#[test]
fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    let ca = Authority::new();
    ca.agent();
    for mode in [0o640, 0o604, 0o620, 0o601, 0o644] {
        set_mode(&ca.path("agent.key"), mode);
        let said = ca.refusal("agent");
        assert!(
            said.contains(&format!("chmod 600 {}", ca.path("agent.key").display())),
            "{said}"
        );
        assert!(said.contains(&format!("{mode:04o}")), "{said}");
    }
    for mode in [0o600, 0o400] {
        set_mode(&ca.path("agent.key"), mode);
        ca.load("agent").unwrap();
    }
}

#[test]
fn a_certificate_whose_time_is_not_now_is_refused_with_its_dates() {
    let ca = Authority::new();
    ca.issue("old", |params| params.not_after = date_time_ymd(2001, 2, 3));
    let said = ca.refusal("old");
    assert!(
        said.contains("old.pem") && said.contains("Feb  3") && said.contains("2001"),
        "{said}"
    );
    assert!(said.contains("fluidity pki renew"), "{said}");
    ca.issue("early", |params| params.not_before = date_time_ymd(2999, 2, 3));
    let said = ca.refusal("early");
    assert!(
        said.contains("early.pem") && said.contains("2999") && said.contains("clock"),
        "{said}"
    );
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let ca = Authority::new();
    ca.agent();
    ca.server();
    let (certificate, key, root) = (ca.path("agent.pem"), ca.path("agent.key"), ca.path("ca.pem"));
    let said = |certificate: &Path, key: &Path, root: &Path| {
        Identity::load(certificate, key, root).unwrap_err().to_string()
    };

    let text = said(&certificate, &ca.path("server.key"), &root);
    assert!(
        text.contains("server.key") && text.contains("does not belong") && text.contains("agent.pem"),
        "{text}"
    );
    let text = said(&certificate, &key, &certificate);
    assert!(
        text.contains("agent.pem") && text.contains("not a CA's") && text.contains("ca.pem"),
        "{text}"
    );
    let text = said(&ca.path("none.pem"), &key, &root);
    assert!(
        text.contains("cannot read") && text.contains("none.pem"),
        "{text}"
    );
    let text = said(&certificate, &ca.path("none.key"), &root);
    assert!(
        text.contains("cannot read") && text.contains("none.key"),
        "{text}"
    );
    let text = said(&key, &key, &root);
    assert!(
        text.contains("agent.key") && text.contains("no certificate in PEM form"),
        "{text}"
    );
    ca.write_key("odd", "no key here");
    let text = said(&certificate, &ca.path("odd.key"), &root);
    assert!(
        text.contains("odd.key") && text.contains("no private key in PEM form"),
        "{text}"
    );
    fs::write(
        ca.path("odd.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let text = said(&ca.path("odd.pem"), &key, &root);
    assert!(
        text.contains("odd.pem") && text.contains("cannot be understood"),
        "{text}"
    );
    let text = said(&certificate, &key, &ca.path("odd.pem"));
    assert!(
        text.contains("odd.pem") && text.contains("cannot be understood"),
        "{text}"
    );
}

#[test]
fn derived_keys_depend_on_the_private_key_and_the_label() {
    let ca = Authority::new();
    let identity = ca.agent();
    assert_eq!(
        identity.derive_key(b"a"),
        ca.load("agent").unwrap().derive_key(b"a")
    );
    assert_ne!(identity.derive_key(b"a"), identity.derive_key(b"b"));
    assert_ne!(identity.derive_key(b"a"), ca.server().derive_key(b"a"));
    assert_ne!(identity.derive_key(b"a"), [0; 32]);
}

#[test]
fn an_identity_tells_its_end_and_subject_but_no_secret() {
    let ca = Authority::new();
    ca.issue("agent", |params| {
        agent(params);
        params.not_after = date_time_ymd(2090, 1, 1);
    });
    let identity = ca.load("agent").unwrap();
    let seconds = identity.not_after().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(
        i64::try_from(seconds).unwrap(),
        date_time_ymd(2090, 1, 1).unix_timestamp()
    );
    assert_eq!(identity.subject(), "CN=agent");
    assert_eq!(format!("{identity:?}"), r#"Identity { subject: "CN=agent", .. }"#);
}

#[test]
fn the_fingerprint_is_the_sha_256_of_the_bytes() {
    let hex: String = fingerprint(b"abc")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // FIPS 180-2, appendix B.1.
    assert_eq!(
        hex,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}
