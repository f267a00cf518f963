//! `fluidity config check`: everything that `run` needs from files, looked at without starting anything.

use crate::config::Config;
use crate::lifecycle::Accounts;
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
    let server = match (&config.server.address, &config.control_plane) {
        (Some(address), None) => address.to_string(),
        (Some(address), Some(plane)) => format!("{address}, woken by {}", plane.wake),
        (None, Some(plane)) => format!("woken by {}", plane.wake),
        (None, None) => String::new(),
    };
    print(&format!(
        "proxy     {}\nadmin     {}\nserver    {server}\n",
        config.listen, config.admin
    ))?;
    if scope == Scope::Files {
        let identity = config.identity.load()?;
        print(&format!("identity  {}\n", described(&identity)))?;
        if !identity.is_of_its_ca() {
            note(&format!("warning: {OTHER_CA}"));
        }
        if let Some(plane) = &config.control_plane
            && let Some(trouble) = Accounts::trouble(plane.state_file.clone())
        {
            note(&format!("warning: {trouble}"));
        }
    }
    if !config.listen.ip().is_loopback() && config.proxy_auth.is_none() {
        note(&format!("warning: {OPEN}"));
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

/// Anybody on the network may use the proxy.
pub const OPEN: &str =
    "the proxy can be reached by others and asks for no credentials; set proxy-auth, or listen on 127.0.0.1";

/// The identity's CA is not the one that it trusts.
pub const OTHER_CA: &str = "identity.certificate was not issued by the CA in identity.ca: peers that trust this CA alone \
                            refuse it; unless one CA is taking over from another, take the ca.pem that lay beside the \
                            certificate when it was issued";
