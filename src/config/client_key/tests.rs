use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};

use super::*;

fn generated(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::KeyPair {
    if algorithm == &rcgen::PKCS_ED25519 {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = aws_lc_rs::signature::Ed25519KeyPair::generate_pkcs8v1(&random).unwrap();
        return rcgen::KeyPair::try_from(key.as_ref()).unwrap();
    }
    rcgen::KeyPair::generate_for(algorithm).unwrap()
}

fn certificate(key: &rcgen::KeyPair) -> rcgen::Certificate {
    let parameters = rcgen::CertificateParams::new(["vestibule".to_owned()]).unwrap();
    parameters.self_signed(key).unwrap()
}

#[test]
fn every_kind_of_key_signs_what_its_public_half_verifies() {
    for (kind, algorithms) in [
        (&rcgen::PKCS_RSA_SHA256, &["RS256", "PS256"][..]),
        (&rcgen::PKCS_ECDSA_P256_SHA256, &["ES256"]),
        (&rcgen::PKCS_ED25519, &["EdDSA"]),
    ] {
        let key = ClientKey::read(generated(kind).serialize_pem().as_bytes()).unwrap();
        let names: Vec<_> = key
            .algorithms()
            .iter()
            .map(|it| format!("{it:?}"))
            .collect();
        assert_eq!(names, algorithms);
        let public = serde_json::to_value(key.public()).unwrap();
        assert!(
            public.get("d").is_none() && public.get("k").is_none(),
            "{public}"
        );
        assert_eq!(public["use"], "sig");
        let named = algorithms.len() == 1;
        assert_eq!(
            public["alg"],
            if named {
                json!(algorithms[0])
            } else {
                json!(null)
            }
        );
        for algorithm in key.algorithms() {
            let claims = json!({ "exp": 4_000_000_000_u64 });
            let signed = key.sign(*algorithm, &claims).unwrap();
            let header = jsonwebtoken::decode_header(&signed).unwrap();
            assert_eq!(header.kid, key.public().common.key_id);
            assert_eq!((header.x5t, header.x5t_s256), (None, None));
            let verifying = DecodingKey::from_jwk(key.public()).unwrap();
            jsonwebtoken::decode::<Value>(&signed, &verifying, &Validation::new(*algorithm))
                .unwrap();
        }
    }
}

#[test]
fn a_certificate_beside_the_key_is_named_too_wherever_it_stands() {
    for kind in [
        &rcgen::PKCS_RSA_SHA256,
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ED25519,
    ] {
        let key = generated(kind);
        let (own, other) = (certificate(&key), certificate(&generated(kind)));
        let (own_pem, key_pem) = (own.pem(), key.serialize_pem());
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, own.der());
        let sha256 = digest::digest(&digest::SHA256, own.der());
        for file in [
            format!("{own_pem}{key_pem}"),
            format!("{key_pem}{own_pem}"),
            format!("Bag Attributes\n{key_pem}{}{own_pem}", other.pem()),
        ] {
            let key = ClientKey::read(file.as_bytes()).unwrap();
            let signed = key.sign(key.algorithms()[0], &json!({})).unwrap();
            let header = jsonwebtoken::decode_header(&signed).unwrap();
            assert_eq!(header.x5t, Some(URL_SAFE_NO_PAD.encode(sha1)));
            assert_eq!(header.x5t_s256, Some(URL_SAFE_NO_PAD.encode(sha256)));
            assert!(header.kid.is_some());
        }
        let foreign = format!("{key_pem}{}", other.pem());
        let fault = ClientKey::read(foreign.as_bytes()).unwrap_err();
        assert_eq!(fault.found, "the certificate of another key");
    }
}

#[test]
fn a_file_that_cannot_sign_is_told_by_what_it_is() {
    let p256 = generated(&rcgen::PKCS_ECDSA_P256_SHA256);
    let pem = p256.serialize_pem();
    let block =
        |label: &str| format!("-----BEGIN {label}-----\nMHcCAQEEIA==\n-----END {label}-----\n");
    for (file, found, hint) in [
        (String::new(), "a file that is not PEM", "keys generate"),
        ("a secret".to_owned(), "a file that is not PEM", "keys generate"),
        (p256.public_key_pem(), "a PEM file of PUBLIC KEY alone", "private key here"),
        (certificate(&p256).pem(), "a PEM file of CERTIFICATE alone", "private key here"),
        (format!("{pem}{pem}"), "2 private keys", "leave the one"),
        (block("EC PRIVATE KEY"), "a PEM file of EC PRIVATE KEY", "openssl pkcs8"),
        (block("ENCRYPTED PRIVATE KEY"), "an encrypted key", "openssl pkey"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMHc=\n-----END RSA PRIVATE KEY-----".to_owned(),
            "an encrypted key",
            "openssl pkey",
        ),
        (block("OPENSSH PRIVATE KEY"), "a PEM file of OPENSSH PRIVATE KEY that cannot be used", "keys generate"),
        (block("PRIVATE KEY"), "a PEM file of PRIVATE KEY that cannot be used", "keys generate"),
        (
            generated(&rcgen::PKCS_ECDSA_P384_SHA384).serialize_pem(),
            "an EC key on another curve than P-256",
            "keys generate",
        ),
        (
            rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem(),
            "an Ed25519 key in a form that holds the public half too, or a broken one",
            "openssl pkey",
        ),
        (RSA_1024.to_owned(), "an RSA key of less than 2048 bits, or a broken one", "keys generate"),
    ] {
        let fault = ClientKey::read(file.as_bytes()).unwrap_err();
        assert_eq!(fault.found, found);
        assert!(fault.hint.contains(hint), "{found}: {}", fault.hint);
    }
}

#[test]
fn debug_shows_the_public_half_alone() {
    let pem = generated(&rcgen::PKCS_ECDSA_P256_SHA256).serialize_pem();
    let key = ClientKey::read(pem.as_bytes()).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.starts_with("ClientKey { public: "), "{shown}");
    assert!(!shown.contains("EncodingKey"), "{shown}");
}

/// Made for this test alone.
const RSA_1024: &str = "-----BEGIN RSA PRIVATE KEY-----
MIICXAIBAAKBgQC6AcWW6vz0MJ49HINO5VsyS97eG0cHa70DcTcbkM8P3zTby1cq
U770ISgWM9cohw8tALshVbg4o54oFIeURUph3EBGCHgebnFHZwAcEgORobQIOf34
898D5a8z0E6M/8jvJ0JNTjTz4AlVpXWFohStS3xdUkILusXd3NgesoiaqwIDAQAB
AoGBAI1774n+MG6l1JdzasXGW/oEEAAuC3cvklRd96b2HSpbg99z6ld94A/ecJmC
0TQ4l2iJ181hYIFko1alVwOHOS2u3IUfHFOEBQxoNFnNq3mcCROUMN56h5vK3qHp
EZdjBOcSDqYHF4JCF3B6fmUFGEkyMI3tRMuYM43m5PTqmRChAkEA2mWrKJevmyiJ
x5YpZUqGGXWFuxQclIG7JeCdGU31s2WDPWGsahvk5dojlvRMQseSLl3u4AVBvBbU
Lc1RFBE8EwJBANoIbvVbFW/Jsudgpx9b7FzglcxiSv4EZh8OavZ1O/o7C+hJc7Nl
ZP9U4vDhGCi5xQV3aspt4Qw2+1VH+iUwSgkCQGix3lgqRyORTmNgZ93H2PsxbHdf
T8gdXNLul0D/L27dlgmB3j5LuvI5HWCLIlfNBhW2MAIyYu3A39xJFboR/QMCQG1X
QV3mGa//9Ko4PFdrn/NL5ZOjz3vn9NaqQlXqoPNyXRxWiaFzvdyWU2D9YUI7N2Tw
aCuwQuX/RLeV6wpvVxECQENSPEIHC9imRTbeyxsnlrHnn9gFLN3ScPDkd5YWnYk7
dQNGbDOnGjHx+RQ7PwJQmci+DSoQ6/uPI/k1wJtbtg4=
-----END RSA PRIVATE KEY-----
";
