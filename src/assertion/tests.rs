use super::*;
use crate::environment::SystemRandom;

const SECRET: &[u8; 32] = b"a secret that two parties share.";

fn assertions(lifetime: i64) -> Assertions {
    Assertions {
        header: HeaderName::from_static("x-identity-assertion"),
        algorithm: SessionAlgorithm::HS256,
        key: EncodingKey::from_secret(SECRET),
        kid: "kid".to_owned(),
        public: Vec::new(),
        issuer: "https://workflow.example.com/wfgen/auth".to_owned(),
        audience: "https://workflow.example.com/wfgen".to_owned(),
        username_claim: "https://api.workflowgen.com/username".to_owned(),
        lifetime,
        random: Arc::new(SystemRandom),
    }
}

fn newest(assertions: &Assertions, asserted: &Asserted, now: UnixSeconds) -> String {
    let (value, fresh) = assertions.newest(asserted, now).unwrap();
    assert!(fresh.contains(&now), "{fresh:?} has {now}");
    value.to_str().unwrap().to_owned()
}

fn times(assertion: &str) -> (i64, i64) {
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = jsonwebtoken::DecodingKey::from_secret(SECRET);
    let data = jsonwebtoken::decode::<serde_json::Value>(assertion, &key, &validation).unwrap();
    let time = |name: &str| data.claims[name].as_i64().unwrap();
    (time("iat"), time("exp"))
}

#[test]
fn one_is_used_until_half_of_its_life_is_over() {
    let assertions = assertions(60);
    let ada = Asserted::new("ada", "ada", Some("sid"), 10_000);
    let first = newest(&assertions, &ada, 1000);
    assert_eq!(times(&first), (1000, 1060));
    assert_eq!(newest(&assertions, &ada, 1029), first);
    let second = newest(&assertions, &ada, 1030);
    assert_eq!(times(&second), (1030, 1090));
    // A clock that is set back does not make it the older one's time again.
    let third = newest(&assertions, &ada, 900);
    assert_eq!(times(&third), (900, 960));
}

#[test]
fn none_outlives_its_session_and_the_last_seconds_have_one_too() {
    let assertions = assertions(60);
    let ada = Asserted::new("ada", "ada", Some("sid"), 1010);
    assert_eq!(times(&newest(&assertions, &ada, 1000)), (1000, 1010));
    for now in 1001..1010 {
        let (from, to) = times(&newest(&assertions, &ada, now));
        assert!(from <= now && to == 1010, "{now}: {from} to {to}");
    }
    assert!(assertions.newest(&ada, 1010).is_none());
    assert!(assertions.newest(&ada, 1011).is_none());
}

#[test]
fn debug_shows_no_assertion() {
    let ada = Asserted::new("ada", "ada", None, 1010);
    let (value, _) = assertions(60).newest(&ada, 1000).unwrap();
    let shown = format!("{ada:?} {value:?}");
    assert!(!shown.contains("eyJ"), "{shown}");
    assert!(!shown.contains("ada"), "{shown}");
}
