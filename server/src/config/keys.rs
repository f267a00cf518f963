//! Every key of the server, with its default and its purpose.

use fluidity_daemon::settings::{Form, Key};

const fn key(path: &'static str, form: Form, default: &'static str, help: &'static str) -> Key {
    Key {
        path,
        form,
        default,
        help,
    }
}

/// What a rule of the policy may say.
const RULE: Form = Form::Records(&["host", "cidr", "ports", "agents"]);

pub(super) const KEYS: &[Key] = &[
    key(
        "listen",
        Form::Text,
        "[::]:443",
        "where the server speaks QUIC (UDP); `[::]`, or a port alone, is IPv4 too",
    ),
    key(
        "admin",
        Form::Text,
        "127.0.0.1:8082",
        "where health, metrics and status listen; loopback only",
    ),
    key(
        "health.listen",
        Form::Text,
        "",
        "a TCP port that takes connections while the server takes agents, for load balancers",
    ),
    key(
        "identity.certificate",
        Form::Text,
        "",
        "the server's certificate; paths are relative to the file",
    ),
    key("identity.key", Form::Text, "", "its private key, mode 0600"),
    key(
        "identity.ca",
        Form::Text,
        "",
        "the private CA whose agents are served",
    ),
    key(
        "identity.certificate-pem",
        Form::Secret,
        "",
        "the certificate itself, as a container's secret brings it; instead of the file",
    ),
    key("identity.key-pem", Form::Secret, "", "the private key itself"),
    key("identity.ca-pem", Form::Secret, "", "the private CA itself"),
    key(
        "policy.default",
        Form::Text,
        "allow",
        "allow or deny public addresses that no rule names",
    ),
    key(
        "policy.allow",
        RULE,
        "[]",
        "rules that open; only one with a cidr opens private and own addresses",
    ),
    key(
        "policy.deny",
        RULE,
        "[]",
        "rules that close; they win over policy.allow",
    ),
    key(
        "dns.servers",
        Form::Yaml,
        "[]",
        "name servers as address or address:port; the system's where empty",
    ),
    key(
        "dns.timeout",
        Form::Text,
        "3s",
        "how long one question to a name server may take; asked twice",
    ),
    key(
        "dns.cache-entries",
        Form::Yaml,
        "1024",
        "answers that are kept while their TTL lasts",
    ),
    key(
        "dial.timeout",
        Form::Text,
        "10s",
        "time to reach a target, name resolution and retries included",
    ),
    key(
        "dial.attempts",
        Form::Yaml,
        "3",
        "rounds over a target's addresses before it counts as failed",
    ),
    key(
        "dial.retry-initial",
        Form::Text,
        "100ms",
        "pause after the first failed round; doubles, with jitter",
    ),
    key(
        "breaker.failures",
        Form::Yaml,
        "10",
        "failed dials of an agent in a row after which it has the target left alone",
    ),
    key(
        "breaker.open-for",
        Form::Text,
        "5s",
        "how long it is left alone at first; doubles up to a minute",
    ),
    key(
        "breaker.targets",
        Form::Yaml,
        "4096",
        "failing targets that are remembered, of all agents together",
    ),
    key(
        "quic.idle-timeout",
        Form::Text,
        "15s",
        "silence after which a connection is lost",
    ),
    key(
        "limits.connections",
        Form::Yaml,
        "256",
        "agents' connections at once",
    ),
    key(
        "limits.connections-per-agent",
        Form::Yaml,
        "4",
        "connections of one agent: two machines, each with one that takes over from another",
    ),
    key("limits.sessions", Form::Yaml, "16384", "sessions at once"),
    key(
        "limits.sessions-per-agent",
        Form::Yaml,
        "4096",
        "sessions of one agent",
    ),
    key(
        "limits.open-timeout",
        Form::Text,
        "10s",
        "time for an agent to say what a new session is for",
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
        "96MiB",
        "memory for all agents that send faster than targets read; one agent may hold half",
    ),
    key(
        "limits.memory",
        Form::Text,
        "",
        "resident memory past which an agent that costs too much is cut off; three quarters of the container's if not set",
    ),
    key(
        "cloudwatch.cluster-name",
        Form::Text,
        "",
        "the ECS cluster; set together with the service, it has CloudWatch told of activity",
    ),
    key("cloudwatch.service-name", Form::Text, "", "the ECS service"),
    key(
        "cloudwatch.task-id",
        Form::Text,
        "",
        "the ECS task; asked of the container's metadata where it is not set",
    ),
    key(
        "cloudwatch.period",
        Form::Text,
        "60s",
        "how often CloudWatch is told; 10s at the least",
    ),
    key(
        "drain-grace",
        Form::Text,
        "25s",
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
