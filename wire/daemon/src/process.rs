//! The process as the Prometheus client libraries tell of it: `process_…`, from `/proc/self`.
//!
//! It is read when somebody asks. What the system does not tell is left out, all of it where there is no `/proc`. A process
//! that is not dumpable may still read this of itself.

use std::fmt::Write;
use std::fs;
use std::sync::OnceLock;

/// Metrics of this process, in the OpenMetrics text format without its end.
pub fn metrics() -> String {
    let stat = Stat::read();
    let cpu = stat.as_ref().map(|stat| seconds(stat.cpu));
    let start = stat.and_then(|stat| Some(boot_time()?.checked_mul(TICKS)?.saturating_add(stat.start)));
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let (resident, address_space) = (text(memory("VmRSS:")), text(memory("VmSize:")));
    let (open, most) = (text(open_fds()), text(max_fds()));
    let families = [
        ("cpu_seconds", "CPU time that was used, user and system", cpu),
        ("open_fds", "File descriptors that are open", open),
        ("max_fds", "File descriptors that may be open", most),
        ("resident_memory_bytes", "Memory that is resident", resident),
        ("virtual_memory_bytes", "Address space", address_space),
        (
            "start_time_seconds",
            "When the process started, in Unix time",
            start.map(seconds),
        ),
    ];
    let mut page = String::new();
    for (name, help, value) in families {
        let Some(value) = value else { continue };
        let (kind, suffix) = match name {
            "cpu_seconds" => ("counter", "_total"),
            _ => ("gauge", ""),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "# HELP process_{name} {help}.\n# TYPE process_{name} {kind}"
        );
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let Some(unit) = unit {
            let _ = writeln!(page, "# UNIT process_{name} {unit}");
        }
        let _ = writeln!(page, "process_{name}{suffix} {value}");
    }
    page
}

/// Of `/proc/self/stat` (proc_pid_stat(5)), in ticks.
struct Stat {
    cpu: u64,
    /// Since the system's start.
    start: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name before it may hold spaces and parentheses. The state, which comes next, is the third field.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let user: u64 = fields.next()?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        let start = fields.nth(6)?.parse().ok()?;
        Some(Self {
            cpu: user.saturating_add(system),
            start,
        })
    }
}

/// When the system started, in Unix time: read once.
fn boot_time() -> Option<u64> {
    static BOOT: OnceLock<Option<u64>> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        stat.lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()
    })
}

/// A line of `/proc/self/status`, in bytes.
fn memory(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn open_fds() -> Option<u64> {
    // Linux 6.2 and later tell the number as the directory's size.
    let size = fs::metadata("/proc/self/fd").ok()?.len();
    if size > 0 {
        return Some(size);
    }
    // The directory itself is open meanwhile.
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count.saturating_sub(1)).ok()
}

/// `None` where there is no limit, too.
fn max_fds() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn seconds(ticks: u64) -> String {
    format!("{}.{:02}", ticks / TICKS, ticks % TICKS)
}

/// Of a second: what Linux tells programs, whatever its own clock (USER_HZ).
const TICKS: u64 = 100;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    fn value(page: &str, name: &str) -> f64 {
        let sample = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        sample
            .unwrap_or_else(|| panic!("no {name} in\n{page}"))
            .parse()
            .expect("a number")
    }

    #[test]
    fn a_process_tells_of_itself_what_is_so() {
        let files: Vec<_> = (0..10)
            .map(|_| fs::File::open("/proc/self/stat").unwrap())
            .collect();
        let page = metrics();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let age = now - value(&page, "process_start_time_seconds");
        // The system's start is told in whole seconds.
        assert!(age > -2.0 && age < 3600.0, "{age}");
        let resident = value(&page, "process_resident_memory_bytes");
        assert!(
            resident > 1e6 && resident < value(&page, "process_virtual_memory_bytes"),
            "{page}"
        );
        let open = value(&page, "process_open_fds");
        assert!(open > 10.0 && open < value(&page, "process_max_fds"), "{page}");
        drop(files);
        assert!(value(&page, "process_cpu_seconds_total") >= 0.0);
        assert!(page.contains("# UNIT process_cpu_seconds seconds\n"), "{page}");
        assert!(!page.contains("# UNIT process_open_fds"), "{page}");
    }
}
