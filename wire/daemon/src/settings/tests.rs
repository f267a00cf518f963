//! Layers, origins and renderings of settings; `refusals` has what is not taken.

mod refusals;

use super::*;
use crate::secret::Secret;
use crate::units::{ByteSize, HumanDuration};
use serde::Deserialize;

/// Keys with a default need no `Option`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sample {
    listen: crate::listen::Listen,
    #[serde(default)]
    server: Server,
    limits: Limits,
    #[serde(default)]
    policy: Policy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Server {
    address: Option<String>,
    password: Option<Secret>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[expect(dead_code, reason = "some fields are only there to be checked")]
struct Limits {
    clients: u32,
    idle_time: HumanDuration,
    memory: ByteSize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Policy {
    allow: Vec<Rule>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Rule {
    host: Option<Lower>,
    ports: Vec<u16>,
}

/// A type that refuses by itself, after the library handed the text over.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Lower(String);

impl TryFrom<String> for Lower {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.chars().any(char::is_uppercase) {
            true => Err("hosts are written in lower case"),
            false => Ok(Self(text)),
        }
    }
}

const fn key(path: &'static str, form: Form, default: &'static str) -> Key {
    Key {
        path,
        form,
        default,
        help: "what it is for",
    }
}

const SCHEMA: Schema = Schema {
    program: "sample",
    other: Some(Other {
        program: "sampler",
        sections: &["songs"],
    }),
    keys: &[
        key("listen", Form::Text, "127.0.0.1:8080"),
        key("server.address", Form::Text, ""),
        key("server.password", Form::Secret, ""),
        key("limits.clients", Form::Yaml, "100"),
        key("limits.idle-time", Form::Text, "1h"),
        key("limits.memory", Form::Text, "64MiB"),
        key("policy.allow", Form::Records(&["host", "ports"]), ""),
    ],
};

/// A directory of its own, removed in the end.
struct Dir(PathBuf);

impl Dir {
    fn with(bytes: &[u8]) -> (Self, PathBuf) {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("fluidity-settings-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("sample.yaml");
        std::fs::write(&path, bytes).unwrap();
        (Self(directory), path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn resolve(bytes: &[u8]) -> Result<Resolved<Sample>, String> {
    let (_dir, path) = Dir::with(bytes);
    let resolved = Layers::new(SCHEMA)
        .file(Some(&path))
        .and_then(Layers::resolve::<Sample>);
    resolved.map_err(|error| {
        error
            .to_string()
            .replace(&path.display().to_string(), "sample.yaml")
    })
}

fn env(pairs: &[(&str, &str)]) -> Layers {
    Layers::new(SCHEMA).env(pairs.iter().copied())
}

#[test]
fn an_empty_file_and_empty_sections_are_fine() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "server:\nlimits:\n  clients:\n",
        "\u{feff}server: ~\r\nlimits: {clients: null}\r\n",
    ] {
        let resolved = resolve(text.as_bytes()).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(resolved.value.limits.clients, 100, "{text}");
        assert_eq!(resolved.origins.of("limits.clients"), Origin::Default, "{text}");
    }
}

#[test]
fn texts_stay_what_was_written() {
    for (written, read) in [
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("true", "true"),
        ("1.50", "1.50"),
        ("'~'", "~"),
        ("\"a: b\"", "a: b"),
    ] {
        let text = format!("server: {{address: {written}, password: {written}}}");
        let server = resolve(text.as_bytes()).unwrap().value.server;
        assert_eq!(server.address.as_deref(), Some(read));
        assert_eq!(server.password.as_ref().map(Secret::expose), Some(read));
    }
}

#[test]
fn anchors_are_followed_and_bounded() {
    let resolved = resolve(b"server: {address: &a x.example, password: *a}").unwrap();
    assert_eq!(
        resolved.value.server.password.as_ref().map(Secret::expose),
        Some("x.example")
    );
    let mut bomb = String::from("policy:\n  allow:\n  - &l0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let last = format!("*l{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("  - &l{level} [{last}]\n"));
    }
    assert!(resolve(bomb.as_bytes()).unwrap_err().contains("repetition limit"));
}

#[test]
fn flags_go_over_variables_over_the_file_over_defaults() {
    let (_dir, path) = Dir::with(b"limits:\n  clients: 1\n");
    for layers in 0..8_u8 {
        let (file, env, flag) = (layers & 1 != 0, layers & 2 != 0, layers & 4 != 0);
        let resolved = Layers::new(SCHEMA)
            .file(file.then_some(path.as_path()))
            .unwrap()
            // The flag is added first: the order of precedence is not that of the calls.
            .flag("limits.clients", "--clients", flag.then(|| "3".to_owned()))
            .env(env.then_some(("FLUIDITY_LIMITS_CLIENTS", "2")))
            .resolve::<Sample>()
            .unwrap();
        let (value, origin) = match (file, env, flag) {
            (_, _, true) => (3, "--clients".to_owned()),
            (_, true, false) => (2, "$FLUIDITY_LIMITS_CLIENTS".to_owned()),
            (true, false, false) => (1, format!("{}:2:12", path.display())),
            (false, false, false) => (100, "default".to_owned()),
        };
        assert_eq!(resolved.value.limits.clients, value);
        let (rendered, line) = (
            resolved.origins.render(),
            format!("limits.clients: {value}  # {origin}"),
        );
        assert!(
            rendered.lines().any(|rendered| rendered == line),
            "{line} is not in\n{rendered}"
        );
    }
}

#[test]
fn an_unknown_variable_is_a_warning_and_an_empty_one_is_nothing() {
    let variables = [
        ("FLUIDITY_LISTN", "x"),
        ("FLUIDITY_CACHE_DIR", "x"),
        ("FLUIDITY_LISTEN", ""),
        ("PATH", "x"),
    ];
    let resolved = Layers::new(SCHEMA).env(variables).resolve::<Sample>().unwrap();
    assert_eq!(
        resolved.warnings,
        ["$FLUIDITY_LISTN is no setting of this daemon; did you mean `FLUIDITY_LISTEN`?"]
    );
    assert_eq!(resolved.origins.of("listen"), Origin::Default);
}

#[test]
fn a_secret_is_shown_nowhere() {
    let (_dir, path) = Dir::with(b"server:\n  password: hunter2\n  address: example.com\n");
    let layers = Layers::new(SCHEMA)
        .file(Some(&path))
        .unwrap()
        .env([("FLUIDITY_SERVER_PASSWORD", "hunter2")])
        .flag("server.password", "--password", Some("hunter2".into()));
    assert!(!format!("{layers:?}").contains("hunter2"));
    let resolved = layers.resolve::<Sample>().unwrap();
    assert_eq!(
        resolved.value.server.password.as_ref().map(Secret::expose),
        Some("hunter2")
    );
    let rendered = resolved.origins.render();
    assert!(!format!("{resolved:?}{rendered}").contains("hunter2"));
    assert!(
        rendered.contains("server.password: (set, redacted)  # --password\n"),
        "{rendered}"
    );
    assert!(
        rendered.contains(&format!(
            "server.address: example.com  # {}:3:12\n",
            path.display()
        )),
        "{rendered}"
    );
}

#[test]
fn lists_come_from_variables_in_flow_style() {
    let resolved = env(&[("FLUIDITY_POLICY_ALLOW", "[{host: x, ports: [1, 2]}]")])
        .resolve::<Sample>()
        .unwrap();
    let rule = resolved.value.policy.allow.first().unwrap();
    assert_eq!(
        (rule.host.as_ref().unwrap().0.as_str(), rule.ports.as_slice()),
        ("x", &[1, 2][..])
    );
    let line = r#"policy.allow: [{"host":"x","ports":[1,2]}]  # $FLUIDITY_POLICY_ALLOW"#;
    assert!(resolved.origins.render().contains(line));
}

#[test]
fn a_line_of_the_rendering_cannot_be_forged() {
    let rendered = env(&[("FLUIDITY_SERVER_ADDRESS", "x\nlisten: 0.0.0.0:1")])
        .resolve::<Sample>()
        .unwrap()
        .origins
        .render();
    assert_eq!(rendered.lines().count(), SCHEMA.keys.len(), "{rendered}");
}

#[test]
fn a_path_from_the_file_is_relative_to_the_file() {
    let (dir, path) = Dir::with(b"server: {address: a.pem}\n");
    let origins = |layers: Layers| layers.resolve::<Sample>().unwrap().origins;
    let from_file = origins(Layers::new(SCHEMA).file(Some(&path)).unwrap());
    assert_eq!(
        from_file.relative("server.address", Path::new("a.pem")),
        dir.0.join("a.pem")
    );
    assert_eq!(
        from_file.relative("server.address", Path::new("/a.pem")),
        Path::new("/a.pem")
    );
    let from_env = origins(
        Layers::new(SCHEMA)
            .file(Some(&path))
            .unwrap()
            .env([("FLUIDITY_SERVER_ADDRESS", "a.pem")]),
    );
    assert_eq!(
        from_env.relative("server.address", Path::new("a.pem")),
        Path::new("a.pem")
    );
}

#[test]
fn the_manual_names_every_key_with_its_variable() {
    let table = SCHEMA.markdown();
    assert!(
        table.contains("| `limits.idle-time` | `1h` | `FLUIDITY_LIMITS_IDLE_TIME` | what it is for |\n"),
        "{table}"
    );
    assert_eq!(table.lines().count(), SCHEMA.keys.len() + 2);
}

#[test]
fn a_value_is_what_its_author_wrote_whatever_is_around_it() {
    let password = |resolved: Resolved<Sample>| resolved.value.server.password.unwrap().expose().to_owned();
    for written in [
        "hunter2",
        "'hunter2'",
        "\"hunter2\\r\\n\"",
        "|\n    hunter2\n",
        "hunter2  # not a part of it",
    ] {
        let text = format!("server:\n  password: {written}\n");
        assert_eq!(
            password(resolve(text.as_bytes()).unwrap()),
            "hunter2",
            "{written}"
        );
    }
    for scalar in [
        "12345",
        "yes",
        "0x1f",
        "1e3",
        "1.50",
        "true",
        "a#b",
        "0o17",
        "2026-11-28",
    ] {
        let text = format!("server:\r\n  password: {scalar}\r\n");
        assert_eq!(password(resolve(text.as_bytes()).unwrap()), scalar);
        let variable = [("FLUIDITY_SERVER_PASSWORD", scalar)];
        assert_eq!(password(env(&variable).resolve().unwrap()), scalar);
    }
    for value in ["hunter2\n", "hunter2\r\n", "\u{feff}hunter2"] {
        let resolved = env(&[("FLUIDITY_SERVER_PASSWORD", value)]).resolve().unwrap();
        assert_eq!(password(resolved), "hunter2", "{value:?}");
    }
    for value in [
        " 127.0.0.1:1 ",
        "\"127.0.0.1:1\"",
        "'127.0.0.1:1'\n",
        "127.0.0.1:1\r\n",
    ] {
        let resolved = env(&[("FLUIDITY_LISTEN", value)]).resolve::<Sample>().unwrap();
        let listen = resolved.value.listen.on(std::net::Ipv4Addr::LOCALHOST.into());
        assert_eq!(listen, "127.0.0.1:1".parse().unwrap(), "{value:?}");
    }
    for written in ["'77'", "\"77\"", "77"] {
        let text = format!("limits: {{ clients: {written} }}");
        assert_eq!(
            resolve(text.as_bytes()).unwrap().value.limits.clients,
            77,
            "{written}"
        );
        let resolved = env(&[("FLUIDITY_LIMITS_CLIENTS", written)]).resolve::<Sample>();
        assert_eq!(resolved.unwrap().value.limits.clients, 77, "{written}");
    }
}

#[test]
fn what_a_secret_may_have_lost_is_warned_of() {
    let resolved = resolve(b"server:\n  password: hunter2 #x\n").unwrap();
    assert!(
        resolved.warnings.len() == 1
            && resolved.warnings[0].contains(":2:3: server.password: ends before the #")
            && !resolved.warnings[0].contains("hunter2"),
        "{:?}",
        resolved.warnings
    );
    let resolved = resolve(b"server:\n  password: #hunter2\n").unwrap();
    assert!(
        resolved.warnings[0].contains("server.password: has no value")
            && !resolved.warnings[0].contains("hunter2"),
        "{:?}",
        resolved.warnings
    );
    let resolved = resolve(b"server:\n  address: null\n").unwrap();
    assert!(
        resolved.warnings[0].contains(":2:3: server.address: null without quotes sets nothing"),
        "{:?}",
        resolved.warnings
    );
    let resolved = env(&[("FLUIDITY_SERVER_PASSWORD", "\"hunter2\"")])
        .resolve::<Sample>()
        .unwrap();
    assert!(
        resolved.warnings[0].contains("the quotes around the value of $FLUIDITY_SERVER_PASSWORD"),
        "{:?}",
        resolved.warnings
    );
}

#[test]
fn a_path_at_home_is_one_there() {
    let (_dir, path) = Dir::with(b"server: {address: '~/a.pem'}\n");
    let origins = Layers::new(SCHEMA)
        .file(Some(&path))
        .unwrap()
        .resolve::<Sample>()
        .unwrap()
        .origins;
    let home = std::env::var("HOME").unwrap();
    assert_eq!(
        origins.relative("server.address", Path::new("~/a.pem")),
        Path::new(&home).join("a.pem")
    );
}
