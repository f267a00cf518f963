//! PEM texts as editors, shells, secret stores and `openssl` leave them (RFC 7468), and what is wrong with others.
//!
//! What stands between `BEGIN` and `END` is base64, so white space in it means nothing: line breaks that were lost, or
//! came as `\n`, change no byte of the content. Whatever stands around a section is passed over.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;

/// What a text holds in the place of what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing at all.
    Nothing,
    /// Certificates only.
    Certificate,
    /// A private key only.
    Key,
    /// A private key that needs a passphrase.
    EncryptedKey,
    /// A key that ssh made.
    SshKey,
    /// A request for a certificate.
    Request,
    /// A public key.
    PublicKey,
    /// The beginning of a section without its end.
    Cut,
    /// A section whose base64 has other characters in it, or ends too early.
    Damaged,
    /// PEM that was encoded once more.
    Base64,
    /// DER, or a PKCS#12 store.
    Binary,
    /// Something else.
    Other,
}

impl fmt::Display for Found {
    /// What follows "X holds no certificate in PEM form".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => ": it is empty; use the file that fluidity pki made",
            Self::Certificate => " but a certificate: are certificate and key swapped? The .pem is the certificate, the .key the key",
            Self::Key => " but a private key: are certificate and key swapped? The .pem is the certificate, the .key the key",
            Self::EncryptedKey => {
                " but one that needs a passphrase, and nobody is there to type it; decrypt it with: openssl pkey -in FILE"
            }
            Self::SshKey => " but a key of ssh, which is of no use here; use the file that fluidity pki made",
            Self::Request => " but a request for one (CSR); use the certificate that was issued for it",
            Self::PublicKey => " but a public key; use the file that fluidity pki made",
            Self::Cut => ": its BEGIN line has no END line, so a part is missing; copy the whole text, line breaks included",
            Self::Damaged => ": the text between BEGIN and END is damaged; copy the whole text again, line breaks included",
            Self::Base64 => ": it is base64 of a PEM text; decode it once, with: base64 -d",
            Self::Binary => ": it is binary (DER or PKCS#12); convert it with openssl x509 or openssl pkey",
            Self::Other => "; use the file that fluidity pki made",
        })
    }
}

/// All certificates of a text, in their order.
pub(super) fn certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Found> {
    let text = Text::new(bytes);
    let sections = text.sections()?;
    let found = sections
        .iter()
        .filter(|section| matches!(section.label, "CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|section| CertificateDer::from_pem_slice(section.pem("CERTIFICATE").as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Found::Damaged)?;
    match found.is_empty() {
        true => Err(text.instead(&sections)),
        false => Ok(found),
    }
}

/// All private keys of a text, in their order.
pub(super) fn private_keys(bytes: &[u8]) -> Result<Vec<PrivateKeyDer<'static>>, Found> {
    let text = Text::new(bytes);
    let sections = text.sections()?;
    let plain = |section: &&Section<'_>| {
        matches!(
            section.label,
            "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY"
        ) && !section.is_encrypted()
    };
    let found = sections
        .iter()
        .filter(plain)
        .map(|section| PrivateKeyDer::from_pem_slice(section.pem(section.label).as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| Found::Damaged)?;
    match found.is_empty() {
        true => Err(text.instead(&sections)),
        false => Ok(found),
    }
}

/// A text whose line breaks are line breaks.
struct Text {
    text: String,
    is_binary: bool,
}

/// One section: what stands between its BEGIN and its END.
struct Section<'a> {
    label: &'a str,
    body: &'a str,
}

impl Text {
    fn new(bytes: &[u8]) -> Self {
        let text = match bytes {
            [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
            [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
            bytes => String::from_utf8_lossy(bytes).into_owned(),
        };
        Self {
            // A DER SEQUENCE; no text that people write begins so and goes on with such a length.
            is_binary: matches!(bytes, [0x30, 0x80..=0x84, ..]),
            text: text.replace("\\r", "\n").replace("\\n", "\n"),
        }
    }

    fn sections(&self) -> Result<Vec<Section<'_>>, Found> {
        let mut sections = Vec::new();
        let mut rest = self.text.as_str();
        while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
            let (label, body) = begun.split_once("-----").ok_or(Found::Cut)?;
            let end = format!("-----END {label}-----");
            let (body, after) = body.split_once(&end).ok_or(Found::Cut)?;
            // Another section begins in between: this one was cut.
            if body.contains("-----BEGIN ") {
                return Err(Found::Cut);
            }
            sections.push(Section { label, body });
            rest = after;
        }
        Ok(sections)
    }

    /// What there is where nothing of the right kind is.
    fn instead(&self, sections: &[Section<'_>]) -> Found {
        let known = sections.iter().map(|section| match section.label {
            "ENCRYPTED PRIVATE KEY" => Found::EncryptedKey,
            "OPENSSH PRIVATE KEY" => Found::SshKey,
            label if label.ends_with("PRIVATE KEY") && section.is_encrypted() => Found::EncryptedKey,
            label if label.ends_with("PRIVATE KEY") => Found::Key,
            label if label.ends_with("PUBLIC KEY") => Found::PublicKey,
            label if label.ends_with("REQUEST") => Found::Request,
            label if label.ends_with("CERTIFICATE") => Found::Certificate,
            _ => Found::Other,
        });
        if let Some(found) = known.min_by_key(|found| *found == Found::Other) {
            return found;
        }
        let text = self.text.trim_start_matches(['\u{feff}', '"', '\'']).trim();
        match text {
            "" => Found::Nothing,
            // "-----BEGIN" in base64.
            text if text.starts_with("LS0tLS1CRUdJTi") => Found::Base64,
            _ if self.is_binary => Found::Binary,
            text if text.contains("-----END ") => Found::Cut,
            _ => Found::Other,
        }
    }
}

impl Section<'_> {
    /// RFC 1421 §4.6.1.1, as `openssl` writes it in front of old keys.
    fn is_encrypted(&self) -> bool {
        self.body.contains("ENCRYPTED")
    }

    /// The section as every parser reads it.
    fn pem(&self, label: &str) -> String {
        let base64 = self.body.lines().filter(|line| !line.contains(": "));
        let base64: String = base64
            .flat_map(str::chars)
            .filter(|char| !char.is_whitespace() && !matches!(char, '"' | '\'' | '\\' | '\u{feff}'))
            .collect();
        format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n")
    }
}

fn utf16(bytes: &[u8], read: fn([u8; 2]) -> u16) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|pair| pair.try_into().ok().map(read))
        .collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_text_is_read_however_it_came() {
        let (certificate, key) = pair();
        let clean = (
            certificates(certificate.as_bytes()).unwrap(),
            private_keys(key.as_bytes()).unwrap(),
        );
        let ways: [fn(&str) -> Vec<u8>; 12] = [
            |pem| format!("\u{feff}{pem}").into(),
            |pem| pem.replace('\n', "\r\n").into(),
            |pem| pem.replace('\n', "\\n").into(),
            |pem| pem.replace('\n', "\\r\\n").into(),
            |pem| pem.replace('\n', " ").into(),
            |pem| pem.replace('\n', "").into(),
            |pem| pem.replace('\n', "\n    ").into(),
            |pem| format!("\"{}\"\n", pem.replace('\n', "\\n")).into(),
            |pem| format!("'{pem}'").into(),
            |pem| {
                format!("Bag Attributes\n    friendlyName: laptop\nKey Attributes: <No Attributes>\n{pem}\n\n# end").into()
            },
            |pem| {
                [0xff, 0xfe]
                    .into_iter()
                    .chain(pem.encode_utf16().flat_map(u16::to_le_bytes))
                    .collect()
            },
            |pem| pem.trim_end().into(),
        ];
        for (number, way) in ways.into_iter().enumerate() {
            let came = (certificates(&way(&certificate)), private_keys(&way(&key)));
            assert_eq!(came, (Ok(clean.0.clone()), Ok(vec_of(&clean.1))), "way {number}");
        }
    }

    fn vec_of(keys: &[PrivateKeyDer<'_>]) -> Vec<PrivateKeyDer<'static>> {
        keys.iter().map(PrivateKeyDer::clone_key).collect()
    }

    #[test]
    fn one_file_may_hold_both_and_several() {
        let (certificate, key) = pair();
        let both = format!("{key}{certificate}{certificate}");
        assert_eq!(certificates(both.as_bytes()).unwrap().len(), 2);
        assert_eq!(private_keys(both.as_bytes()).unwrap().len(), 1);
        let parameters =
            format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}");
        assert_eq!(private_keys(parameters.as_bytes()).unwrap().len(), 1);
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let (certificate, key) = pair();
        let half = certificate.get(..200).unwrap();
        let section = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
        for (text, found) in [
            ("", Found::Nothing),
            ("\u{feff}\r\n", Found::Nothing),
            (key.as_str(), Found::Key),
            (half, Found::Cut),
            ("-----END CERTIFICATE-----\n", Found::Cut),
            ("LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t", Found::Base64),
            ("no certificate", Found::Other),
            (&section("CERTIFICATE REQUEST"), Found::Request),
            (&section("PUBLIC KEY"), Found::PublicKey),
            (&section("ENCRYPTED PRIVATE KEY"), Found::EncryptedKey),
            (&section("OPENSSH PRIVATE KEY"), Found::SshKey),
            (&certificate.replace("MI", "M*"), Found::Damaged),
        ] {
            assert_eq!(certificates(text.as_bytes()), Err(found), "{text}");
        }
        assert_eq!(certificates(&[0x30, 0x82, 1, 2]), Err(Found::Binary));
        assert_eq!(private_keys(certificate.as_bytes()), Err(Found::Certificate));
        assert_eq!(private_keys(old.as_bytes()), Err(Found::EncryptedKey));
    }
}
