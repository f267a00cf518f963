//! Which fields pass and which stay between two neighbours (RFC 9110 §7.6).
//!
//! No `Via` is added: it would tell every site that the visitor uses a proxy, and which (RFC 9110 §7.6.3 lets a proxy
//! that acts for the client do without where privacy asks for it). Loops cannot form: the agent's own port is on a
//! loopback address, which servers deny.

use super::framing::Framing;
use super::head::Origin;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use std::collections::HashSet;

/// The fields that the origin gets: the client's without those that were for the proxy, under the target's own `Host`.
pub(super) fn for_origin(from_client: &HeaderMap, origin: &Origin, framing: Framing) -> HeaderMap {
    let listed = listed(from_client);
    let mut fields = HeaderMap::with_capacity(from_client.len() + 2);
    // RFC 9112 §3.2.2: the Host that was received is ignored. It goes first (RFC 9110 §7.2).
    if let Ok(host) = HeaderValue::from_str(&origin.authority) {
        fields.insert(HOST, host);
    }
    for (name, value) in from_client {
        if *name != HOST && !is_hop_by_hop(name) && !listed.contains(name) {
            fields.append(name, value.clone());
        }
    }
    if from_client
        .get_all(TE)
        .iter()
        .any(|value| mentions(value, "trailers"))
    {
        // The client takes trailers, and so does this proxy (RFC 9110 §10.1.4).
        fields.insert(TE, HeaderValue::from_static("trailers"));
        fields.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    match framing {
        Framing::Chunked(_) | Framing::Broken => {
            // Said here, because hyper gives a GET no body of unknown length by itself.
            fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        Framing::Length(length) => {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Framing::None => {}
    }
    fields
}

/// The same for a WebSocket handshake, which asks for the upgrade anew.
pub(super) fn for_upgrade(from_client: &HeaderMap, origin: &Origin) -> HeaderMap {
    let mut fields = for_origin(from_client, origin, Framing::None);
    ask_for_websocket(&mut fields);
    fields
}

/// Takes out of an answer what was between the origin and the proxy, and what it says in the proxy's name.
pub(super) fn for_client(from_origin: &mut HeaderMap) {
    let listed = listed(from_origin);
    let drop: Vec<HeaderName> = from_origin
        .keys()
        .filter(|name| is_hop_by_hop(name) || listed.contains(*name))
        .cloned()
        .collect();
    for name in drop {
        from_origin.remove(name);
    }
    if from_origin.get_all(PROXY_STATUS).iter().any(names_this_proxy) {
        let others: Vec<HeaderValue> = from_origin
            .get_all(PROXY_STATUS)
            .iter()
            .filter(|value| !names_this_proxy(value))
            .cloned()
            .collect();
        from_origin.remove(PROXY_STATUS);
        for value in others {
            from_origin.append(PROXY_STATUS, value);
        }
    }
}

/// RFC 9209 §2: each proxy on the way adds its own name. Those of others pass, as they came; a line that has ours
/// anywhere goes.
fn names_this_proxy(value: &HeaderValue) -> bool {
    value
        .as_bytes()
        .windows(PROXY_NAME.len())
        .any(|window| window.eq_ignore_ascii_case(PROXY_NAME.as_bytes()))
}

/// The same for the answer that grants an upgrade.
pub(super) fn for_upgraded(from_origin: &mut HeaderMap) {
    for_client(from_origin);
    ask_for_websocket(from_origin);
}

/// Tells the client that a login for the connection reaches the origin and lasts (RFC 4559 §6): some log in only then.
pub(super) fn say_login_lasts(fields: &mut HeaderMap) {
    fields.insert(
        HeaderName::from_static("proxy-support"),
        HeaderValue::from_static("Session-Based-Authentication"),
    );
}

/// Whether an answer agrees to speak WebSocket.
pub(super) fn grants_websocket(from_origin: &HeaderMap) -> bool {
    from_origin
        .get_all(UPGRADE)
        .iter()
        .any(|value| mentions(value, "websocket"))
}

fn ask_for_websocket(fields: &mut HeaderMap) {
    fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// What `Connection` lists is for the neighbour only; names of fields that carry the message itself cannot be among it.
fn listed(fields: &HeaderMap) -> HashSet<HeaderName> {
    fields
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse::<HeaderName>().ok())
        .filter(|name| *name != CONTENT_LENGTH && *name != HOST)
        .collect()
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    [
        CONNECTION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        PROXY_AUTHORIZATION,
        PROXY_AUTHENTICATE,
    ]
    .contains(name)
        || matches!(
            name.as_str(),
            "keep-alive" | "proxy-connection" | "proxy-authentication-info" | "http2-settings"
        )
}

/// Its names are those of proxies.
pub(super) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// What this one is called there.
pub(super) const PROXY_NAME: &str = "fluidity";

fn mentions(value: &HeaderValue, token: &str) -> bool {
    value.to_str().is_ok_and(|value| {
        value.split(',').any(|part| {
            part.split(';')
                .next()
                .unwrap_or_default()
                .trim()
                .eq_ignore_ascii_case(token)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fluidity_wire::Target;

    fn origin() -> Origin {
        Origin {
            target: Target::parse("example.com:8080").unwrap(),
            authority: "example.com:8080".into(),
            path: "/".try_into().unwrap(),
        }
    }

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .fold(HeaderMap::new(), |mut map, (name, value): (_, HeaderValue)| {
                map.append(name, value);
                map
            })
    }

    #[test]
    fn what_is_for_the_proxy_stays_and_the_rest_passes_in_order() {
        let from = map(&[
            ("host", "other"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("connection", "X-Drop, keep-alive, content-length, host"),
            ("x-drop", "1"),
            ("keep-alive", "5"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("te", "trailers;q=1, deflate"),
            ("trailer", "X-Sum"),
            ("content-length", "4"),
            ("x-keep", "1"),
            ("cookie", "a"),
            ("x-keep", "2"),
        ]);
        let got = for_origin(&from, &origin(), Framing::Length(4));
        let names: Vec<_> = got.keys().map(HeaderName::as_str).collect();
        assert_eq!(
            names,
            [
                "host",
                "trailer",
                "content-length",
                "x-keep",
                "cookie",
                "te",
                "connection"
            ]
        );
        assert_eq!(got[HOST], "example.com:8080");
        assert_eq!(got[TE], "trailers");
        assert_eq!(got.get_all("x-keep").iter().collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn a_chunked_body_is_said_to_be_one() {
        let got = for_origin(
            &map(&[("transfer-encoding", "chunked")]),
            &origin(),
            Framing::chunked(),
        );
        assert_eq!(got[TRANSFER_ENCODING], "chunked");
        assert!(!got.contains_key(CONTENT_LENGTH));
    }

    #[test]
    fn a_handshake_asks_for_websocket_and_nothing_else() {
        let from = map(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-key", "k"),
        ]);
        let got = for_upgrade(&from, &origin());
        assert_eq!(
            (&got[CONNECTION], &got[UPGRADE]),
            (&"Upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        assert_eq!(got["sec-websocket-key"], "k");
    }

    #[test]
    fn an_answer_loses_what_was_between_origin_and_proxy() {
        let mut from = map(&[
            ("connection", "X-Secret"),
            ("x-secret", "1"),
            ("proxy-authenticate", "Basic"),
            ("transfer-encoding", "chunked"),
            ("trailer", "X-Sum"),
            ("set-cookie", "a"),
            ("set-cookie", "b"),
        ]);
        for_client(&mut from);
        let names: Vec<_> = from.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(from.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(from.contains_key("trailer"));
    }

    #[test]
    fn an_origin_does_not_speak_in_this_proxys_name() {
        let mut from = map(&[
            ("proxy-status", "cdn; hit"),
            ("proxy-status", "fluidity; error=dns_error"),
            ("proxy-status", "other, \"Fluidity\"; error=dns_error"),
            ("proxy-status", "last"),
        ]);
        for_client(&mut from);
        assert_eq!(
            from.get_all(PROXY_STATUS).iter().collect::<Vec<_>>(),
            ["cdn; hit", "last"]
        );
    }
}
