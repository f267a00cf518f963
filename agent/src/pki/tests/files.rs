//! The files: their modes, that they are kept, and that they are replaced.

use super::*;

const ALL: [&str; 6] = [
    "agent-laptop.key",
    "agent-laptop.pem",
    "ca.key",
    "ca.pem",
    "server-fluidity-server.key",
    "server-fluidity-server.pem",
];

#[test]
fn the_files_have_their_names_and_nothing_else_is_left() {
    let scratch = Scratch::with_pair();
    assert_eq!(scratch.files(), ALL);
    scratch.must("renew");
    assert_eq!(scratch.files(), ALL);
    scratch.refusal("init");
    scratch.refusal("issue agent laptop");
    assert_eq!(scratch.files(), ALL);
}

#[cfg(unix)]
#[test]
fn keys_are_the_owners_alone() {
    let scratch = Scratch::with_pair();
    assert_eq!(mode(&scratch.0), 0o700);
    let keys = ALL.iter().filter(|name| name.ends_with(".key"));
    for key in keys.clone() {
        assert_eq!(mode(&scratch.path(key)), 0o600, "{key}");
    }
    // What others could read is closed to them when it is replaced.
    set_mode(&scratch.path("agent-laptop.key"), 0o644);
    scratch.must("renew");
    scratch.must("issue server fluidity-server --force");
    scratch.must("init --force");
    for key in keys {
        assert_eq!(mode(&scratch.path(key)), 0o600, "{key}");
    }
}

#[cfg(unix)]
#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    let scratch = Scratch::new();
    fs::create_dir(&scratch.0).unwrap();
    set_mode(&scratch.0, 0o755);
    scratch.must("init");
    assert_eq!(mode(&scratch.0), 0o755);
    assert_eq!(mode(&scratch.path("ca.key")), 0o600);
}

#[test]
fn nothing_is_overwritten_unless_that_is_asked_for() {
    let scratch = Scratch::with_pair();
    let all = || ALL.map(|name| scratch.read(name));
    let before = all();
    for line in [
        "init",
        "issue agent laptop",
        "issue server fluidity-server --san 10.0.0.1",
    ] {
        let said = scratch.refusal(line);
        assert!(
            said.contains("exists already") && said.contains("--force"),
            "{line}: {said}"
        );
    }
    assert_eq!(all(), before);
    scratch.must("issue agent laptop --force");
    assert_ne!(scratch.read("agent-laptop.key"), before[0]);
    assert_ne!(scratch.read("agent-laptop.pem"), before[1]);
    assert_eq!(all()[2..], before[2..]);
    let said = scratch.must("init --force");
    assert!(said.contains("fluidity pki renew"), "{said}");
    assert_ne!(scratch.read("ca.key"), before[2]);
}

#[test]
fn half_a_pair_counts_as_being_there() {
    for gone in ["agent-laptop.key", "agent-laptop.pem", "ca.key", "ca.pem"] {
        let scratch = Scratch::with_pair();
        fs::remove_file(scratch.path(gone)).unwrap();
        let left = scratch.files();
        let line = if gone.starts_with("ca") {
            "init"
        } else {
            "issue agent laptop"
        };
        assert!(scratch.refusal(line).contains("exists already"), "{gone}");
        assert_eq!(scratch.files(), left);
    }
}

#[test]
fn a_file_that_comes_meanwhile_is_kept() {
    let scratch = Scratch::with_pair();
    // As if it had come between the look and the write.
    fs::write(scratch.path("agent-phone.key"), "another's").unwrap();
    let draft = directory::Draft::write(
        scratch.path("agent-phone.key"),
        "ours",
        directory::Audience::Owner,
    );
    let refused = draft.unwrap().publish(Existing::Kept).unwrap_err();
    assert!(matches!(refused, PkiError::Exists { .. }), "{refused:?}");
    assert_eq!(scratch.read("agent-phone.key"), "another's");
    assert_eq!(scratch.files().len(), ALL.len() + 1);
}

#[cfg(unix)]
#[test]
fn a_draft_is_closed_to_others_from_the_start() {
    let scratch = Scratch::with_pair();
    let draft = directory::Draft::write(scratch.path("x.key"), "secret", directory::Audience::Owner).unwrap();
    let name = scratch
        .files()
        .into_iter()
        .find(|name| name.starts_with(".x.key"))
        .unwrap();
    assert_eq!(mode(&scratch.path(&name)), 0o600);
    drop(draft);
    assert_eq!(scratch.files(), ALL);
}

#[test]
fn what_cannot_be_written_is_said_and_no_draft_is_left() {
    let scratch = Scratch::with_pair();
    // A directory is in the way of the name.
    fs::create_dir(scratch.path("agent-phone.pem")).unwrap();
    let before = scratch.files();
    let said = scratch.refusal("issue agent phone --force");
    assert!(
        said.contains("cannot write") && said.contains("agent-phone.pem"),
        "{said}"
    );
    let left: Vec<_> = scratch
        .files()
        .into_iter()
        .filter(|name| !before.contains(name))
        .collect();
    // The key was published first; what was forced once is forced again.
    assert_eq!(left, ["agent-phone.key"]);
}

#[test]
fn renewing_keeps_the_identity_and_replaces_key_and_certificate() {
    let scratch = Scratch::new();
    scratch.must("init");
    scratch.must("issue server fluidity-server --san 10.0.0.1 --san exit.example");
    scratch.must("issue agent laptop --days 5");
    for (stem, line) in [
        ("server-fluidity-server", "renew server fluidity-server"),
        ("agent-laptop", "renew agent laptop"),
    ] {
        let (before, key) = (scratch.certificate(stem), scratch.read(&format!("{stem}.key")));
        let said = scratch.must(line);
        assert!(
            said.contains(&format!("{stem}.pem")) && said.contains("next:"),
            "{said}"
        );
        let after = scratch.certificate(stem);
        assert_eq!((&after.subject, &after.names), (&before.subject, &before.names));
        assert_eq!(after.usages, before.usages);
        assert_ne!(after.public_key, before.public_key);
        assert_ne!(after.fingerprint, before.fingerprint);
        assert_ne!(scratch.read(&format!("{stem}.key")), key);
        assert!(after.days_left(OffsetDateTime::now_utc()) >= 364);
    }
}

#[test]
fn renewing_without_a_name_renews_all_but_the_ca() {
    let scratch = Scratch::with_pair();
    scratch.must("issue agent phone");
    let stems = ["agent-laptop", "agent-phone", "server-fluidity-server"];
    let before = stems.map(|stem| scratch.certificate(stem).fingerprint);
    let ca = scratch.read("ca.pem");
    let said = scratch.must("renew");
    for (stem, before) in stems.iter().zip(before) {
        assert_ne!(scratch.certificate(stem).fingerprint, before, "{stem}");
        assert!(said.contains(stem), "{said}");
    }
    assert_eq!(scratch.read("ca.pem"), ca);
}

#[test]
fn renewing_mends_a_pair_whose_replacement_was_cut_short() {
    let scratch = Scratch::with_pair();
    let certificate = scratch.read("agent-laptop.pem");
    scratch.must("renew agent laptop");
    // The new key took its name, the new certificate did not.
    fs::write(scratch.path("agent-laptop.pem"), certificate).unwrap();
    assert!(connections::load(&scratch, "agent-laptop").is_err());
    scratch.must("renew agent laptop");
    connections::load(&scratch, "agent-laptop").unwrap();
}
