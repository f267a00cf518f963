//! What a refused request asked for, and of which proxy: what the advice in its answer depends on.

use super::head::{Form, Head};
use super::presence::Presence;
use fluidity_wire::{Host, Target};
use std::net::SocketAddr;

/// One request.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Where the client found the proxy.
    here: Option<SocketAddr>,
    /// `connect`, `http` or `websocket`.
    pub(super) kind: &'static str,
    /// What was to be dialled.
    pub(super) target: Option<Target>,
}

impl Asked {
    /// A request of this client; without a head where that was not understood.
    pub(super) fn new(presence: Option<Presence>, head: Option<&Head>) -> Self {
        let form = head.map(|head| &head.form);
        Self {
            here: presence.map(|presence| presence.here()),
            kind: match form {
                Some(Form::Connect(_)) => "connect",
                Some(Form::WebSocket(_)) => "websocket",
                Some(Form::Http(_) | Form::Proxy) | None => "http",
            },
            target: form.and_then(Form::target).cloned(),
        }
    }

    /// The proxy, as clients are told of it.
    pub(super) fn proxy(&self) -> String {
        self.here.map_or_else(
            || "the address of `listen`".into(),
            |here| format!("http://{here}"),
        )
    }

    /// Whether the target is what the client calls its own machine.
    pub(super) fn is_on_this_machine(&self) -> bool {
        match self.target.as_ref().map(|target| &target.host) {
            Some(Host::V4(address)) => address.is_loopback() || address.is_unspecified(),
            Some(Host::V6(address)) => address.is_loopback() || address.is_unspecified(),
            Some(Host::Name(name)) => name == "localhost" || name.ends_with(".localhost"),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_this_machine_is_known_by_every_spelling() {
        let is = |target: &str| {
            let target = Some(Target::parse(target).unwrap());
            Asked {
                target,
                ..Asked::default()
            }
            .is_on_this_machine()
        };
        for here in [
            "localhost:1",
            "a.localhost:1",
            "127.1:1",
            "127.9.9.9:1",
            "0.0.0.0:1",
            "[::1]:1",
        ] {
            assert!(is(here), "{here}");
        }
        for elsewhere in [
            "example.com:1",
            "localhost.example:1",
            "10.0.0.1:1",
            "[fd00::1]:1",
        ] {
            assert!(!is(elsewhere), "{elsewhere}");
        }
    }
}
