//! What one direction of the path does to packets, and how it is written: `name=value`.

use std::time::Duration;

/// One direction. The default passes everything on at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Settings {
    /// On the way, behind the bottleneck.
    pub delay: Duration,
    /// So much more or less of it, drawn for each packet.
    pub jitter: Duration,
    /// Whether packets overtake each other by their jitter.
    pub order: Order,
    /// Percent.
    pub loss: f64,
    /// Nothing passes for so long, once in each period.
    pub gap: Duration,
    pub period: Duration,
    /// Percent of packets that come later than those behind them, and by how much.
    pub reorder: f64,
    pub reorder_by: Duration,
    /// Percent of packets that come twice.
    pub duplicate: f64,
    /// Bits per second; 0 for no limit.
    pub rate: f64,
    pub queue: Room,
    /// UDP's bits per second behind a policer; 0 for none.
    pub police: f64,
    /// Bytes that it lets through at once.
    pub police_burst: f64,
    /// The longest packet that passes; 0 for any.
    pub mtu: usize,
    pub too_long: TooLong,
    pub udp: Udp,
    pub link: Link,
    pub ipv6: Link,
}

/// How much may wait before the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Room {
    Time(Duration),
    Bytes(f64),
}

impl Default for Room {
    fn default() -> Self {
        Self::Time(Duration::from_millis(100))
    }
}

/// Whether jitter keeps packets in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    #[default]
    Kept,
    Free,
}

/// What the sender of a packet above the MTU hears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TooLong {
    #[default]
    Silence,
    Told,
}

/// What becomes of UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Udp {
    #[default]
    Passes,
    Dropped,
    /// ICMP: communication administratively prohibited.
    Prohibited,
    /// ICMP: port unreachable.
    Unreachable,
}

/// Whether a link, or a kind of packet on it, works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    #[default]
    Up,
    Down,
}

impl Settings {
    /// Sets one value. The error says what is wrong with it.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number = || -> Result<f64, String> {
            let number = value.parse::<f64>().ok();
            let number = number.filter(|number| (0.0..=1e9).contains(number));
            number.ok_or_else(|| format!("{name}={value}: not a number from 0"))
        };
        let time = || number().map(|ms| Duration::from_secs_f64(ms / 1e3));
        let no = || format!("{name}={value}: no such value");
        match name {
            "delay" => self.delay = time()?,
            "jitter" => self.jitter = time()?,
            "order" => {
                self.order = match value {
                    "kept" => Order::Kept,
                    "free" => Order::Free,
                    _ => return Err(no()),
                }
            }
            "loss" => self.loss = number()?,
            "gap" => self.gap = time()?,
            "period" => self.period = time()?,
            "reorder" => self.reorder = number()?,
            "reorder-by" => self.reorder_by = time()?,
            "duplicate" => self.duplicate = number()?,
            "rate" => self.rate = number()? * 1e6,
            "queue" => self.queue = Room::Time(time()?),
            "queue-kib" => self.queue = Room::Bytes(number()? * 1024.0),
            "police" => self.police = number()? * 1e6,
            "police-kib" => self.police_burst = number()? * 1024.0,
            "mtu" => self.mtu = value.parse().map_err(|_| no())?,
            "too-long" => {
                self.too_long = match value {
                    "silence" => TooLong::Silence,
                    "told" => TooLong::Told,
                    _ => return Err(no()),
                }
            }
            "udp" => {
                self.udp = match value {
                    "passes" => Udp::Passes,
                    "dropped" => Udp::Dropped,
                    "prohibited" => Udp::Prohibited,
                    "unreachable" => Udp::Unreachable,
                    _ => return Err(no()),
                }
            }
            "link" => self.link = link(value).ok_or_else(no)?,
            "ipv6" => self.ipv6 = link(value).ok_or_else(no)?,
            _ => return Err(format!("{name}: there is no such setting")),
        }
        Ok(())
    }
}

fn link(value: &str) -> Option<Link> {
    match value {
        "up" => Some(Link::Up),
        "down" => Some(Link::Down),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_units() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("delay", "25"),
            ("rate", "20"),
            ("queue-kib", "64"),
            ("udp", "prohibited"),
        ] {
            settings.set(name, value).expect("a setting");
        }
        assert_eq!(settings.delay, Duration::from_millis(25));
        assert_eq!(settings.rate, 20e6);
        assert_eq!(settings.queue, Room::Bytes(65_536.0));
        assert_eq!(settings.udp, Udp::Prohibited);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("delay", "-1"),
            ("loss", "NaN"),
            ("colour", "3"),
            ("link", "1"),
            ("mtu", "x"),
        ] {
            assert!(settings.set(name, value).is_err(), "{name}={value}");
        }
        assert_eq!(settings, Settings::default());
    }
}
