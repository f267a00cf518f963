//! What is in the certificates.

use super::*;
use time::Duration;
use x509_parser::pem::Pem;

/// Calls `look` with the parsed certificate of a file.
fn parsed<T>(
    scratch: &Scratch,
    file: &str,
    look: impl FnOnce(&x509_parser::prelude::X509Certificate<'_>) -> T,
) -> T {
    let text = scratch.read(file);
    let pem = Pem::iter_from_buffer(text.as_bytes()).next().unwrap().unwrap();
    look(&pem.parse_x509().unwrap())
}

#[test]
fn the_ca_signs_leaves_and_nothing_else() {
    let scratch = Scratch::new();
    let said = scratch.must("init");
    for word in [
        "ca.pem",
        "ca.key",
        "issue server",
        "issue agent",
        scratch.0.to_str().unwrap(),
    ] {
        assert!(said.contains(word), "{said}");
    }
    parsed(&scratch, "ca.pem", |ca| {
        let constraints = ca.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = ca.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
        assert_eq!(ca.subject().to_string(), "CN=Fluidity CA");
        assert_eq!(ca.subject(), ca.issuer());
    });
    let ca = scratch.certificate("ca");
    assert_eq!(
        ca.not_after - ca.not_before,
        Duration::days(3650) + Duration::HOUR
    );
}

#[test]
fn a_leaf_has_one_purpose_and_the_names_of_its_owner() {
    let scratch = Scratch::new();
    scratch.must("init");
    scratch.must("issue server Exit.Example --san 10.0.0.1 --san ::1 --san www.EXAMPLE. --san exit.example --san 10.0.0.1");
    scratch.must("issue agent laptop");

    let server = scratch.certificate("server-exit.example");
    assert_eq!(server.subject, "CN=exit.example");
    assert_eq!(
        server.names_for_people(),
        "DNS exit.example, IP 10.0.0.1, IP ::1, DNS www.example"
    );
    assert_eq!(server.usages, ["serverAuth"]);
    let agent = scratch.certificate("agent-laptop");
    assert_eq!(agent.subject, "CN=laptop");
    assert_eq!(
        agent.names,
        [certificate::AlternativeName::Uri(
            "fluidity://agent/laptop".into()
        )]
    );
    assert_eq!(agent.usages, ["clientAuth"]);

    for leaf in ["server-exit.example", "agent-laptop"] {
        parsed(&scratch, &format!("{leaf}.pem"), |x509| {
            assert!(!x509.is_ca());
            assert!(!x509.basic_constraints().unwrap().unwrap().value.ca);
            let usage = x509.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.digital_signature() && !usage.value.key_cert_sign());
            // prime256v1
            let key = x509.public_key();
            let curve = key.algorithm.parameters.as_ref().unwrap().as_oid().unwrap();
            assert_eq!(curve.to_id_string(), "1.2.840.10045.3.1.7");
        });
        assert!(scratch.certificate(leaf).is_of(&scratch.certificate("ca")));
    }
}

#[test]
fn a_leaf_began_an_hour_ago_and_lasts_a_year() {
    let scratch = Scratch::with_pair();
    let now = OffsetDateTime::now_utc();
    for leaf in ["server-fluidity-server", "agent-laptop"] {
        let leaf = scratch.certificate(leaf);
        assert_eq!(
            leaf.not_after - leaf.not_before,
            Duration::days(365) + Duration::HOUR
        );
        let age = now - leaf.not_before;
        assert!(
            age > Duration::minutes(59) && age < Duration::minutes(61),
            "{age}"
        );
    }
    scratch.must("issue agent phone --days 3");
    let phone = scratch.certificate("agent-phone");
    assert_eq!(
        phone.not_after - phone.not_before,
        Duration::days(3) + Duration::HOUR
    );
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let scratch = Scratch::new();
    scratch.must("init --days 10");
    scratch.must("issue agent laptop --days 365");
    scratch.must("issue agent phone --days 5");
    let end = scratch.certificate("ca").not_after;
    assert_eq!(scratch.certificate("agent-laptop").not_after, end);
    assert!(scratch.certificate("agent-phone").not_after < end);
    scratch.must("renew agent phone");
    assert_eq!(scratch.certificate("agent-phone").not_after, end);
}

#[test]
fn serial_numbers_are_random_and_have_128_bits() {
    let scratch = Scratch::new();
    scratch.must("init");
    let mut serials = Vec::new();
    for _ in 0..16 {
        scratch.must("issue agent laptop --force");
        serials.push(parsed(&scratch, "agent-laptop.pem", |x509| {
            x509.raw_serial().to_vec()
        }));
    }
    // RFC 5280 §4.1.2.2: positive, at most 20 octets. The sign may add one.
    assert!(
        serials
            .iter()
            .all(|serial| serial.len() <= 17 && serial[0] < 0x80),
        "{serials:?}"
    );
    // Sixteen short ones have a chance of 1 in 2^128.
    assert!(serials.iter().any(|serial| serial.len() >= 16), "{serials:?}");
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 16);
}
