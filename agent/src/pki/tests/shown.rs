//! `show`.

use super::*;
use authority::{Authority, Days};
use identity::Identity;
use time::Duration;

#[test]
fn every_certificate_is_shown_with_what_matters() {
    let scratch = Scratch::with_pair();
    let shown = scratch.must("show");
    for text in [
        "ca.pem\n",
        "CN=Fluidity CA",
        "(3649 days left)",
        "agent-laptop.pem\n",
        "URI fluidity://agent/laptop",
        "clientAuth",
        "(364 days left)",
        "server-fluidity-server.pem\n",
        "DNS fluidity-server",
        "serverAuth",
        "not before",
        "not after",
    ] {
        assert!(shown.contains(text), "no {text:?} in\n{shown}");
    }
    assert!(shown.starts_with("ca.pem"), "the CA comes first\n{shown}");
    assert!(!shown.contains('['), "nothing is wrong\n{shown}");
    let fingerprint = scratch.certificate("agent-laptop").fingerprint;
    let hex: Vec<_> = fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    assert!(shown.contains(&hex.join(":")), "{shown}");
}

#[test]
fn what_ends_soon_or_has_ended_is_marked() {
    let scratch = Scratch::new();
    scratch.must("init");
    let directory = Directory::new(scratch.0.clone());
    let now = OffsetDateTime::now_utc();
    let authority = Authority::open(&directory, now).unwrap();
    for (name, days, issued) in [
        ("over", 5, now - Duration::days(10)),
        ("early", 365, now + Duration::days(10)),
        ("soon", 29, now),
        ("later", 31, now),
    ] {
        let (pair, _) = authority
            .issue(&Identity::agent(name).unwrap(), Days(days), issued)
            .unwrap();
        scratch.plant(&format!("agent-{name}"), &pair);
    }
    let shown = scratch.must("show");
    for line in [
        "agent-over.pem  [EXPIRED]\n",
        "agent-early.pem  [NOT YET VALID]\n",
        "agent-soon.pem  [EXPIRES SOON]\n",
        "agent-later.pem\n",
        "(5 days ago)",
        "(28 days left)",
    ] {
        assert!(shown.contains(line), "no {line:?} in\n{shown}");
    }
    // Renewing is the remedy.
    scratch.must("renew");
    assert!(!scratch.must("show").contains('['));
}

#[test]
fn a_file_that_is_no_certificate_hides_no_other() {
    let scratch = Scratch::with_pair();
    fs::write(scratch.path("agent-bad.pem"), "not a certificate").unwrap();
    fs::write(scratch.path("notes.txt"), "not of interest").unwrap();
    let shown = scratch.must("show");
    assert!(
        shown.contains("agent-bad.pem: ") && shown.contains("holds no certificate"),
        "{shown}"
    );
    assert!(shown.contains("server-fluidity-server.pem\n"), "{shown}");
    assert!(!shown.contains("notes"), "{shown}");
}

#[test]
fn a_ca_whose_key_is_kept_elsewhere_can_be_shown() {
    let scratch = Scratch::with_pair();
    fs::remove_file(scratch.path("ca.key")).unwrap();
    assert!(scratch.must("show").contains("agent-laptop.pem\n"));
}
