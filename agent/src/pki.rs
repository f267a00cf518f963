//! The private CA of a tunnel: `fluidity pki`.
//!
//! One directory holds a CA and what it issued: `directory` keeps the files, `authority` signs, `identity` is who
//! a certificate is for, `certificate` and `listing` read them back. Invariants: a private key is never readable
//! by others, not even for a moment; no file is overwritten unless that was asked for; a certificate never outlives
//! its CA. `docs/pki.md` is the manual. Not on any byte's way: the daemons only read the files.

mod authority;
mod certificate;
mod directory;
mod error;
mod identity;
mod listing;

pub use error::PkiError;
pub use identity::Role;

use authority::{Authority, Days};
use certificate::{Certificate, day};
use clap::{Args, Subcommand};
use directory::{CA, Directory, Existing};
use fluidity_daemon::output::stdout;
use identity::Identity;
use std::io::Write;
use std::path::PathBuf;
use time::OffsetDateTime;

/// What `fluidity pki` can be told to do.
#[derive(Debug, Subcommand)]
pub enum PkiCommand {
    /// Make a private CA: its certificate (ca.pem) and its key (ca.key).
    Init {
        /// The CA's name, for people.
        #[arg(long, default_value = "Fluidity CA")]
        name: String,
        /// How long the CA is valid.
        #[arg(long, default_value_t = 3650, value_parser = days())]
        days: u32,
        /// Replace a CA that is there. What it issued is worthless then.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Make a certificate and key for a server or an agent.
    Issue {
        #[command(subcommand)]
        command: IssueCommand,
    },
    /// Show every certificate: whose it is, how long it is valid, its fingerprint.
    Show {
        #[command(flatten)]
        place: Place,
    },
    /// Replace a certificate and its key by new ones for the same identity; without a name, all of them.
    Renew {
        /// Whose: a server's or an agent's.
        #[arg(requires = "name")]
        role: Option<Role>,
        /// The name that it was issued for.
        name: Option<String>,
        /// How long the new certificate is valid; it never outlives the CA.
        #[arg(long, default_value_t = 365, value_parser = days())]
        days: u32,
        #[command(flatten)]
        place: Place,
    },
}

/// For whom a certificate is made.
#[derive(Debug, Subcommand)]
pub enum IssueCommand {
    /// Make server-NAME.pem and server-NAME.key.
    Server {
        /// The DNS name that agents ask for (server.name in agent.yaml). It need not exist in DNS.
        name: String,
        /// A further DNS name or IP address that the certificate is good for; may be given again.
        #[arg(long, value_name = "DNS-OR-IP")]
        san: Vec<String>,
        #[command(flatten)]
        options: IssueOptions,
    },
    /// Make agent-NAME.pem and agent-NAME.key.
    Agent {
        /// The name that the server knows this agent by: 1 to 64 of a-z, 0-9, '.', '_', '-'.
        name: String,
        #[command(flatten)]
        options: IssueOptions,
    },
}

/// How a certificate is made.
#[derive(Debug, Args)]
pub struct IssueOptions {
    /// How long the certificate is valid; it never outlives the CA.
    #[arg(long, default_value_t = 365, value_parser = days())]
    days: u32,
    /// Replace the files if they are there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    place: Place,
}

/// Where the CA is.
#[derive(Debug, Args)]
pub struct Place {
    /// The directory of the CA.
    #[arg(long, value_name = "DIR", default_value = "pki")]
    dir: PathBuf,
}

/// Does what was asked for and says so on standard output.
///
/// # Errors
/// Whatever [`run_to`] finds.
pub fn run(command: PkiCommand) -> Result<(), PkiError> {
    run_to(command, &mut stdout())
}

/// Does what was asked for, and writes what was made and what to do next to `out`.
///
/// # Errors
/// A name that is not allowed, a file that is there already, a CA that is missing, over, or readable by others, a
/// file system that refuses, an `out` that cannot be written to.
pub fn run_to(command: PkiCommand, out: &mut impl Write) -> Result<(), PkiError> {
    let now = OffsetDateTime::now_utc();
    match command {
        PkiCommand::Init {
            name,
            days,
            force,
            place,
        } => {
            let directory = Directory::new(place.dir);
            let (files, until) = Authority::create(&name, Days(days), now)?;
            directory.create()?;
            directory.write(CA, &files, Existing::replaced_if(force))?;
            said_made_authority(out, &directory, until)?;
            if every_issued(&directory).is_ok() {
                let advice = format!(
                    "what the old CA issued is worthless now: fluidity pki renew{}\n",
                    directory.flag()
                );
                out.write_all(advice.as_bytes()).map_err(PkiError::Output)?;
            }
            Ok(())
        }
        PkiCommand::Issue { command } => {
            let (identity, options) = match command {
                IssueCommand::Server { name, san, options } => (Identity::server(&name, &san)?, options),
                IssueCommand::Agent { name, options } => (Identity::agent(&name)?, options),
            };
            let directory = Directory::new(options.place.dir);
            let (files, until) =
                Authority::open(&directory, now)?.issue(&identity, Days(options.days), now)?;
            directory.write(&identity.stem(), &files, Existing::replaced_if(options.force))?;
            said_issued(out, &directory, &identity, until)
        }
        PkiCommand::Show { place } => listing::show(&Directory::new(place.dir), now, out),
        PkiCommand::Renew {
            role,
            name,
            days,
            place,
        } => {
            let directory = Directory::new(place.dir);
            let authority = Authority::open(&directory, now)?;
            let identities = match role.zip(name) {
                Some((role, name)) => vec![issued(&directory, role, &name)?],
                None => every_issued(&directory)?,
            };
            for identity in identities {
                let (files, until) = authority.issue(&identity, Days(days), now)?;
                directory.write(&identity.stem(), &files, Existing::Replaced)?;
                said_renewed(out, &directory, &identity, until)?;
            }
            writeln!(
                out,
                "next: bring each pair to its machine; a daemon that runs there takes it by itself"
            )
            .map_err(PkiError::Output)
        }
    }
}

/// Whom the certificate of that role and name was issued for, with everything that it says.
fn issued(directory: &Directory, role: Role, name: &str) -> Result<Identity, PkiError> {
    // The name becomes part of a path only after it was found to be one that is issued.
    let named = match role {
        Role::Server => Identity::server(name, &[])?,
        Role::Agent => Identity::agent(name)?,
    };
    let path = directory.certificate(&named.stem());
    if !directory.has(&path) {
        return Err(PkiError::NeverIssued {
            path,
            role,
            name: name.to_owned(),
        });
    }
    named.confirmed_by(&Certificate::read(&path)?, &path)
}

fn every_issued(directory: &Directory) -> Result<Vec<Identity>, PkiError> {
    let mut identities = Vec::new();
    for stem in directory.stems()? {
        if let Some((role, name)) = Role::split(&stem) {
            identities.push(issued(directory, role, name)?);
        }
    }
    if identities.is_empty() {
        return Err(PkiError::NothingIssued {
            directory: directory.path().into(),
        });
    }
    Ok(identities)
}

fn said_made_authority(
    out: &mut impl Write,
    directory: &Directory,
    until: OffsetDateTime,
) -> Result<(), PkiError> {
    let text = format!(
        "made a private CA, valid until {}\n  {}  the certificate: every server and agent needs a copy\n  \
         {}  the key: whoever has it can be any server and any agent; keep it off the servers\n\
         next: fluidity pki issue server NAME{dir}\n      fluidity pki issue agent NAME{dir}\n",
        day(until),
        directory.certificate(CA).display(),
        directory.key(CA).display(),
        dir = directory.flag(),
    );
    out.write_all(text.as_bytes()).map_err(PkiError::Output)
}

fn said_issued(
    out: &mut impl Write,
    directory: &Directory,
    identity: &Identity,
    until: OffsetDateTime,
) -> Result<(), PkiError> {
    let stem = identity.stem();
    let file = match identity.role() {
        Role::Server => "server.yaml",
        Role::Agent => "agent.yaml",
    };
    let text = format!(
        "issued a certificate for {identity}, valid until {}\n  {}\n  {}  private: no copy but the one in use\n\
         next: bring both and {} to its machine, and name them in {file}:\n\
         \x20 identity: {{ certificate: {stem}.pem, key: {stem}.key, ca: ca.pem }}\n",
        day(until),
        directory.certificate(&stem).display(),
        directory.key(&stem).display(),
        directory.certificate(CA).display(),
    );
    out.write_all(text.as_bytes()).map_err(PkiError::Output)
}

fn said_renewed(
    out: &mut impl Write,
    directory: &Directory,
    identity: &Identity,
    until: OffsetDateTime,
) -> Result<(), PkiError> {
    let stem = identity.stem();
    writeln!(
        out,
        "renewed {identity}, valid until {}: {}, {}",
        day(until),
        directory.certificate(&stem).display(),
        directory.key(&stem).display(),
    )
    .map_err(PkiError::Output)
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=36_500)
}

#[cfg(test)]
mod tests;
