//! Who may reach what: pure rules over the agent, the target and the addresses that it resolved to.
//!
//! Invariants: deny rules win over allow rules, those over the default; private, local and metadata addresses and those of
//! this machine are closed unless an allow rule with a range opens them; every address that a name resolved to must be
//! permitted, or none is. Only a [`Permit`] gets a name resolved, and only a [`PermittedAddr`] is ever dialled.

mod address;
mod own;
mod rule;

pub use own::OwnAddresses;
pub use rule::{Rule, RuleError};

use address::{Special, embedded, special, unmapped};
use fluidity_wire::tls::AgentId;
use fluidity_wire::{Host, ReplyCode, Target};
use rule::Question;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::sync::watch;

/// The rules of one server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Arc<Rules>,
    /// As they were found last.
    own: watch::Receiver<OwnAddresses>,
}

#[derive(Debug)]
struct Rules {
    default: DefaultAction,
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

/// What holds for a public address that no rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DefaultAction {
    /// It may be reached.
    Allow,
    /// It may not.
    Deny,
}

/// Why a target may not be reached. The texts go to the person behind the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A deny rule names it.
    #[error("a rule of the server denies this target")]
    ByRule,
    /// The default is to deny, and no allow rule names it.
    #[error("no rule of the server allows this target")]
    ByDefault,
    /// The target is, or resolves to, an address that is closed by default.
    #[error(
        "the target is, or resolves to, {0}; such addresses are closed unless a rule of the server opens them"
    )]
    Special(Special),
}

impl Denied {
    /// The code that the agent gets.
    pub const fn reply_code(self) -> ReplyCode {
        match self {
            Self::ByRule | Self::ByDefault => ReplyCode::DeniedByRule,
            Self::Special(_) => ReplyCode::DeniedAddress,
        }
    }
}

impl Policy {
    /// Rules with a default. It knows no address of the machine yet.
    pub fn new(default: DefaultAction, allow: Vec<Rule>, deny: Vec<Rule>) -> Self {
        Self {
            rules: Arc::new(Rules { default, allow, deny }),
            own: watch::channel(OwnAddresses::default()).1,
        }
    }

    /// The same rules, and the machine's own addresses as they are when a target is judged.
    pub fn knowing(self, own: watch::Receiver<OwnAddresses>) -> Self {
        Self { own, ..self }
    }

    /// Judges what can be judged before a name is resolved.
    ///
    /// # Errors
    /// The target is denied whatever it resolves to.
    pub fn authorize(&self, agent: &AgentId, target: &Target) -> Result<Permit, Denied> {
        let permit = Permit {
            policy: self.clone(),
            agent: agent.clone(),
            target: target.clone(),
            also: None,
        };
        match target.host.address() {
            Some(address) => permit.judge(address).map(drop)?,
            None => permit.judge_name()?,
        }
        Ok(permit)
    }
}

/// The leave to resolve a target, and to dial the addresses that it then permits.
#[derive(Clone, Debug)]
pub struct Permit {
    policy: Policy,
    agent: AgentId,
    target: Target,
    /// The name that the target's name was found under.
    also: Option<String>,
}

/// An address that may be dialled: made by [`Permit::addresses`] alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermittedAddr(SocketAddr);

impl PermittedAddr {
    /// The address.
    pub const fn get(self) -> SocketAddr {
        self.0
    }
}

impl Permit {
    /// Who may.
    pub const fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Where it goes.
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// The same leave for a name that was found under another one, in a search domain: what denies that denies it, too.
    ///
    /// # Errors
    /// A deny rule names the other name.
    pub fn under(&self, name: &str) -> Result<Self, Denied> {
        let permit = Self {
            also: Some(name.to_owned()),
            ..self.clone()
        };
        if permit.is_denied(None) {
            return Err(Denied::ByRule);
        }
        Ok(permit)
    }

    /// Judges every address that the target resolved to; one that is denied denies them all, so that a name with a
    /// public and a private address cannot be used to reach either.
    ///
    /// # Errors
    /// The first denied address, with its reason.
    pub fn addresses(&self, resolved: &[IpAddr]) -> Result<Vec<PermittedAddr>, Denied> {
        resolved.iter().map(|address| self.judge(*address)).collect()
    }

    fn judge(&self, address: IpAddr) -> Result<PermittedAddr, Denied> {
        let rules = &self.policy.rules;
        let address = unmapped(address);
        let inner = embedded(address);
        let asked = self.question(Some(address));
        let denied = |address| self.is_denied(Some(address));
        if denied(address) || inner.is_some_and(denied) {
            return Err(Denied::ByRule);
        }
        let closed = self
            .closed(address)
            .or_else(|| inner.and_then(|inner| self.closed(inner)));
        let opened = |rule: &&Rule| rule.matches(&asked) && (closed.is_none() || rule.names_addresses());
        let permitted = rules.allow.iter().any(|rule| opened(&rule));
        match (permitted, closed, rules.default) {
            (false, Some(closed), _) => Err(Denied::Special(closed)),
            (false, None, DefaultAction::Deny) => Err(Denied::ByDefault),
            _ => Ok(PermittedAddr(SocketAddr::new(address, self.target.port.get()))),
        }
    }

    /// Whether an address that turns out to be this machine's own may be used: a rule opens its range.
    ///
    /// # Errors
    /// No rule does.
    pub fn own_address(&self, address: IpAddr) -> Result<(), Denied> {
        let address = unmapped(address);
        match self.policy.rules.allow.iter().any(|rule| rule.covers(address)) {
            true => Ok(()),
            false => Err(Denied::Special(Special::Own)),
        }
    }

    /// The kind of an address that only a rule with a range opens.
    fn closed(&self, address: IpAddr) -> Option<Special> {
        let own = || self.policy.own.borrow().contains(address).then_some(Special::Own);
        special(address).or_else(own)
    }

    /// A name that is denied, or that no allow rule could open, need not be resolved.
    fn judge_name(&self) -> Result<(), Denied> {
        let rules = &self.policy.rules;
        let asked = self.question(None);
        if self.is_denied(None) {
            return Err(Denied::ByRule);
        }
        let hopeless = || !rules.allow.iter().any(|rule| rule.may_match(&asked));
        if rules.default == DefaultAction::Deny && hopeless() {
            return Err(Denied::ByDefault);
        }
        Ok(())
    }

    /// Whether a deny rule names the target, by any of its names.
    fn is_denied(&self, address: Option<IpAddr>) -> bool {
        let asked = self.question(address);
        let also = self.also.as_deref().map(|name| Question {
            name: Some(name),
            ..self.question(address)
        });
        let matches =
            |rule: &Rule| rule.matches(&asked) || also.as_ref().is_some_and(|also| rule.matches(also));
        self.policy.rules.deny.iter().any(matches)
    }

    fn question(&self, address: Option<IpAddr>) -> Question<'_> {
        Question {
            name: match &self.target.host {
                Host::Name(name) => Some(name),
                Host::V4(_) | Host::V6(_) => None,
            },
            address,
            port: self.target.port.get(),
            agent: &self.agent,
        }
    }
}

#[cfg(test)]
mod tests;
