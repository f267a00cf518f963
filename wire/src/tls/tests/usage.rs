//! What a certificate is for, and what a CA may sign: as the certificates say, and not otherwise.

use super::handshake::meet;
use super::*;
use rustls::{CertificateError, Error};

impl Authority {
    /// Issues by an intermediate, which is shown, with the CA's own certificate behind it.
    fn issue_below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "between");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let between = params.signed_by(&key, &self.issuer).unwrap();
        let below = Authority {
            directory: self.directory.clone(),
            issuer: Issuer::new(params, key),
        };
        below.issue(name, change);
        // The directory is the other's.
        std::mem::forget(below);
        let leaf = fs::read_to_string(self.path(&format!("{name}.pem"))).unwrap();
        let chain = [leaf, between.pem(), self.own()].concat();
        fs::write(self.path(&format!("{name}.pem")), chain).unwrap();
    }

    fn own(&self) -> String {
        fs::read_to_string(self.path("ca.pem")).unwrap()
    }
}

fn without_usage(params: &mut CertificateParams) {
    params.extended_key_usages.clear();
}

#[test]
fn a_certificate_that_does_not_say_what_it_is_for_is_refused_at_both_ends() {
    let ca = Authority::new();
    ca.issue("bare-agent", |params| {
        agent(params);
        without_usage(params);
    });
    ca.issue("bare-server", |params| {
        server(params);
        without_usage(params);
    });
    let (bare_agent, bare_server) = (ca.load("bare-agent").unwrap(), ca.load("bare-server").unwrap());
    let purpose = Error::from(CertificateError::InvalidPurpose);
    let refused = meet(bare_agent.client_config(), ca.server().server_config(), SERVER).unwrap_err();
    assert_eq!(refused, handshake::Refused::ByServer(purpose.clone()));
    let refused = meet(ca.agent().client_config(), bare_server.server_config(), SERVER).unwrap_err();
    assert_eq!(refused, handshake::Refused::ByClient(purpose));
}

#[test]
fn a_ca_that_signs_leaves_only_vouches_for_nobody_below_an_intermediate() {
    for (constraints, accepted) in [
        (BasicConstraints::Constrained(0), false),
        (BasicConstraints::Constrained(1), true),
        (BasicConstraints::Unconstrained, true),
    ] {
        let ca = Authority::with(constraints);
        ca.issue_below("agent-below", agent);
        ca.issue_below("server-below", server);
        let (below, exit) = (ca.load("agent-below").unwrap(), ca.load("server-below").unwrap());
        let met = meet(below.client_config(), ca.server().server_config(), SERVER);
        assert_eq!(met.is_ok(), accepted, "{constraints:?}: {met:?}");
        let met = meet(ca.agent().client_config(), exit.server_config(), SERVER);
        assert_eq!(met.is_ok(), accepted, "{constraints:?}: {met:?}");
    }
}

#[test]
fn the_cas_own_certificate_may_be_shown_with_the_leaf() {
    let ca = Authority::new();
    ca.issue("agent", agent);
    ca.issue("server", server);
    for name in ["agent", "server"] {
        let leaf = fs::read_to_string(ca.path(&format!("{name}.pem"))).unwrap();
        fs::write(ca.path(&format!("{name}.pem")), [leaf, ca.own()].concat()).unwrap();
    }
    let (agent, server) = (ca.load("agent").unwrap(), ca.load("server").unwrap());
    meet(agent.client_config(), server.server_config(), SERVER).unwrap();
}

#[test]
fn certificates_can_be_held_against_another_identity_later() {
    let (ca, other) = (Authority::new(), Authority::new());
    let met = meet(ca.agent().client_config(), ca.server().server_config(), SERVER).unwrap();
    ca.server().accepts_agent(&met.chain).unwrap();
    other.server().accepts_agent(&met.chain).unwrap_err();
    ca.server().accepts_agent(&[]).unwrap_err();
    let server = met.client.peer_certificates().unwrap();
    ca.agent().accepts_server(server, SERVER).unwrap();
    ca.agent().accepts_server(server, "another").unwrap_err();
    other.agent().accepts_server(server, SERVER).unwrap_err();
    // Each is for its own end only.
    ca.server().accepts_agent(server).unwrap_err();
    ca.agent().accepts_server(&met.chain, SERVER).unwrap_err();
}

#[test]
fn a_certificate_that_does_not_say_what_it_is_for_is_an_error_at_the_start() {
    let ca = Authority::new();
    ca.issue("bare", |params| {
        agent(params);
        without_usage(params);
    });
    let mut source = IdentitySource::files(&ca.path("bare.pem"), &ca.path("bare.key"), &ca.path("ca.pem"));
    source.load().unwrap();
    source.role = Some(Role::Agent);
    let said = source.load().unwrap_err().to_string();
    assert!(said.contains("clientAuth") && said.contains("bare.pem"), "{said}");
}
