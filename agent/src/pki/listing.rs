//! `fluidity pki show`: every certificate of the directory, for people.

use super::PkiError;
use super::certificate::{Certificate, Standing};
use super::directory::{CA, Directory};
use fluidity_wire::plain;
use std::fmt::Write as _;
use std::io::Write;
use time::OffsetDateTime;

/// Writes what every certificate of the directory says and how it stands at `now`.
pub(super) fn show(directory: &Directory, now: OffsetDateTime, out: &mut impl Write) -> Result<(), PkiError> {
    let none = || PkiError::NoAuthority {
        directory: directory.path().into(),
    };
    if !directory.path().is_dir() {
        return Err(none());
    }
    let stems = directory.stems()?;
    if stems.is_empty() {
        return Err(none());
    }
    let authority = Certificate::read(&directory.certificate(CA)).ok();
    for stem in stems {
        let entry = match Certificate::read(&directory.certificate(&stem)) {
            Ok(certificate) => entry(&stem, &certificate, authority.as_ref(), now),
            // One bad file does not hide the others.
            Err(error) => format!("{stem}.pem: {error}\n"),
        };
        out.write_all(entry.as_bytes()).map_err(PkiError::Output)?;
    }
    Ok(())
}

fn entry(
    stem: &str,
    certificate: &Certificate,
    authority: Option<&Certificate>,
    now: OffsetDateTime,
) -> String {
    let mut marks = Vec::new();
    match certificate.standing(now) {
        Standing::Expired => marks.push("EXPIRED"),
        Standing::NotYetValid => marks.push("NOT YET VALID"),
        Standing::ExpiresSoon => marks.push("EXPIRES SOON"),
        Standing::Valid => {}
    }
    if !certificate.is_authority && authority.is_some_and(|authority| !certificate.is_of(authority)) {
        marks.push("OF ANOTHER CA");
    }
    let mut text = format!("{stem}.pem");
    for mark in marks {
        // Writing to a String does not fail.
        let _ = write!(text, "  [{mark}]");
    }
    let names = match (certificate.is_authority, certificate.names.is_empty()) {
        (true, true) => "none: it is the CA".to_owned(),
        // A certificate may be of somebody else's making.
        _ => plain(&certificate.names_for_people(), MOST_NAME),
    };
    let usages = match (certificate.is_authority, certificate.usages.is_empty()) {
        (true, true) => "signs certificates".to_owned(),
        (false, true) => "not limited".to_owned(),
        _ => certificate.usages.join(", "),
    };
    let _ = write!(
        text,
        "\n  subject      {}\n  names        {names}\n  usage        {usages}\n  not before   {}\n  \
         not after    {}  ({})\n  SHA-256      {}\n",
        plain(&certificate.subject, MOST_NAME),
        moment(certificate.not_before),
        moment(certificate.not_after),
        left(certificate.days_left(now), certificate.standing(now)),
        colons(&certificate.fingerprint),
    );
    text
}

fn left(days: i64, standing: Standing) -> String {
    match (standing, days) {
        (Standing::Expired, days) => format!("{} days ago", days.abs()),
        (_, 1) => "1 day left".to_owned(),
        (_, days) => format!("{days} days left"),
    }
}

fn moment(moment: OffsetDateTime) -> String {
    format!(
        "{} {:02}:{:02} UTC",
        moment.date(),
        moment.hour(),
        moment.minute()
    )
}

fn colons(bytes: &[u8]) -> String {
    let bytes: Vec<_> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(":")
}

/// Characters of a subject, and of a certificate's names together.
const MOST_NAME: usize = 1000;
