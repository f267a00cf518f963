//! `fluidity-server config check`: everything that `run` needs from files, looked at without starting anything.

use crate::config::Config;
use fluidity_daemon::output::{note, print};
use fluidity_wire::tls::Identity;
use std::time::SystemTime;

/// What the check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The keys and their values alone, on a machine that has none of the files, say.
    Keys,
    /// The files that they name, too.
    Files,
}

/// Says what the configuration comes to, and whether `run` would start with it.
///
/// # Errors
/// A file that is missing or is not what it should be.
pub fn check(config: &Config, scope: Scope) -> anyhow::Result<()> {
    print(&format!(
        "listen    {} (UDP)\nadmin     {}\n",
        config.listen, config.admin
    ))?;
    if scope == Scope::Files {
        let identity = config.identity.load()?;
        print(&format!("identity  {}\n", described(&identity)))?;
        if !identity.is_of_its_ca() {
            note(&format!("warning: {OTHER_CA}"));
        }
    }
    print(match scope {
        Scope::Keys => "the keys are in order; the files that they name were not looked at\n",
        Scope::Files => "the configuration is in order\n",
    })?;
    Ok(())
}

fn described(identity: &Identity) -> String {
    let left = identity.not_after().duration_since(SystemTime::now());
    let days = left.map_or(0, |left| left.as_secs() / (24 * 3600));
    format!("{}, good for {days} more days", identity.holder())
}

/// The identity's CA is not the one that it trusts.
pub const OTHER_CA: &str = "identity.certificate was not issued by the CA in identity.ca: agents that trust this CA alone \
                            refuse it; unless one CA is taking over from another, take the ca.pem that lay beside the \
                            certificate when it was issued";
