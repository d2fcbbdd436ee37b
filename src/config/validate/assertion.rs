//! `[upstream.identity.assertion]`: what is signed for the application, and by which key.

use std::time::Duration;

use super::session::check_key;
use super::{secret, upstream};
use crate::config::file::Section;
use crate::config::value::Value;
use crate::config::{Assertion, Secret, Server, Session, SessionAlgorithm, SessionKey};

/// Half of it is the least that a request may take to reach the application, …
const SHORTEST: Duration = Duration::from_secs(2);
/// … and nobody takes back what is signed.
const LONGEST: Duration = Duration::from_secs(600);

/// `[upstream.identity.assertion]`.
pub(super) fn assertion(
    section: &Section<'_>,
    server: Option<&Server>,
    session: Option<&Session>,
) -> Option<Assertion> {
    let header = section.get("header", upstream::stamped_header);
    let audience = section.get("audience", |value| match value.text()? {
        "" => server.map(|server| server.public_url.to_string()),
        _ => value.name_text(),
    });
    let lifetime = section.get("lifetime", |value| value.duration(SHORTEST..=LONGEST));
    let algorithm = section.get("algorithm", |value| {
        value.choice(&[
            ("ES256", SessionAlgorithm::ES256),
            ("EdDSA", SessionAlgorithm::EdDSA),
            ("RS256", SessionAlgorithm::RS256),
            ("HS256", SessionAlgorithm::HS256),
        ])
    });
    let mut seen = Vec::new();
    let mut key = |value: &Value<'_>| {
        let secret = own_key(value, algorithm?, session, &seen)?;
        seen.push(secret.clone());
        Some(secret)
    };
    let signing = section.get("key", &mut key);
    let published_keys = section.get("published_keys", |value| value.items(&mut key));
    if algorithm == Some(SessionAlgorithm::HS256)
        && published_keys.as_ref().is_some_and(|keys| !keys.is_empty())
    {
        return section.refuse(
            "published_keys",
            "keys, with algorithm = \"HS256\"",
            "none, or another algorithm",
            "a shared secret is not published: have the application take both secrets while you change it",
        );
    }
    Some(Assertion {
        header: header?,
        audience: audience?,
        lifetime: lifetime?,
        algorithm: algorithm?,
        key: signing?,
        published_keys: published_keys?,
    })
}

/// A key that fits the algorithm, that is no other key of the table, and none of the session's.
fn own_key(
    value: &Value<'_>,
    algorithm: SessionAlgorithm,
    session: Option<&Session>,
    others: &[Secret],
) -> Option<Secret> {
    let secret = check_key(value, secret::secret(value)?, algorithm)?;
    let is_it = |other: &Secret, of: SessionAlgorithm| {
        let same = |one: &[u8], two: &[u8]| one.trim_ascii() == two.trim_ascii();
        // One key may be written in two ways.
        let (one, two) = (algorithm.jwk(secret.expose()), of.jwk(other.expose()));
        let same_jwk = one.is_ok_and(|one| two.is_ok_and(|two| one.algorithm == two.algorithm));
        same(secret.expose(), other.expose()) || same_jwk
    };
    if others.iter().any(|other| is_it(other, algorithm)) {
        let found = "another key of the table";
        return value.refuse_found(found, "each key once", "remove the second one");
    }
    let is_among = |keys: &[SessionKey], of| keys.iter().any(|key| is_it(&key.secret, of));
    let of_sessions = session.is_some_and(|session| {
        is_among(&session.keys, session.algorithm)
            || is_among(&session.sealing_keys, SessionAlgorithm::HS256)
    });
    match of_sessions {
        true => value.refuse_found(
            "a key that is among session.keys or session.sealing_keys",
            "a key of its own",
            &format!("whoever verifies the one could make the other; make one with vestibule keys generate --algorithm {algorithm:?}"),
        ),
        false => Some(secret),
    }
}
