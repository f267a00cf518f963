//! How long a peer may stay: no connection outlives a certificate that it rests on.
//!
//! By the clock on the wall, which may be set, and which goes on while a machine sleeps: it is looked at again and again.

use quinn::Connection;
use rustls_pki_types::CertificateDer;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::sleep;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The certificates that a connection's peer showed, its own first.
pub fn peer_certificates(connection: &Connection) -> Vec<CertificateDer<'static>> {
    connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .map_or_else(Vec::new, |certificates| *certificates)
}

/// When the first of these certificates ends. None, or one that cannot be read, has ended already.
pub fn first_end(certificates: &[CertificateDer<'_>]) -> SystemTime {
    let ends = certificates.iter().map(|certificate| {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    });
    ends.map(|end| end.unwrap_or(UNIX_EPOCH))
        .min()
        .unwrap_or(UNIX_EPOCH)
}

/// Completes when the clock says that it is `end`, or later. Cancel safe.
pub async fn reached(end: SystemTime) {
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        // Never exactly zero while there is something left: the timer is rounded up to its next tick.
        sleep(left.min(LOOK)).await;
        if left.is_zero() {
            return;
        }
    }
}

/// A clock that was set is noticed within that.
const LOOK: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    fn until(seconds: u64) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.not_after = (UNIX_EPOCH + Duration::from_secs(seconds)).into();
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates() {
        let end = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let (early, late) = (until(2_000_000_000), until(3_000_000_000));
        assert_eq!(first_end(std::slice::from_ref(&late)), end(3_000_000_000));
        assert_eq!(first_end(&[late.clone(), early]), end(2_000_000_000));
        assert_eq!(first_end(&[]), UNIX_EPOCH);
        assert_eq!(
            first_end(&[late, CertificateDer::from(vec![1, 2, 3])]),
            UNIX_EPOCH
        );
    }

    #[tokio::test]
    async fn an_end_is_waited_for_and_one_that_has_passed_is_not() {
        reached(UNIX_EPOCH).await;
        let end = SystemTime::now() + Duration::from_millis(50);
        reached(end).await;
        assert!(SystemTime::now() >= end);
    }
}
