//! `keys generate`: fresh secrets and private keys, in the forms that the configuration takes; `keys public`: what a
//! provider is given of one.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use aws_lc_rs::{error::Unspecified, rand, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

use super::Failure;
use super::input::{self, Unread};
use crate::config::ClientKey;
use crate::environment::{SystemRandom, random_text};

/// Bytes of a secret: HMAC-SHA256 gains nothing from more than 64 and is unsafe below 32.
const SECRET_BYTES: usize = 48;

/// What a key is made for; the names are those of `session.algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Algorithm {
    /// A random secret on one line.
    #[value(name = "HS256")]
    HS256,
    /// P-256.
    #[value(name = "ES256")]
    ES256,
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDSA,
    /// RSA, 3072 bits.
    #[value(name = "RS256")]
    RS256,
}

/// Prints a fresh secret or key, or writes it to a new file of mode 0600.
pub(super) fn generate(algorithm: Algorithm, out: Option<&Path>) -> Result<(), Failure> {
    let text = fresh(algorithm).map_err(|_| {
        Failure::new(format!("no key for {algorithm:?} could be made"))
            .hint("the operating system gave no random bytes; try again")
    })?;
    match out {
        None => Ok(io::stdout().write_all(text.as_bytes())?),
        Some(path) => write_new(path, &text),
    }
}

/// Larger files are no key: somebody named the wrong file.
const LARGEST: u64 = 1 << 20;

/// Prints the public half of a `private_key` as a JWK Set (RFC 7517 5). It needs no configuration, since a provider
/// may ask for the key before it gives the client's id.
pub(super) fn public(file: &Path) -> Result<(), Failure> {
    let text = input::text(file, LARGEST).map_err(|unread| {
        let reason = match unread {
            Unread::Fault(fault) => fault.to_string(),
            Unread::TooLarge => "more than 1 MiB".to_owned(),
        };
        Failure::new(format!("{}: {reason}", file.display()))
            .hint("name the PEM file of the private key")
    })?;
    let key = ClientKey::read(text.as_bytes())
        .map_err(|fault| Failure::new(format!("{}: {fault}", file.display())).hint(fault.hint))?;
    let set = serde_json::json!({ "keys": [key.public()] });
    Ok(writeln!(io::stdout(), "{set:#}")?)
}

fn fresh(algorithm: Algorithm) -> Result<String, Unspecified> {
    let random = rand::SystemRandom::new();
    match algorithm {
        Algorithm::HS256 => Ok(random_text::<SECRET_BYTES>(&SystemRandom) + "\n"),
        Algorithm::ES256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .map(|der| pem(der.as_ref())),
        // Version 1, without the public key: OpenSSL before 3.0 reads no other.
        Algorithm::EdDSA => Ed25519KeyPair::generate_pkcs8v1(&random).map(|der| pem(der.as_ref())),
        Algorithm::RS256 => {
            let key = rsa::KeyPair::generate(KeySize::Rsa3072)?;
            let der: Pkcs8V1Der<'_> = key.as_der()?;
            Ok(pem(der.as_ref()))
        }
    }
}

/// PKCS#8 as RFC 7468 10 writes it.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN PRIVATE KEY-----\n".to_owned();
    // Base64 is ASCII: every byte is a character.
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().copied().map(char::from));
        pem.push('\n');
    }
    pem + "-----END PRIVATE KEY-----\n"
}

/// Never overwrites: the old file may be the key that live sessions were signed with.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| {
        let failure = Failure::new(format!("{}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::AlreadyExists => {
                failure.hint("an existing key is never overwritten; name another file")
            }
            io::ErrorKind::NotFound => failure.hint("make the folder first"),
            _ => failure,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation};

    #[test]
    fn a_secret_is_one_line_of_base64url_of_48_bytes() {
        let secret = fresh(Algorithm::HS256).unwrap();
        assert_eq!(secret.len(), 64 + 1);
        assert!(secret.ends_with('\n'));
        assert_ne!(secret, fresh(Algorithm::HS256).unwrap());
    }

    #[test]
    fn every_private_key_signs_what_its_public_key_verifies() {
        type Reader = fn(&[u8]) -> jsonwebtoken::errors::Result<EncodingKey>;
        let cases: [(Algorithm, jsonwebtoken::Algorithm, Reader); 3] = [
            (
                Algorithm::ES256,
                jsonwebtoken::Algorithm::ES256,
                EncodingKey::from_ec_pem,
            ),
            (
                Algorithm::EdDSA,
                jsonwebtoken::Algorithm::EdDSA,
                EncodingKey::from_ed_pem,
            ),
            (
                Algorithm::RS256,
                jsonwebtoken::Algorithm::RS256,
                EncodingKey::from_rsa_pem,
            ),
        ];
        for (algorithm, name, read) in cases {
            let pem = fresh(algorithm).unwrap();
            assert!(pem.lines().all(|line| line.len() <= 64), "{pem}");
            let key = read(pem.as_bytes()).unwrap();
            let claims = serde_json::json!({ "exp": 4_000_000_000_u64 });
            let token = jsonwebtoken::encode(&Header::new(name), &claims, &key).unwrap();
            let public = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, name).unwrap();
            let public = DecodingKey::from_jwk(&public).unwrap();
            jsonwebtoken::decode::<serde_json::Value>(&token, &public, &Validation::new(name))
                .unwrap();
        }
    }
}
