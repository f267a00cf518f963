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
            "4:12: limits.clients: must be a whole number from 0 to 4294967295, not `many`",
        ),
        (
            "limits:\n  clients: -1",
            "2:12: limits.clients: must be a whole number from 0 to 4294967295, not `-1`",
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
            "3:1: `listen` is here for the second time (the first is in line 1); keep one of the two",
        ),
        (
            "server: {}\nlimits: {}\nserver: {}",
            "3:1: `server` is here for the second time (the first is in line 1); keep one of the two",
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
            "1:11: listen: `localhost` is no address of this machine; write one with a port, such as 127.0.0.1:8080 (this machine alone) or 0.0.0.0:8080 (every network), or a port alone",
        ),
        (
            "listen: [1, 2]",
            "1:9: listen: must be a text, not a list; the [ is not closed, or something in it needs quotes; for a text that begins with [, write listen: '…', in single quotes",
        ),
        (
            "server:\n\taddress: x",
            "2:1: found character that cannot start any token, while scanning for the next token; indent with spaces, not tabs",
        ),
        (
            "listen: \"127.0.0.1",
            "1:19: found unexpected end of stream, while scanning a quoted scalar at line 1 column 9; the quote is not closed, or something follows it",
        ),
        ("? [a, b]\n: c", "1:3: must be the name of a key, not a list"),
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
            "4:17: policy.allow[0].ports[1]: must be a whole number from 0 to 65535, not `70000`",
        ),
        (
            "  - host: a\n  - host: B",
            "4:11: policy.allow[1].host: hosts are written in lower case",
        ),
        (
            "  - host: a\n    host: b",
            "3:5: policy.allow[0]: `host` is here for the second time; keep one of the two",
        ),
        (
            "  - x",
            "3:5: policy.allow[0]: must be keys and values, such as { key: value }, not `x`",
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
        "sample.yaml:2:3: the file is not UTF-8 text; save it as UTF-8"
    );
    assert_eq!(
        resolve(b"\xff\xfel\0i\0").unwrap_err(),
        "sample.yaml:1:1: the file is UTF-16 text; save it as UTF-8 (Notepad: Encoding; PowerShell: -Encoding utf8)"
    );
    assert_eq!(
        resolve(b"listen: 1.2.3.4:5\n---\nlisten: 1.2.3.4:5").unwrap_err(),
        "sample.yaml:1:1: the file has several documents, divided by lines of `---`; keep one"
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
            "limits.clients: must be a whole number from 0 to 4294967295, not `many`",
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
    for (value, said) in [("here", "`here` is no address"), ("", "the address is empty")] {
        let error = Layers::new(SCHEMA)
            .flag("listen", "--listen", Some(value.into()))
            .resolve::<Sample>()
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&format!("--listen: listen: {said}")), "{error}");
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
        format!(
            "`server.address` is not set: set it in {}, or use the flag --server or the variable FLUIDITY_SERVER_ADDRESS",
            path.display()
        )
    );
}

#[test]
fn a_key_in_the_wrong_place_or_file_is_told_its_place() {
    for (text, expected) in [
        (
            "server:\naddress: x",
            "2:1: unknown key `address`; did you mean `server.address`? Write it below its section, such as `server:`, and \
             indented by two spaces",
        ),
        (
            "limits:\n  address: x",
            "2:3: unknown key `address` in `limits`; did you mean `server.address`?",
        ),
        (
            "server:\n  address: x\n  listen: 1.2.3.4:5",
            "3:3: unknown key `listen` in `server`; `listen` belongs to no section",
        ),
        (
            "songs: []",
            "1:1: `songs` is a key of sampler, and this is sample: give each program its own file (-c)",
        ),
        ("server:\n  address: x\n   password: y", "3:"),
        ("server:\n    address: x\n  password: y", "3:"),
    ] {
        let said = resolve(text.as_bytes()).unwrap_err();
        assert!(
            said.starts_with(&format!("sample.yaml:{expected}")),
            "{text}: {said}"
        );
        if expected == "3:" {
            assert!(said.contains("this line is indented by"), "{text}: {said}");
        }
    }
}

#[test]
fn a_value_that_needs_quotes_is_told_how_it_is_written() {
    for value in [
        "@hunter2",
        "*hunter2",
        "&hunter2",
        "!hunter2",
        "%hunter2",
        "`hunter2",
        "hunter2: x",
        "|hunter2",
        "{hunter2",
        "[hunter2",
        "]hunter2",
        "\"hunter2\\d\"",
        "'hunt'er2'",
        "~",
        "null",
        "Null",
    ] {
        let said = resolve(format!("server:\n  password: {value}\n").as_bytes());
        let said = said.map(|found| found.value.server.password.map(|found| found.expose().to_owned()));
        let said = said.expect_err(value);
        assert!(
            said.contains("password: '") && !said.contains("hunter2"),
            "{value}: {said}"
        );
        assert!(said.starts_with("sample.yaml:"), "{value}: {said}");
    }
}

#[test]
fn a_value_in_flow_style_that_needs_quotes_is_told_so_too() {
    for value in ["*.example.com", "@x", "%x", "`x"] {
        let first = value.chars().next().unwrap();
        let text = format!("policy:\n  allow:\n    - {{ host: {value} }}\n");
        let said = resolve(text.as_bytes()).map(drop).unwrap_err();
        assert!(
            said.starts_with("sample.yaml:3:1")
                && said.contains(&format!("a value that begins with {first} needs quotes")),
            "{said}"
        );
    }
}
