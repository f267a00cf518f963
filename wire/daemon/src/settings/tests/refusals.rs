//! What is refused, and in which words.

use super::*;

#[test]
fn a_bad_file_is_refused_with_its_place_and_the_nearest_name() {
    for (text, expected) in [
        ("lissten: 1", "1:1: unknown key `lissten`; did you mean `listen`?"),
        (
            "server:\n  adress: x",
            "2:3: unknown key `adress` in `server`; did you mean `address`?",
        ),
        (
            "server: {address: a,\n adress: x}",
            "2:2: unknown key `adress` in `server`; did you mean `address`?",
        ),
        ("zzzzzzzzzz: 1", "1:1: unknown key `zzzzzzzzzz`"),
        (
            "'server.address': x",
            "1:1: `server.address` in one word is no key; write `server:` and below it, indented, `address:`",
        ),
        (
            "# c\n\nlimits:\n  clients: many",
            "4:12: limits.clients: invalid type: string \"many\", expected u32",
        ),
        (
            "limits:\n  clients: -1",
            "2:12: limits.clients: invalid value: integer `-1`, expected u32",
        ),
        (
            "server: 5",
            "1:9: `server` is a section: write its keys below it, indented",
        ),
        (
            "server:\n- address: x",
            "2:1: `server` is a section: write its keys below it, indented",
        ),
        ("- a", "1:1: a configuration is a list of `key: value` lines"),
        (
            "listen 127.0.0.1",
            "1:1: a configuration is a list of `key: value` lines",
        ),
        (
            "listen: 1.2.3.4:5\n# c\nlisten: 1.2.3.4:6",
            "3:1: `listen` is here for the second time",
        ),
        (
            "server: {}\nlimits: {}\nserver: {}",
            "3:1: `server` is here for the second time",
        ),
        (
            "limits:\n  idle-time: 15",
            "2:14: limits.idle-time: `15` is not a duration; write a number with a unit, such as 500ms, 15s, 10m or 1h",
        ),
        (
            "limits:\n  memory: lots",
            "2:11: limits.memory: `lots` is not a size; write a number of bytes or one with a unit, such as 16KiB, 64MiB or 1GiB",
        ),
        (
            "listen:   localhost",
            "1:11: listen: invalid socket address syntax",
        ),
        (
            "listen: [1, 2]",
            "1:9: listen: invalid type: sequence, expected a string",
        ),
        (
            "server:\n\taddress: x",
            "2:1: found character that cannot start any token, while scanning for the next token; indent with spaces, not tabs",
        ),
        (
            "listen: \"127.0.0.1",
            "1:19: found unexpected end of stream, while scanning a quoted scalar at line 1 column 9",
        ),
        (
            "? [a, b]\n: c",
            "1:3: invalid type: sequence, expected the name of a key",
        ),
    ] {
        assert_eq!(
            resolve(text.as_bytes()).unwrap_err(),
            format!("sample.yaml:{expected}"),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_inside_a_list_has_its_place_too() {
    for (rules, expected) in [
        (
            "  - host: x\n    prots: [1]",
            "4:5: unknown key `prots` in `policy.allow[0]`; did you mean `ports`?",
        ),
        (
            "  - {host: x}\n  - {ports: [1],\n     hots: y}",
            "5:6: unknown key `hots` in `policy.allow[1]`; did you mean `host`?",
        ),
        (
            "  - host: x\n    ports: [80, 70000]",
            "4:17: policy.allow[0].ports[1]: invalid value: integer `70000`, expected u16",
        ),
        (
            "  - host: a\n  - host: B",
            "4:11: policy.allow[1].host: hosts are written in lower case",
        ),
        (
            "  - host: a\n    host: b",
            "3:5: policy.allow[0]: duplicate entry with key \"host\"",
        ),
        (
            "  - x",
            "3:5: policy.allow[0]: invalid type: string \"x\", expected struct Rule",
        ),
    ] {
        let text = format!("policy:\n  allow:\n{rules}");
        assert_eq!(
            resolve(text.as_bytes()).unwrap_err(),
            format!("sample.yaml:{expected}"),
            "{text}"
        );
    }
}

#[test]
fn a_file_that_is_no_text_is_refused_where_it_stops_being_one() {
    assert_eq!(
        resolve(b"# fine\nab\xff").unwrap_err(),
        "sample.yaml:2:3: the file is not UTF-8 text"
    );
    assert_eq!(
        resolve(b"\xff\xfel\0i\0").unwrap_err(),
        "sample.yaml:1:1: the file is not UTF-8 text"
    );
    assert_eq!(
        resolve(b"listen: 1.2.3.4:5\n---\nlisten: 1.2.3.4:5").unwrap_err(),
        "sample.yaml:1:1: deserializing from YAML containing more than one document is not supported"
    );
}

#[test]
fn a_bad_layer_is_refused_even_where_another_goes_over_it() {
    let (_dir, path) = Dir::with(b"limits:\n  clients: many\n");
    let error = Layers::new(SCHEMA)
        .file(Some(&path))
        .unwrap()
        .flag("limits.clients", "--clients", Some("3".into()))
        .resolve::<Sample>()
        .unwrap_err();
    assert!(error.to_string().contains(":2:12: limits.clients: "), "{error}");
}

#[test]
fn a_bad_variable_or_flag_is_named() {
    for (name, value, expected) in [
        (
            "FLUIDITY_LIMITS_IDLE_TIME",
            "soon",
            "limits.idle-time: `soon` is not a duration",
        ),
        (
            "FLUIDITY_LIMITS_CLIENTS",
            "many",
            "limits.clients: invalid type: string \"many\", expected u32",
        ),
        (
            "FLUIDITY_LIMITS_CLIENTS",
            "[",
            "did not find expected node content",
        ),
        (
            "FLUIDITY_POLICY_ALLOW",
            "[{hots: x}]",
            "unknown key `hots` in `policy.allow[0]`; did you mean `host`?",
        ),
        (
            "FLUIDITY_POLICY_ALLOW",
            "[{host: x}, {host: X}]",
            "policy.allow[1].host: hosts are written in lower case",
        ),
    ] {
        let error = env(&[(name, value)]).resolve::<Sample>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("${name}: {expected}")), "{error}");
    }
    for value in ["here", ""] {
        let error = Layers::new(SCHEMA)
            .flag("listen", "--listen", Some(value.into()))
            .resolve::<Sample>()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "--listen: listen: invalid socket address syntax"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused_and_others_are_left_alone() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = || OsString::from_vec(vec![b'a', 0xff]);
    let foreign = [(bytes(), bytes()), (OsString::from("PATH"), bytes())];
    assert!(Layers::new(SCHEMA).env(foreign).resolve::<Sample>().is_ok());
    let error = Layers::new(SCHEMA)
        .env([("FLUIDITY_LISTEN", bytes())])
        .resolve::<Sample>()
        .unwrap_err();
    assert_eq!(error.to_string(), "$FLUIDITY_LISTEN: the value is not UTF-8 text");
}

#[test]
fn no_error_tells_a_secret() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the fields are only there to be checked")]
    struct Picky {
        server: PickyServer,
    }
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "the fields are only there to be checked")]
    struct PickyServer {
        password: std::net::SocketAddr,
    }
    let error = env(&[("FLUIDITY_SERVER_PASSWORD", "hunter2")])
        .resolve::<Picky>()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("$FLUIDITY_SERVER_PASSWORD: server.password: this value cannot be used")
    );
    for text in [
        "server: hunter2",
        "server: {password: {x: hunter2}}",
        "server: {password: [hunter2]}",
        "server: {passwort: hunter2}",
        "server: {password: hunter2",
        "server: {password: hunter2, password: hunter2}",
        "password hunter2",
        "server: !hunter2\n  password: hunter2",
        "server:\n  password: 'hunter2' x",
    ] {
        let error = resolve(text.as_bytes()).map(drop).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn a_missing_file_and_a_huge_one_say_so() {
    let refusal = |path: &Path| Layers::new(SCHEMA).file(Some(path)).unwrap_err().to_string();
    let (dir, path) = Dir::with(&[b'#'; 1024 * 1024 + 1]);
    assert_eq!(
        refusal(&path),
        format!(
            "the configuration {} is longer than 1 MiB: is it the right file?",
            path.display()
        )
    );
    let missing = dir.0.join("agent.yaml");
    assert_eq!(
        refusal(&missing),
        format!(
            "cannot read the configuration {}: there is no such file; check the path",
            missing.display()
        )
    );
    #[cfg(unix)]
    assert_eq!(
        refusal(&dir.0),
        format!(
            "cannot read the configuration {}: it is a directory; name the file in it",
            dir.0.display()
        )
    );
    std::fs::write(&path, [b'#'; 1024 * 1024]).unwrap();
    assert!(Layers::new(SCHEMA).file(Some(&path)).is_ok());
}

#[test]
fn a_daemon_can_ask_for_more_and_name_the_place() {
    let (_dir, path) = Dir::with(b"limits:\n  clients: 5000\n");
    let resolved = Layers::new(SCHEMA)
        .file(Some(&path))
        .unwrap()
        .flag("server.address", "--server", None)
        .resolve::<Sample>()
        .unwrap();
    let origins = &resolved.origins;
    assert_eq!(origins.within("limits.clients", 7, 1..=9).unwrap(), 7);
    assert_eq!(
        origins
            .within("limits.clients", resolved.value.limits.clients, 1..=4096)
            .unwrap_err()
            .to_string(),
        format!(
            "{}:2:12: limits.clients: must be between 1 and 4096, not 5000",
            path.display()
        )
    );
    assert_eq!(
        origins.missing("server.address").to_string(),
        "`server.address` is not set: set it in the configuration file, the flag --server or the variable FLUIDITY_SERVER_ADDRESS"
    );
}
