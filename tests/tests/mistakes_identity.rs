//! The mistakes that people make with certificates and keys, told at the start by both ends; and the texts and modes that
//! are none.

#![cfg(unix)]

use fluidity_tests::{
    Scratch, Settings, TestAgent, TestPki, TestServer, agent_file, command, refused, said, server_file, text,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn an_identity_connects_however_its_texts_came() {
    let pki = TestPki::new();
    let server = TestServer::start(&TestServer::settings(&pki)).await;
    let read = |name: &str| fs::read_to_string(pki.file(name)).expect("read");
    let (certificate, key, ca) = (read("laptop.pem"), read("laptop.key"), read("ca.pem"));
    let ways: [fn(&str) -> String; 6] = [
        |pem| pem.replace('\n', "\\n"),
        |pem| format!("\"{}\"", pem.replace('\n', "\\n")),
        |pem| pem.replace('\n', "\r\n"),
        |pem| pem.replace('\n', " "),
        |pem| format!("\u{feff}{pem}"),
        |pem| format!("Bag Attributes\n    localKeyID: 01\nsubject=CN=laptop\n{pem}"),
    ];
    for way in ways {
        let mut settings = TestAgent::settings(&pki, server.quic());
        settings.set("identity", serde_json::json!({}));
        let env = [
            ("FLUIDITY_IDENTITY_CERTIFICATE_PEM".to_owned(), way(&certificate)),
            ("FLUIDITY_IDENTITY_KEY_PEM".to_owned(), way(&key)),
            ("FLUIDITY_IDENTITY_CA_PEM".to_owned(), way(&ca)),
        ];
        let agent = TestAgent::start_with(&settings, &env).await;
        agent.ready(std::time::Duration::from_secs(30)).await;
    }
}

#[test]
fn files_of_an_identity_that_do_not_fit_are_told_at_the_start() {
    let (pki, other, scratch) = (TestPki::new(), TestPki::new(), Scratch::new());
    let identity = |name: &str| pki.identity(name);
    let agent = |change: &dyn Fn(&mut Settings)| agent_file(&scratch, &pki, |settings| change(settings));
    let server = |change: &dyn Fn(&mut Settings)| server_file(&scratch, &pki, |settings| change(settings));
    let path = |file: &str| text(&pki.file(file)).to_owned();

    // 6, 6b
    let swapped = agent(&|settings| {
        settings.set("identity.certificate", path("laptop.key"));
        settings.set("identity.key", path("laptop.key"));
    });
    refused(
        "fluidity",
        &swapped,
        &[
            "agent-laptop.key",
            "no certificate",
            "private key",
            "swapped",
            "The .pem is the certificate",
        ],
    );
    fs::copy(pki.file("laptop.pem"), scratch.path().join("copied.key")).expect("copy");
    let copied = text(&scratch.path().join("copied.key")).to_owned();
    fs::set_permissions(&copied, fs::Permissions::from_mode(0o600)).expect("chmod");
    let swapped = agent(&|settings| {
        settings.set("identity.key", copied.clone());
    });
    refused(
        "fluidity",
        &swapped,
        &["copied.key", "no private key", "certificate", "swapped"],
    );
    let mixed = agent(&|settings| {
        settings.set("identity.key", path("fluidity-server.key"));
    });
    refused(
        "fluidity",
        &mixed,
        &["fluidity-server.key", "does not belong", "agent-laptop.pem"],
    );
    // 7, 8
    let wrong = server(&|settings| {
        settings.set("identity", identity("laptop"));
    });
    let words = &[
        "agent-laptop.pem",
        "an agent's certificate (laptop)",
        "pki issue server",
    ];
    refused("fluidity-server", &wrong, words);
    let wrong = agent(&|settings| {
        settings.set("identity", identity("fluidity-server"));
    });
    let words = &[
        "fluidity-server.pem",
        "a server's certificate (fluidity-server)",
        "pki issue agent",
    ];
    refused("fluidity", &wrong, words);
    // A missing file, a file cut short, an empty one, a CA in the place of a certificate and the reverse.
    let missing = agent(&|settings| {
        settings.set("identity.ca", "no-such.pem");
    });
    refused("fluidity", &missing, &["no-such.pem", "cannot read"]);
    let certificate = fs::read_to_string(pki.file("laptop.pem")).expect("read");
    let cut = scratch.write("cut.pem", certificate.get(..120).expect("long"));
    let cut = agent(&|settings| {
        settings.set("identity.certificate", text(&cut));
    });
    refused("fluidity", &cut, &["cut.pem", "END", "copy the whole text"]);
    let empty = scratch.write("empty.pem", "");
    let empty = agent(&|settings| {
        settings.set("identity.certificate", text(&empty));
    });
    refused("fluidity", &empty, &["empty.pem", "is empty"]);
    let no_ca = agent(&|settings| {
        settings.set("identity.ca", path("laptop.pem"));
    });
    refused("fluidity", &no_ca, &["agent-laptop.pem", "not a CA's", "ca.pem"]);
    // The CA of another directory is no error, and yet a person should know.
    let foreign = agent(&|settings| {
        settings.set("identity.ca", text(&other.file("ca.pem")));
    });
    let output = command("fluidity", &["config", "check", "-c", &foreign], &[])
        .output()
        .expect("run");
    assert!(
        said(&output).contains("not issued by the CA in identity.ca"),
        "{}",
        said(&output)
    );
    // In order is told with what it comes to, and --offline looks at no file.
    let good = agent(&|_| {});
    let output = command("fluidity", &["config", "check", "-c", &good], &[])
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", said(&output));
    for word in [
        "identity  an agent's certificate (laptop), good for 36",
        "in order",
    ] {
        assert!(said(&output).contains(word), "{word}: {}", said(&output));
    }
    for flag in ["--offline", "--no-files"] {
        let output = command("fluidity", &["config", "check", flag, "-c", &missing], &[])
            .output()
            .expect("run");
        assert!(output.status.success(), "{}", said(&output));
    }
}

#[test]
fn a_certificate_of_another_time_is_told_the_date_and_the_clock() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let at = |year: i32| rcgen::date_time_ymd(year, 2, 3);
    for (name, from, to, words) in [
        ("old", 2020, 2021, &["old.pem", "2021", "pki renew", "clock"][..]),
        ("early", 2090, 2091, &["early.pem", "2090", "clock"]),
    ] {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::URI(
            "fluidity://agent/old".try_into().expect("a URI"),
        )];
        (params.not_before, params.not_after) = (at(from), at(to));
        let certificate = scratch.write(
            &format!("{name}.pem"),
            &params.self_signed(&key).expect("signed").pem(),
        );
        let key = scratch.write(&format!("{name}.key"), &key.serialize_pem());
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
        let file = agent_file(&scratch, &pki, |settings| {
            settings.set("identity.certificate", text(&certificate));
            settings.set("identity.key", text(&key));
        });
        refused("fluidity", &file, words);
    }
}

#[test]
fn a_key_is_closed_to_others_and_a_mounted_one_to_other_groups() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let key = pki.file("laptop.key");
    let file = agent_file(&scratch, &pki, |_| {});
    let check = || {
        command("fluidity", &["config", "check", "-c", &file], &[])
            .output()
            .expect("run")
    };
    for mode in [0o644, 0o604, 0o640, 0o660, 0o444, 0o460] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("chmod");
        let chmod = format!("chmod 600 {}", key.display());
        refused("fluidity", &file, &[&format!("mode {mode:04o}"), &chmod]);
    }
    for mode in [0o600, 0o400] {
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("chmod");
        assert!(check().status.success(), "{mode:o}: {}", said(&check()));
    }
    // Only root can give a file to somebody, as a mount does.
    if !is_root() {
        return;
    }
    let owned = |user: Option<u32>, group: u32, mode: u32| {
        std::os::unix::fs::chown(&key, user, Some(group)).expect("chown");
        fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("chmod");
        check()
    };
    let output = owned(Some(0), 0, 0o440);
    assert!(output.status.success(), "root's own group: {}", said(&output));
    let output = owned(Some(0), 12345, 0o440);
    assert!(!output.status.success(), "somebody's group: {}", said(&output));
    assert!(said(&output).contains("the group 12345"), "{}", said(&output));
    let output = owned(Some(0), 0, 0o460);
    assert!(!output.status.success(), "a group that writes: {}", said(&output));
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
