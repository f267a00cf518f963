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

#[test]
fn a_certificate_of_the_other_end_is_refused_at_the_start() {
    let ca = Authority::new();
    ca.agent();
    ca.server();
    ca.issue("mute", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
    });
    ca.issue("misused", |params| {
        agent(params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let load = |name: &str, role| {
        let file = |ending: &str| ca.path(&format!("{name}.{ending}"));
        let mut source = IdentitySource::files(&file("pem"), &file("key"), &ca.path("ca.pem"));
        source.role = Some(role);
        source.load().map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(load("agent", Role::Agent), Ok(()));
    assert_eq!(load("server", Role::Server), Ok(()));
    for (name, role, words) in [
        (
            "agent",
            Role::Server,
            &["agent.pem", "an agent's certificate (laptop)", "server-NAME.pem"][..],
        ),
        (
            "server",
            Role::Agent,
            &[
                "server.pem",
                "a server's certificate (fluidity-server)",
                "agent-NAME.pem",
            ],
        ),
        ("mute", Role::Server, &["mute.pem", "for neither end"]),
        ("misused", Role::Agent, &["misused.pem", "for neither end"]),
    ] {
        let said = load(name, role).unwrap_err();
        assert!(words.iter().all(|word| said.contains(word)), "{name}: {said}");
    }
}

#[test]
fn a_bundle_in_any_order_is_the_pair_that_belongs_together() {
    let ca = Authority::new();
    ca.agent();
    ca.server();
    let read = |name: &str| fs::read_to_string(ca.path(name)).unwrap();
    let bundle = [
        read("ca.pem"),
        read("server.key"),
        read("agent.pem"),
        read("agent.key"),
    ]
    .concat();
    ca.write_key("bundle", &bundle);
    let (file, root) = (ca.path("bundle.key"), ca.path("ca.pem"));
    assert_eq!(Identity::load(&file, &file, &root).unwrap().subject(), "CN=agent");
}

#[test]
fn an_identity_knows_whether_its_own_ca_is_the_one_it_checks_peers_against() {
    let (ca, other) = (Authority::new(), Authority::new());
    assert!(ca.agent().is_of_its_ca() && ca.server().is_of_its_ca());
    for name in ["agent", "server"] {
        let file = |ending: &str| ca.path(&format!("{name}.{ending}"));
        let identity = Identity::load(&file("pem"), &file("key"), &other.path("ca.pem")).unwrap();
        assert!(!identity.is_of_its_ca(), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn a_key_is_read_through_the_links_of_a_mounted_secret() {
    use std::os::unix::fs::symlink;
    let ca = Authority::new();
    ca.agent();
    // As the kubelet lays a secret out: a dated directory, a link to it, and links to the files through that.
    let dated = ca.path("..2026_11_28");
    fs::create_dir(&dated).unwrap();
    fs::rename(ca.path("agent.key"), dated.join("agent.key")).unwrap();
    symlink("..2026_11_28", ca.path("..data")).unwrap();
    symlink("..data/agent.key", ca.path("agent.key")).unwrap();
    ca.load("agent").unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn the_access_list_of_a_key_decides_and_not_the_mask_that_its_mode_shows() {
    use rustix::fs::{XattrFlags, setxattr};
    let ca = Authority::new();
    ca.agent();
    let key = ca.path("agent.key");
    let own = rustix::process::geteuid().as_raw();
    // Owner, a user, the group without rights, the mask, others: `linux/posix_acl_xattr.h`.
    let list = |user: u32| {
        let nobody = u32::MAX;
        let entries = [
            (1_u16, 4_u16, nobody),
            (2, 4, user),
            (4, 0, nobody),
            (16, 4, nobody),
            (32, 0, nobody),
        ];
        let bytes = entries.iter().flat_map(|(tag, bits, number)| {
            [&tag.to_le_bytes()[..], &bits.to_le_bytes(), &number.to_le_bytes()].concat()
        });
        2_u32.to_le_bytes().into_iter().chain(bytes).collect::<Vec<_>>()
    };
    let set = |user| setxattr(&key, "system.posix_acl_access", &list(user), XattrFlags::empty());
    if set(own) == Err(rustix::io::Errno::OPNOTSUPP) {
        // A file system without lists has nothing to be misread.
        return;
    }
    ca.load("agent").unwrap();
    set(own + 7).unwrap();
    let said = ca.refusal("agent");
    let user = format!("the user {}, by an access control list", own + 7);
    assert!(said.contains("mode 0440") && said.contains(&user), "{said}");
}
