//! The mistakes that people make in a configuration: each is told what is wrong, where, and what to do. And the values that
//! are none, however they are written.

#![cfg(unix)]

use fluidity_tests::{Scratch, TestPki, agent_file, command, fails, said, server_file, text};
use std::ffi::OsStr;
use std::fs;

const IDENTITY: &str = "identity: { certificate: a.pem, key: a.key, ca: ca.pem }\n";

#[test]
fn a_file_with_a_mistake_is_told_its_place_and_how_it_is_written() {
    let scratch = Scratch::new();
    let server = "server: { address: 'exit.example:443' }\n";
    for (text_, words) in [
        // 12, 13, 13b, 14, 15
        (
            "server:\n\taddress: exit.example:443\n",
            &["2:1", "spaces, not tabs"][..],
        ),
        (
            "server:\n  address: exit.example:443\n   name: x\n",
            &[":3:", "indented by 3 spaces", "by 0 and 2"],
        ),
        (
            "server:\naddress: exit.example:443\n",
            &["2:1", "`address`", "`server.address`", "`server:`", "indented"],
        ),
        (
            "listen: '1'\nadmin: '2'\nlisten: '3'\n",
            &["3:1", "`listen`", "second time", "line 1", "keep one"],
        ),
        (
            "limits: { clients: many }\n",
            &["1:20", "limits.clients", "a whole number", "`many`"],
        ),
        ("limits: { clients: -1 }\n", &["limits.clients", "a whole number"]),
        (
            "limits: { clients: 99999999999999999999999 }\n",
            &["1:20", "limits.clients", "a smaller number"],
        ),
        (
            " server:\n   address: exit.example:443\nlisten: '1'\n",
            &["3:1", "line 1", "by 1:", "without indentation"],
        ),
        (
            "prices: { hour: cheap }\n",
            &["prices.hour", "a number", "`cheap`"],
        ),
        (
            "connect: { answer: sometimes }\n",
            &["connect.answer", "`always`", "`sometimes`"],
        ),
        // 16b, 16c
        (
            "server: { address: 'https://exit.example:443' }\n",
            &["server.address", "is a URL", "exit.example:443"],
        ),
        (
            "server: { address: 'quic://[2001:db8::1]/' }\n",
            &["server.address", "is a URL", "[2001:db8::1]:443"],
        ),
        (
            "server: { address: '2001:db8::1:443' }\n",
            &["server.address", "brackets", "[2001:db8::1]:443"],
        ),
        (
            "server: { address: '2001:db8::1' }\n",
            &["server.address", "port is missing", "[2001:db8::1]:443"],
        ),
        (
            "listen: http://127.0.0.1:8080\n",
            &["listen", "is a URL", "127.0.0.1:8080"],
        ),
        ("listen: '::1:8080'\n", &["listen", "[::1]:8080"]),
        (
            "listen: 127.0.0.1\n",
            &["listen", "has no port", "127.0.0.1:8080"],
        ),
        (
            "listen: eth0:8080\n",
            &["listen", "no address of this machine", "127.0.0.1:8080"],
        ),
        ("listen: 99999\n", &["listen", "0 to 65535"]),
        (
            "admin: 0.0.0.0:8081\nserver: { address: 'exit.example:443' }\n",
            &["1:8", "admin", "loopback only"],
        ),
        ("drain-grace: 30\n", &["drain-grace", "`30`", "15s"]),
        // Values that YAML reads otherwise.
        (
            "proxy-auth: \n  password: @foo\n",
            &["2:", "password: '…'", "quotes"],
        ),
        (
            "proxy-auth: \n  password: *star\n",
            &["2:", "password: '…'", "quotes"],
        ),
        (
            "proxy-auth: \n  password: %x\n",
            &["2:", "password: '…'", "quotes"],
        ),
        (
            "proxy-auth: \n  password: &x\n",
            &["2:3", "password: '…'", "quotes"],
        ),
        (
            "proxy-auth: \n  password: key: value\n",
            &["2:", "password: '…'", "quotes"],
        ),
        ("proxy-auth: \n  password: null\n", &["2:3", "password: 'null'"]),
        ("proxy-auth: \n  password: ~\n", &["2:3", "password: '~'"]),
        (
            "\u{feff}listen: 1\r\nlimits:\r\n  cleints: 1\r\n",
            &["3:3", "cleints", "clients"],
        ),
        // 33
        (
            "policy: { default: deny }\n",
            &["`policy`", "fluidity-server", "-c"],
        ),
    ] {
        let file = scratch.write("agent.yaml", &format!("{text_}{IDENTITY}"));
        let said = fails(
            "fluidity",
            &["config", "check", "--offline", "-c", text(&file)],
            &[],
            words,
        );
        assert!(said.contains("agent.yaml"), "{said}");
        for word in [
            "usize",
            "u32",
            "u16",
            "f64",
            "u128",
            "struct ",
            "invalid type",
            "not closed",
        ] {
            assert!(!said.contains(word), "{said}");
        }
    }
    for key in [
        "server: { address: 'exit.example:443' }",
        "proxy-auth: { username: ann }",
        "prices: {}",
    ] {
        let file = scratch.write("agent.yaml", &format!("{key}\n{IDENTITY}"));
        let words = &["is a key of fluidity,", "this is fluidity-server", "-c"];
        fails(
            "fluidity-server",
            &["config", "check", "--offline", "-c", text(&file)],
            &[],
            words,
        );
    }
    let only = scratch.write(
        "server.yaml",
        "identity: { certificate: server-x.pem, key: x, ca: y }\n",
    );
    let words = &["`server.address`", "server-x.pem", "fluidity-server"];
    fails("fluidity", &["config", "check", "-c", text(&only)], &[], words);

    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(server.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let file = scratch.path().join("utf16.yaml");
    fs::write(&file, utf16).expect("write");
    fails(
        "fluidity",
        &["config", "check", "-c", text(&file)],
        &[],
        &["utf16.yaml:1:1", "UTF-16", "UTF-8"],
    );
}

#[test]
fn values_are_taken_as_people_write_them() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    for (listen, address) in [
        ("8080", "127.0.0.1:8080"),
        (":8080", "127.0.0.1:8080"),
        ("localhost:8080", "127.0.0.1:8080"),
        ("0.0.0.0:8080", "0.0.0.0:8080"),
    ] {
        let file = agent_file(&scratch, &pki, |settings| {
            settings
                .set("listen", listen)
                .set("drain-grace", "1m30s")
                .set("limits.head-size", "0.5M");
        });
        let output = command("fluidity", &["config", "check", "-c", &file], &[])
            .output()
            .expect("run");
        assert!(output.status.success(), "{listen}: {}", said(&output));
        assert!(
            said(&output).contains(&format!("proxy     {address}\n")),
            "{}",
            said(&output)
        );
        // The same by a flag and by a variable, as docker's --env-file brings it.
        let quoted = format!("\"{listen}\"\n");
        let env = [("FLUIDITY_LISTEN", quoted.as_ref())];
        for (args, env) in [(vec!["--listen", listen], &[][..]), (vec![], &env[..])] {
            let args = [&["config", "check", "-c", &file][..], &args].concat();
            let output = command("fluidity", &args, env).output().expect("run");
            assert!(
                said(&output).contains(&format!("proxy     {address}\n")),
                "{}",
                said(&output)
            );
        }
    }
    for (listen, address) in [
        ("4433", "[::]:4433"),
        (":4433", "[::]:4433"),
        ("localhost:4433", "127.0.0.1:4433"),
    ] {
        let file = server_file(&scratch, &pki, |settings| {
            settings.set("listen", listen).set("admin", "9000");
        });
        let output = command("fluidity-server", &["config", "check", "-c", &file], &[])
            .output()
            .expect("run");
        let said = said(&output);
        assert!(
            said.contains(&format!("listen    {address} (UDP)\nadmin     127.0.0.1:9000\n")),
            "{said}"
        );
    }
    // Empty variables set nothing, not even the file.
    let file = agent_file(&scratch, &pki, |_| {});
    let empty: &OsStr = "".as_ref();
    let env = [
        ("FLUIDITY_LISTEN", empty),
        ("FLUIDITY_CONFIG", empty),
        ("FLUIDITY_API_KEY", empty),
    ];
    let output = command("fluidity", &["config", "check", "-c", &file], &env)
        .output()
        .expect("run");
    assert!(output.status.success(), "{}", said(&output));
    let words = &[
        "`server.address` is not set",
        "no configuration file was read",
        "-c PATH",
        "--server",
    ];
    fails("fluidity", &["run"], &env, words);
}

#[test]
fn regression_a_key_that_is_pasted_where_a_file_is_named_is_told_and_shown_nowhere() {
    let (pki, scratch) = (TestPki::new(), Scratch::new());
    let key = fs::read_to_string(pki.file("laptop.key")).expect("read");
    let secret = key.lines().nth(1).expect("the key's first line");
    let block = key
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect::<String>();
    let escaped = key.replace('\n', "\\n");
    let rest = "  certificate: a.pem\n  ca: ca.pem\n";
    for (program, text_) in [
        ("fluidity", "server: { address: 'exit.example:443' }\n"),
        ("fluidity-server", ""),
    ] {
        let files = [
            format!("identity:\n{rest}  key: |\n{block}"),
            format!("identity:\n{rest}  key: '{escaped}'\n"),
        ];
        for command in [&["config", "check"][..], &["config", "show"], &["run"]] {
            for file in &files {
                let file = scratch.write("pasted.yaml", &format!("{text_}{file}"));
                let words = &[
                    "pasted.yaml:",
                    "identity.key: ",
                    "names a file",
                    "identity.key-pem",
                ];
                let said = fails(program, &[command, &["-c", text(&file)]].concat(), &[], words);
                assert!(!said.contains(secret), "{said}");
            }
            let file = scratch.write("file.yaml", &format!("{text_}{IDENTITY}"));
            let env = [("FLUIDITY_IDENTITY_KEY", key.as_ref())];
            let words = &[
                "$FLUIDITY_IDENTITY_KEY",
                "identity.key: ",
                "FLUIDITY_IDENTITY_KEY_PEM",
            ];
            let said = fails(program, &[command, &["-c", text(&file)]].concat(), &env, words);
            assert!(!said.contains(secret), "{said}");
        }
    }
    // Where no text belongs at all, and what is left of it without its lines.
    let bare = key
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect::<String>();
    let file = scratch.write(
        "file.yaml",
        &format!("server: {{ address: 'exit.example:443' }}\n{IDENTITY}"),
    );
    for (variable, value, words) in [
        (
            "FLUIDITY_LOG_LEVEL",
            &key,
            &["log.level: ", "it does not belong here"][..],
        ),
        (
            "FLUIDITY_IDENTITY_KEY",
            &bare,
            &["identity.key: ", "identity.key-pem"],
        ),
    ] {
        let env = [(variable, value.as_ref())];
        let said = fails("fluidity", &["config", "show", "-c", text(&file)], &env, words);
        assert!(!said.contains(secret), "{said}");
    }
    // An API key in its neighbours.
    let secret = "Xy12Xy34Xy56Xy78Xy90Xy12";
    let url = format!("https://ann:{secret}@api.example/wake");
    for (key, value, words) in [
        ("api-key-file", secret, &["no such file", "api-key, "][..]),
        ("wake-endpoint", secret, &["not a URL", "api-key)"]),
        ("wake-endpoint", &url, &["user name or password"]),
    ] {
        let file = agent_file(&scratch, &pki, |settings| {
            settings
                .set("wake-endpoint", "https://api.example/wake")
                .set(key, value);
        });
        let said = fails(
            "fluidity",
            &["config", "check", "--offline", "-c", &file],
            &[],
            words,
        );
        assert!(!said.contains(secret), "{said}");
    }
}
