//! Every key of the agent, with its default and its purpose.

use fluidity_daemon::settings::{Form, Key};

const fn key(path: &'static str, form: Form, default: &'static str, help: &'static str) -> Key {
    Key {
        path,
        form,
        default,
        help,
    }
}

pub(super) const KEYS: &[Key] = &[
    key(
        "listen",
        Form::Text,
        "127.0.0.1:8080",
        "where the proxy listens; a port alone is one of 127.0.0.1, and port 0 takes any",
    ),
    key(
        "admin",
        Form::Text,
        "127.0.0.1:8081",
        "where health, metrics and status listen; loopback only",
    ),
    key(
        "server.address",
        Form::Text,
        "",
        "the server's name or address and its UDP port; with a control plane, only where it is fixed",
    ),
    key(
        "server.name",
        Form::Text,
        "fluidity-server",
        "the name that the server's certificate must carry",
    ),
    key(
        "wake-endpoint",
        Form::Text,
        "",
        "where the control plane wakes the server; without it the server is always there",
    ),
    key(
        "kill-endpoint",
        Form::Text,
        "",
        "where the control plane stops it at once",
    ),
    key("api-key", Form::Secret, "", "the control plane's API key"),
    key(
        "api-key-file",
        Form::Text,
        "",
        "a file that holds it instead, mode 0600",
    ),
    key(
        "connection-timeout",
        Form::Text,
        "90s",
        "how long a wake may take; requests wait for it",
    ),
    key(
        "connection-retry-interval",
        Form::Text,
        "5s",
        "how often the control plane is asked meanwhile",
    ),
    key(
        "start",
        Form::Text,
        "wake",
        "wake the server when the agent starts, or on-demand: with the first request",
    ),
    key(
        "idle-disconnect",
        Form::Text,
        "15m",
        "how long nobody may want the tunnel before it is given up; 0s for never",
    ),
    key(
        "on-shutdown",
        Form::Text,
        "kill-if-last",
        "kill-if-last, kill or leave the server when the agent stops",
    ),
    key(
        "prices.hour",
        Form::Yaml,
        "0.0149",
        "an hour of a server that is awake: 0.25 vCPU and 0.5 GB on ARM, and a public address",
    ),
    key(
        "prices.gigabyte",
        Form::Yaml,
        "0.09",
        "a gigabyte that leaves the cloud",
    ),
    key("prices.currency", Form::Text, "USD", "what the prices are in"),
    key(
        "state-file",
        Form::Text,
        "",
        "where the month's account is kept; where it is not set, in STATE_DIRECTORY or the user's state directory",
    ),
    key(
        "identity.certificate",
        Form::Text,
        "",
        "the agent's certificate; paths are relative to the file",
    ),
    key("identity.key", Form::Text, "", "its private key, mode 0600"),
    key("identity.ca", Form::Text, "", "the private CA's certificate"),
    key(
        "identity.certificate-pem",
        Form::Secret,
        "",
        "the certificate itself, as a container's secret brings it; instead of the file",
    ),
    key("identity.key-pem", Form::Secret, "", "the private key itself"),
    key("identity.ca-pem", Form::Secret, "", "the private CA itself"),
    key(
        "proxy-auth.username",
        Form::Text,
        "",
        "user name that clients must send (Basic)",
    ),
    key(
        "proxy-auth.password",
        Form::Secret,
        "",
        "password that clients must send",
    ),
    key(
        "connect.timeout",
        Form::Text,
        "10s",
        "one round of connection attempts",
    ),
    key(
        "connect.retry-initial",
        Form::Text,
        "100ms",
        "pause after the first failed round; doubles, with jitter",
    ),
    key(
        "connect.retry-max",
        Form::Text,
        "5s",
        "longest pause; in the first minute it is 1 s at the most",
    ),
    key(
        "connect.request-wait",
        Form::Text,
        "15s",
        "how long a request waits for the tunnel before it gets 503",
    ),
    key(
        "connect.answer",
        Form::Text,
        "learned",
        "a CONNECT is answered when the target was reached (confirmed), before where it lately was (learned), or always",
    ),
    key(
        "quic.idle-timeout",
        Form::Text,
        "15s",
        "silence after which the connection is lost",
    ),
    key(
        "quic.keep-alive",
        Form::Text,
        "1s",
        "how often a silent connection is probed",
    ),
    key("limits.clients", Form::Yaml, "4096", "client connections at once"),
    key(
        "limits.head-timeout",
        Form::Text,
        "10s",
        "time for a request's head to arrive",
    ),
    key(
        "limits.head-size",
        Form::Text,
        "64KiB",
        "size of a request's head",
    ),
    key("limits.headers", Form::Yaml, "100", "fields in a request's head"),
    key(
        "limits.open-timeout",
        Form::Text,
        "20s",
        "time for the server to reach the target",
    ),
    key(
        "limits.session-idle",
        Form::Text,
        "1h",
        "silence after which a session is cut",
    ),
    key(
        "limits.window-memory",
        Form::Text,
        "64MiB",
        "memory for sessions that receive faster than clients read",
    ),
    key(
        "drain-grace",
        Form::Text,
        "10s",
        "how long running sessions may go on after SIGTERM or Ctrl-C",
    ),
    key(
        "log.level",
        Form::Text,
        "info",
        "error, warn, info, debug, trace, or MODULE=LEVEL,…",
    ),
    key("log.format", Form::Text, "text", "text or json"),
];
