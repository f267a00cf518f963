//! Who an agent is.

use super::*;

#[test]
fn agents_are_named_by_exactly_one_uri() {
    let ca = Authority::new();
    let named = |names: Vec<SanType>| {
        ca.issue("agent", |params| params.subject_alt_names = names);
        AgentId::from_peer_certificates(&certificates(&Pem::File(ca.path("agent.pem"))).unwrap())
    };
    assert_eq!(
        named(vec![uri("fluidity://agent/a-1.b_2")]).unwrap().as_str(),
        "a-1.b_2"
    );
    let dns = SanType::DnsName("laptop".try_into().unwrap());
    assert_eq!(
        named(vec![dns.clone(), uri("fluidity://agent/b")])
            .unwrap()
            .as_str(),
        "b"
    );
    for names in [
        vec![],
        vec![dns],
        vec![uri("https://agent/laptop")],
        vec![uri("fluidity://server/laptop")],
        vec![uri("FLUIDITY://agent/laptop")],
        vec![uri("fluidity://agent/a"), uri("fluidity://agent/b")],
        vec![uri("https://example.com"), uri("fluidity://agent/b")],
        vec![uri("fluidity://agent/b"), uri("https://example.com")],
    ] {
        assert_eq!(
            named(names.clone()),
            Err(PeerIdentityError::NotOneAgent),
            "{names:?}"
        );
    }
    for name in ["", "Laptop", "a/b", "a%20b", "-a"] {
        let names = vec![uri(&format!("fluidity://agent/{name}"))];
        assert_eq!(named(names), Err(PeerIdentityError::BadName), "{name:?}");
    }
    assert_eq!(
        AgentId::from_peer_certificates(&[]),
        Err(PeerIdentityError::NoCertificate)
    );
    let junk = CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]);
    assert_eq!(
        AgentId::from_peer_certificates(&[junk]),
        Err(PeerIdentityError::Malformed)
    );
}

#[test]
fn agent_names_have_one_spelling() {
    let longest = "a".repeat(64);
    for name in ["a", "0", "laptop", "a.b-c_d", "0-0", &longest] {
        let id = AgentId::parse(name).unwrap();
        assert_eq!((id.as_str(), id.to_string()), (name, name.to_owned()));
        assert_eq!(id.uri(), format!("fluidity://agent/{name}"));
    }
    let too_long = "a".repeat(65);
    for name in [
        "", ".", ".a", "_a", "-a", "A", "a b", "a/b", "é", "a\0", "a\n", &too_long,
    ] {
        assert_eq!(AgentId::parse(name), Err(PeerIdentityError::BadName), "{name:?}");
    }
}
