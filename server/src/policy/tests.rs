//! Rules against targets: what is closed by default, what opens it, and that no spelling gets around either.

use super::*;
use fluidity_wire::Target;
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn rules(yaml: &str) -> Vec<Rule> {
    serde_yaml::from_str(yaml).unwrap()
}

fn open() -> Policy {
    Policy::new(DefaultAction::Allow, Vec::new(), Vec::new())
}

fn with(allow: &str, deny: &str) -> Policy {
    Policy::new(DefaultAction::Allow, rules(allow), rules(deny))
}

/// An open policy on a machine with these addresses.
fn at_home(own: &[&str], allow: &str) -> Policy {
    let own: OwnAddresses = own
        .iter()
        .map(|net| net.parse::<ipnet::IpNet>().unwrap())
        .collect();
    with(allow, "[]").knowing(watch::channel(own).1)
}

fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

/// Asks for `target`, which resolves to `addresses` where it is a name.
fn ask(policy: &Policy, target: &str, addresses: &[&str]) -> Result<Vec<SocketAddr>, Denied> {
    let target = Target::parse(target).unwrap();
    let permit = policy.authorize(&agent("laptop"), &target)?;
    let resolved: Vec<_> = match target.host.address() {
        Some(address) => vec![address],
        None => addresses.iter().map(|address| address.parse().unwrap()).collect(),
    };
    let permitted = permit.addresses(&resolved)?;
    Ok(permitted.into_iter().map(PermittedAddr::get).collect())
}

#[test]
fn closed_addresses_are_closed_in_every_form() {
    for (address, special) in [
        ("127.0.0.1", Special::Loopback),
        ("0.0.0.0", Special::Loopback),
        ("10.1.2.3", Special::Private),
        ("172.31.255.255", Special::Private),
        ("192.168.0.1", Special::Private),
        ("100.64.0.1", Special::Private),
        ("169.254.169.254", Special::LinkLocal),
        ("169.254.170.2", Special::LinkLocal),
        ("224.0.0.1", Special::Multicast),
        ("255.255.255.255", Special::Reserved),
        ("192.0.2.1", Special::Reserved),
        ("198.18.0.1", Special::Reserved),
        ("168.63.129.16", Special::Metadata),
        ("192.80.8.124", Special::Metadata),
        ("100.100.100.200", Special::Private),
        ("192.0.0.192", Special::Reserved),
    ] {
        let v4: Ipv4Addr = address.parse().unwrap();
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let forms = [
            address.to_owned(),
            format!("[::ffff:{address}]"),
            format!("[::{address}]"),
            format!("[64:ff9b::{high:x}:{low:x}]"),
            format!("[2002:{high:x}:{low:x}::1]"),
            format!("[2001:0:1:2:3:4:{:x}:{:x}]", !high, !low),
        ];
        for form in forms {
            let denied = ask(&open(), &format!("{form}:80"), &[]).unwrap_err();
            assert!(matches!(denied, Denied::Special(_)), "{form}");
            if !form.starts_with("[::") {
                assert_eq!(denied, Denied::Special(special), "{form}");
            }
        }
    }
    for address in [
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2001:10::1]",
        "[3fff::1]",
        "[100::1]",
        "[64:ff9b:1::1]",
        "[5f00::1]",
        "[4000::1]",
    ] {
        let denied = ask(&open(), &format!("{address}:80"), &[]);
        assert!(matches!(denied, Err(Denied::Special(_))), "{address}: {denied:?}");
    }
}

#[test]
fn public_addresses_are_open_and_dialled_as_what_they_are() {
    for (target, dialled) in [
        ("9.9.9.9:443", "9.9.9.9:443"),
        ("172.32.0.1:1", "172.32.0.1:1"),
        ("[::ffff:9.9.9.9]:443", "9.9.9.9:443"),
        ("[2620:fe::fe]:443", "[2620:fe::fe]:443"),
        ("[64:ff9b::909:909]:80", "[64:ff9b::909:909]:80"),
    ] {
        assert_eq!(
            ask(&open(), target, &[]),
            Ok(vec![dialled.parse().unwrap()]),
            "{target}"
        );
    }
}

#[test]
fn one_closed_address_closes_the_name() {
    assert!(ask(&open(), "a.example:80", &["9.9.9.9", "2620:fe::fe"]).is_ok());
    for addresses in [
        ["9.9.9.9", "10.0.0.1"],
        ["10.0.0.1", "9.9.9.9"],
        ["9.9.9.9", "::1"],
    ] {
        let denied = ask(&open(), "a.example:80", &addresses);
        assert!(matches!(denied, Err(Denied::Special(_))), "{addresses:?}");
    }
}

#[test]
fn only_a_rule_with_a_range_opens_closed_addresses() {
    let target = "intranet.example:443";
    for rule in [
        "[{ host: intranet.example }]",
        "[{ ports: [443] }]",
        "[{ agents: [laptop] }]",
        "[{ cidr: 10.2.0.0/16 }]",
        "[{ cidr: 10.1.0.0/16, ports: [80, 1000-2000] }]",
        "[{ cidr: 10.1.0.0/16, agents: [phone] }]",
        "[{ cidr: 10.1.0.0/16, host: .other.example }]",
        "[{ cidr: '::/0' }]",
    ] {
        let denied = ask(&with(rule, "[]"), target, &["10.1.2.3"]);
        assert_eq!(denied, Err(Denied::Special(Special::Private)), "{rule}");
    }
    for rule in [
        "[{ cidr: 10.1.0.0/16 }]",
        "[{ cidr: 10.1.2.3 }]",
        "[{ cidr: 10.1.2.3/8 }]",
        "[{ cidr: '::ffff:10.1.0.0/112' }]",
        "[{ cidr: 10.1.0.0/16, host: INTRANET.example., ports: [443], agents: [laptop, phone] }]",
        "[{ cidr: 10.1.0.0/16, host: .example, ports: [80, '400-500'] }]",
    ] {
        assert!(ask(&with(rule, "[]"), target, &["10.1.2.3"]).is_ok(), "{rule}");
    }
}

#[test]
fn deny_rules_win_however_the_target_is_reached() {
    let policy = with(
        "[{ cidr: 10.0.0.0/8 }]",
        "[{ cidr: 10.1.2.3/32 }, { cidr: 9.9.9.9 }]",
    );
    for target in [
        "10.1.2.3:80",
        "[::ffff:10.1.2.3]:80",
        "[64:ff9b::909:909]:80",
        "[2002:909:909::1]:80",
    ] {
        assert_eq!(ask(&policy, target, &[]), Err(Denied::ByRule), "{target}");
    }
    assert_eq!(ask(&policy, "a.example:80", &["10.1.2.3"]), Err(Denied::ByRule));
    assert!(ask(&policy, "10.1.2.4:80", &[]).is_ok());
}

#[test]
fn names_are_judged_before_they_are_resolved() {
    let policy = with(
        "[]",
        "[{ host: bad.example }, { host: .ads.example }, { host: '*.x.example' }, { ports: [25] }]",
    );
    for target in [
        "bad.example:443",
        "BAD.Example.:443",
        "ads.example:443",
        "a.b.ads.example:443",
        "www.x.example:443",
        "good.example:25",
    ] {
        let asked = policy.authorize(&agent("laptop"), &Target::parse(target).unwrap());
        assert_eq!(asked.unwrap_err(), Denied::ByRule, "{target}");
    }
    for target in ["www.bad.example:443", "badads.example:443", "good.example:443"] {
        let asked = policy.authorize(&agent("laptop"), &Target::parse(target).unwrap());
        assert!(asked.is_ok(), "{target}");
    }
}

#[test]
fn a_closed_default_opens_by_rule_alone() {
    let rules = rules("[{ host: .example, ports: [443] }, { cidr: 9.9.9.0/24 }]");
    let policy = Policy::new(DefaultAction::Deny, rules, Vec::new());
    assert!(ask(&policy, "a.example:443", &["9.9.8.8"]).is_ok());
    assert!(ask(&policy, "9.9.9.9:80", &[]).is_ok());
    assert!(
        ask(&policy, "other.test:80", &["9.9.9.9"]).is_ok(),
        "by its address"
    );
    assert_eq!(
        ask(&policy, "other.test:80", &["9.9.8.8"]),
        Err(Denied::ByDefault)
    );
    assert_eq!(ask(&policy, "8.8.8.8:443", &[]), Err(Denied::ByDefault));
    assert_eq!(
        ask(&policy, "a.example:443", &["10.0.0.1"]),
        Err(Denied::Special(Special::Private)),
        "a name opens no private address"
    );
    let nothing = Policy::new(DefaultAction::Deny, Vec::new(), Vec::new());
    let asked = nothing.authorize(&agent("laptop"), &Target::parse("a.example:443").unwrap());
    assert_eq!(asked.unwrap_err(), Denied::ByDefault, "not even resolved");
}

#[test]
fn bad_rules_are_refused_with_what_to_write() {
    for (rule, said) in [
        ("[{}]", "at least one of"),
        ("[{ ports: [] }]", "not empty"),
        ("[{ agents: [] }]", "not empty"),
        ("[{ host: 10.0.0.1 }]", "with cidr"),
        ("[{ host: 'a b' }]", "not a host name"),
        ("[{ host: '' }]", "not a host name"),
        ("[{ cidr: 10.0.0.0/33 }]", "`10.0.0.0/33`"),
        ("[{ cidr: example.com }]", "not a range"),
        ("[{ ports: [0] }]", "`0`"),
        ("[{ ports: [70000] }]", "`70000`"),
        ("[{ ports: [-1] }]", "`-1`"),
        ("[{ ports: [90-80] }]", "`90-80`"),
        ("[{ agents: [UPPER] }]", "an agent's name"),
        ("[{ hots: a.example }]", "hots"),
    ] {
        let error = serde_yaml::from_str::<Vec<Rule>>(rule).unwrap_err().to_string();
        assert!(error.contains(said), "{rule}: {error}");
    }
}

#[test]
fn a_name_that_was_found_under_another_is_denied_by_either() {
    let policy = with(
        "[]",
        "[{ host: .secret.example }, { host: .corp.example, cidr: 192.0.9.0/24 }]",
    );
    let target = Target::parse("db:80").unwrap();
    let permit = policy.authorize(&agent("laptop"), &target).unwrap();
    assert_eq!(permit.under("db.secret.example").unwrap_err(), Denied::ByRule);
    let under = permit.under("db.corp.example").unwrap();
    let addresses = |permit: &Permit, text: &str| permit.addresses(&[text.parse().unwrap()]).is_ok();
    assert!(addresses(&under, "192.0.8.1"));
    assert!(!addresses(&under, "192.0.9.1") && !addresses(&under, "10.0.0.1"));
    assert!(addresses(&permit, "192.0.9.1"));
}

const CLOSED: [&str; 8] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/3",
];

fn closed_v4() -> impl Strategy<Value = Ipv4Addr> {
    (0..CLOSED.len(), any::<u32>()).prop_map(|(index, bits)| {
        let net: Ipv4Net = CLOSED[index].parse().unwrap();
        Ipv4Addr::from_bits(net.network().to_bits() | (bits & net.hostmask().to_bits()))
    })
}

proptest! {
    #[test]
    fn no_closed_address_is_ever_permitted_by_default(v4 in closed_v4(), rest in any::<u128>()) {
        let bits = u128::from(v4.to_bits());
        let forms = [
            IpAddr::V4(v4),
            v4.to_ipv6_mapped().into(),
            Ipv6Addr::from_bits((0x64_ff9b_u128 << 96) | bits).into(),
            Ipv6Addr::from_bits((0x2002_u128 << 112) | (bits << 80) | (rest >> 48)).into(),
        ];
        for address in forms {
            let target = Target { host: Host::from(address), port: fluidity_wire::Port::HTTP };
            prop_assert!(open().authorize(&agent("laptop"), &target).is_err(), "{address}");
        }
    }

    #[test]
    fn outside_of_2000_3_no_ipv6_address_but_an_embedded_one_is_permitted(bits in any::<u128>()) {
        let address = Ipv6Addr::from_bits(bits);
        let target = Target { host: Host::V6(address), port: fluidity_wire::Port::HTTP };
        if open().authorize(&agent("laptop"), &target).is_ok() {
            prop_assert!(address.segments()[0] & 0xe000 == 0x2000 || embedded(address.into()).is_some()
                || address.to_ipv4_mapped().is_some(), "{address}");
        }
    }
}

#[test]
fn the_machines_own_addresses_are_closed_in_every_form() {
    let policy = at_home(
        &["45.67.89.10/32", "2a00:1111:2222::10/128", "45.67.90.0/28"],
        "[]",
    );
    for target in [
        "45.67.89.10:22",
        "45.67.89.10:65535",
        "45.67.90.15:80",
        "[::ffff:45.67.89.10]:22",
        "[64:ff9b::2d43:590a]:22",
        "[2002:2d43:590a::1]:22",
        "[2a00:1111:2222::10]:22",
        "0x2d43590a:22",
    ] {
        assert_eq!(
            ask(&policy, target, &[]),
            Err(Denied::Special(Special::Own)),
            "{target}"
        );
    }
    let named = ask(&policy, "a.example:22", &["11.0.0.1", "45.67.89.10"]);
    assert_eq!(named, Err(Denied::Special(Special::Own)));
    for neighbour in ["45.67.89.11:22", "45.67.90.16:22", "[2a00:1111:2222::11]:22"] {
        assert!(ask(&policy, neighbour, &[]).is_ok(), "{neighbour}");
    }
}

#[test]
fn only_a_rule_with_a_range_opens_the_machines_own_addresses() {
    let target = "45.67.89.10:22";
    let own = &["45.67.89.10/32"];
    for closed in [
        "[{ ports: [22] }]",
        "[{ cidr: 45.67.89.11 }]",
        "[{ cidr: 45.67.89.10, ports: [80] }]",
    ] {
        let denied = ask(&at_home(own, closed), target, &[]);
        assert_eq!(denied, Err(Denied::Special(Special::Own)), "{closed}");
    }
    assert!(ask(&at_home(own, "[{ cidr: 45.67.89.0/24 }]"), target, &[]).is_ok());
}

#[test]
fn an_address_that_the_machine_gets_later_is_closed_from_then_on() {
    let (sender, own) = watch::channel(OwnAddresses::default());
    let policy = open().knowing(own);
    let target = "45.67.89.10:22";
    let permit = policy
        .authorize(&agent("laptop"), &Target::parse(target).unwrap())
        .unwrap();
    let address = "45.67.89.10".parse().unwrap();
    assert!(permit.addresses(&[address]).is_ok());
    sender.send_replace([ipnet::IpNet::from(address)].into_iter().collect());
    let denied = Err(Denied::Special(Special::Own));
    assert_eq!(
        permit.addresses(&[address]),
        denied,
        "also for a permit from before"
    );
    assert_eq!(ask(&policy, target, &[]).map(drop), denied.map(drop));
    sender.send_replace(OwnAddresses::default());
    assert!(ask(&policy, target, &[]).is_ok());
}

#[test]
fn an_address_that_turns_out_to_be_the_machines_own_needs_a_rule_with_its_range() {
    let own = |policy: &Policy| {
        let target = Target::parse("a.example:22").unwrap();
        let permit = policy.authorize(&agent("laptop"), &target).unwrap();
        permit.own_address("::ffff:45.67.89.10".parse().unwrap())
    };
    assert_eq!(own(&open()), Err(Denied::Special(Special::Own)));
    assert_eq!(
        own(&with("[{ ports: [22] }]", "[]")),
        Err(Denied::Special(Special::Own))
    );
    assert_eq!(own(&with("[{ cidr: 45.67.89.0/24 }]", "[]")), Ok(()));
}
