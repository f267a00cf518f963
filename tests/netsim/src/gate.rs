//! What does not enter the path at all: a link that is down, UDP that is blocked, packets above the MTU.

use crate::packet::{self, Unreachable};
use crate::settings::{Link, Settings, TooLong, Udp};

/// What becomes of a packet at the gate.
#[derive(Debug, PartialEq, Eq)]
pub enum Gate {
    Open,
    /// It vanishes, or its sender is told.
    Blocked(Option<Unreachable>),
    AboveMtu(Option<Unreachable>),
}

/// Judges a packet.
pub fn judge(packet: &[u8], settings: &Settings) -> Gate {
    if settings.link == Link::Down || (settings.ipv6 == Link::Down && packet::is_ipv6(packet)) {
        return Gate::Blocked(None);
    }
    if settings.udp != Udp::Passes && packet::is_udp(packet) {
        return Gate::Blocked(match settings.udp {
            Udp::Passes | Udp::Dropped => None,
            Udp::Prohibited => Some(Unreachable::Prohibited),
            Udp::Unreachable => Some(Unreachable::Port),
        });
    }
    if settings.mtu > 0 && packet.len() > settings.mtu {
        let told = settings.too_long == TooLong::Told;
        let mtu = u16::try_from(settings.mtu).unwrap_or(u16::MAX);
        return Gate::AboveMtu(told.then_some(Unreachable::TooLong(mtu)));
    }
    Gate::Open
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::udp;

    fn judged(length: usize, name: &str, value: &str) -> Gate {
        let mut settings = Settings::default();
        settings.set(name, value).expect("a setting");
        judge(&udp(length), &settings)
    }

    #[test]
    fn each_block_says_what_it_is_to_say() {
        assert_eq!(judged(100, "delay", "5"), Gate::Open);
        assert_eq!(judged(100, "link", "down"), Gate::Blocked(None));
        assert_eq!(judged(100, "ipv6", "down"), Gate::Open);
        assert_eq!(judged(100, "udp", "dropped"), Gate::Blocked(None));
        assert_eq!(
            judged(100, "udp", "prohibited"),
            Gate::Blocked(Some(Unreachable::Prohibited))
        );
        assert_eq!(
            judged(100, "udp", "unreachable"),
            Gate::Blocked(Some(Unreachable::Port))
        );
    }

    #[test]
    fn the_mtu_itself_passes() {
        assert_eq!(judged(1280, "mtu", "1280"), Gate::Open);
        assert_eq!(judged(1281, "mtu", "1280"), Gate::AboveMtu(None));
        let mut settings = Settings {
            mtu: 1280,
            ..Settings::default()
        };
        settings.set("too-long", "told").expect("a setting");
        assert_eq!(
            judge(&udp(1500), &settings),
            Gate::AboveMtu(Some(Unreachable::TooLong(1280)))
        );
    }
}
