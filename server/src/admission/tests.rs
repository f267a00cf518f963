//! Floods by the clock: who gets in, who keeps its place, and how many there are at the most.

use super::*;
use std::collections::VecDeque;

fn address(number: u32) -> IpAddr {
    IpAddr::from((0xc633_0000 + number).to_be_bytes())
}

fn v6(network: u64, host: u64) -> IpAddr {
    IpAddr::from((u128::from(network) << 64 | u128::from(host)).to_be_bytes())
}

fn open(entrance: Entrance) -> Place {
    match entrance {
        Entrance::Open(place) => place,
        other => panic!("{other:?}"),
    }
}

impl Place {
    fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }
}

#[derive(Clone, Copy)]
struct Packet {
    from: IpAddr,
    proven: bool,
}

/// Handshakes that are begun and left: each keeps its place for as long as the server lets it.
#[derive(Default)]
struct Flood(VecDeque<(Instant, Place)>);

impl Flood {
    fn send(&mut self, admission: &Arc<Admission>, packet: Packet, now: Instant) -> bool {
        let Packet { from, proven } = packet;
        while self
            .0
            .front()
            .is_some_and(|(began, place)| place.is_evicted() || *began + HELD <= now)
        {
            self.0.pop_front();
        }
        match admission.begin(from, proven, now) {
            Entrance::Open(place) => self.0.push_back((now, place)),
            Entrance::ProveAddress => return true,
            Entrance::Full => assert!(proven, "a packet that proves nothing is never ignored"),
        }
        false
    }

    /// A sender that obeys: asked for the proof, it gives it.
    fn obey(&mut self, admission: &Arc<Admission>, from: IpAddr, now: Instant) {
        if self.send(admission, Packet { from, proven: false }, now) {
            self.send(admission, Packet { from, proven: true }, now);
        }
    }
}

const HELD: Duration = Duration::from_secs(5);
const MILLI: Duration = Duration::from_millis(1);

/// An agent begins at each of some moments of a flood; it must be let in and keep its place for a second.
fn assert_served(what: &str, agent: IpAddr, mut flood: impl FnMut(&Arc<Admission>, u32, Instant)) {
    let (admission, start) = (Arc::new(Admission::default()), Instant::now());
    let mut trials: VecDeque<(Instant, Place)> = VecDeque::new();
    for milli in 0..20_000 {
        let now = start + MILLI * milli;
        flood(&admission, milli, now);
        while trials.front().is_some_and(|(began, _)| *began + YOUNG <= now) {
            trials.pop_front();
        }
        assert!(
            trials.iter().all(|(_, place)| !place.is_evicted()),
            "{what}: evicted at {milli} ms"
        );
        if milli % 777 == 776 {
            let entrance = match admission.begin(agent, false, now) {
                Entrance::ProveAddress => admission.begin(agent, true, now),
                entrance => entrance,
            };
            match entrance {
                Entrance::Open(place) => trials.push_back((now, place)),
                other => panic!("{what}: {other:?} at {milli} ms"),
            }
        }
    }
}

#[test]
fn regression_packets_spoofed_in_an_agents_name_do_not_lock_it_out() {
    let mut flood = Flood::default();
    assert_served("spoofed", address(1), |admission, _, now| {
        for _ in 0..2 {
            let packet = Packet {
                from: address(1),
                proven: false,
            };
            flood.send(admission, packet, now);
        }
    });
}

#[test]
fn regression_nine_sources_that_prove_their_addresses_do_not_starve_a_newcomer() {
    let mut flood = Flood::default();
    assert_served("nine sources", address(100), |admission, milli, now| {
        for source in 0..9 {
            if milli % 5 == 0 {
                flood.obey(admission, address(source), now);
            }
        }
    });
}

#[test]
fn one_ipv6_customer_with_many_networks_does_not_starve_a_newcomer() {
    let mut flood = Flood::default();
    assert_served("a /48", address(100), |admission, milli, now| {
        flood.obey(
            admission,
            v6(0x2001_0db8_0001_0000 + u64::from(milli % 65_536), 7),
            now,
        );
    });
}

#[test]
fn from_where_an_agent_was_let_in_lately_it_gets_in_whatever_number_of_sources_floods() {
    let mut flood = Flood::default();
    let mut remembered = false;
    assert_served("a thousand sources", address(5000), |admission, milli, now| {
        if !std::mem::replace(&mut remembered, true) {
            admission.remember(address(5000), now);
        }
        flood.obey(admission, address(milli % 1000), now);
    });
}

#[test]
fn from_four_unproven_handshakes_on_a_source_proves_its_address() {
    let (admission, now) = (Arc::new(Admission::default()), Instant::now());
    let mut places: Vec<_> = (0..4)
        .map(|_| open(admission.begin(address(1), false, now)))
        .collect();
    assert!(matches!(
        admission.begin(address(1), false, now),
        Entrance::ProveAddress
    ));
    places.push(open(admission.begin(address(1), true, now)));
    // Nobody else is asked.
    places.push(open(admission.begin(address(2), false, now)));
    places.clear();
    open(admission.begin(address(1), false, now));
    let state = admission.lock();
    assert!(state.unproven.is_empty() && state.proven.is_empty());
}

#[test]
fn an_ipv6_customer_is_one_source_by_64_and_by_48_bits() {
    let source = |text: &str| Source::of(text.parse().unwrap());
    let (a, b) = (source("2001:db8:1:2::1"), source("2001:db8:1:2:ffff::9"));
    assert_eq!(a, b);
    let c = source("2001:db8:1:3::1");
    assert!(a.place != c.place && a.network == c.network);
    assert_ne!(a.network, source("2001:db8:2:2::1").network);
    assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
}

#[test]
fn a_full_source_gives_up_its_oldest_handshake_and_no_young_one() {
    let (admission, now) = (Arc::new(Admission::default()), Instant::now());
    let places: Vec<_> = (0..MOST_OF_A_PLACE)
        .map(|_| open(admission.begin(address(1), true, now)))
        .collect();
    assert!(matches!(
        admission.begin(address(1), true, now + MILLI),
        Entrance::Full
    ));
    let later = open(admission.begin(address(1), true, now + YOUNG));
    let evicted = places.iter().filter(|place| place.is_evicted()).count();
    assert!(places[0].is_evicted() && evicted == 1 && !later.is_evicted());
}

#[test]
fn whatever_comes_the_counts_are_bounded() {
    let (admission, start) = (Arc::new(Admission::default()), Instant::now());
    let mut places = Vec::new();
    // No more than arithmetic, so that a failure can be seen again.
    let mut random = 0x9e37_79b9_u32;
    for step in 0..20_000_u32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (pick, now) = (random >> 8, start + MILLI * step / 4);
        let from = match pick % 3 {
            0 => address(pick % 5000),
            1 => v6(0x2001_0db8_0000_0000 + u64::from(pick % 999), 1),
            _ => address(pick % 4),
        };
        if pick % 50 == 0 {
            admission.remember(from, now);
        }
        if pick % 7 == 0 && !places.is_empty() {
            places.swap_remove(usize::try_from(pick).unwrap() % places.len());
        }
        if let Entrance::Open(place) = admission.begin(from, pick % 2 == 0, now) {
            places.push(place);
        }
        let state = admission.lock();
        assert!(state.unproven.len() <= MOST_UNPROVEN && state.proven.len() <= MOST_PROVEN);
        assert!(state.proven.values().filter(|one| !one.known).count() <= MOST_STRANGERS);
        assert!(state.known.len() <= MOST_KNOWN);
        let own = |map: &BTreeMap<u64, Handshake>| {
            map.values().filter(|one| one.source == Source::of(from)).count()
        };
        assert!(own(&state.unproven) <= UNPROVEN_OF_A_PLACE && own(&state.proven) <= MOST_OF_A_PLACE);
    }
    drop(places);
    let state = admission.lock();
    assert!(state.unproven.is_empty() && state.proven.is_empty());
}
