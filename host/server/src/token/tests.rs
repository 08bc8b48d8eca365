use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use wharf_config::{Secret, SecretOrigin, TokenKey};

const SECRET: &str = "a secret that is long enough for HS256";

fn rules(leeway: u64) -> TokenRules {
    let config = TokenConfig {
        key: TokenKey::Secret(Secret::new(SECRET, SecretOrigin::Plain)),
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::from_secs(leeway),
        query_parameter: None,
        required: true,
    };
    TokenRules::new(Arc::new(config)).expect("a secret needs no file")
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs_f64()
}

#[test]
fn a_connection_ends_when_its_token_does_and_the_leeway_is_over() {
    for (exp, leeway, left) in [
        (json!((now() + 100.0) as u64), 0, 100.0),
        (json!(now() + 100.0), 0, 100.0),
        (json!((now() - 10.0) as u64), 60, 50.0),
    ] {
        let checked = rules(leeway).check(&token(&json!({ "exp": exp }))).expect("a token");
        let found = (checked.expires - Instant::now()).as_secs_f64();
        // The margin is for dates in whole seconds, a rounded fraction, and a slow machine.
        assert!((found - left).abs() < 30.0, "{found} instead of {left}");
    }
}

#[test]
fn a_date_beyond_all_clocks_is_one_that_is_far_away() {
    for exp in [json!(u64::MAX), json!(1e18), json!(1e300)] {
        match rules(600).check(&token(&json!({ "exp": exp }))) {
            Ok(checked) => assert!(checked.expires > Instant::now() + LONGEST / 2),
            Err(why) => assert_ne!(why, Unacceptable::Expired),
        }
    }
}

#[test]
fn claims_are_what_was_signed() {
    let claims = json!({ "exp": now() as u64 + 100, "sub": "ann", "roles": ["a", {"b": null}] });
    let checked = rules(0).check(&token(&claims)).expect("a token");
    assert_eq!(checked.claims.parse::<Value>().expect("JSON"), claims);
    assert_eq!(checked.subject.as_deref(), Some("ann"));
}

#[test]
fn nothing_shows_the_keys() {
    assert!(!format!("{:?}", rules(0)).contains(SECRET));
}

proptest! {
    #[test]
    fn no_token_panics(text in "\\PC{0,80}", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        let rules = rules(0);
        prop_assert!(rules.check(&text).is_err());
        prop_assert!(rules.check(&parts).is_err());
    }

    #[test]
    fn no_change_of_a_token_is_believed(at: prop::sample::Index, by in 1_u8..=127) {
        let token = token(&json!({ "exp": now() as u64 + 1000, "sub": "ann" }));
        let mut changed = token.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] ^= by;
        // The last character has bits that no byte is made of, which must be zero.
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(rules(0).check(&changed).is_err(), "{changed}");
        }
    }
}
