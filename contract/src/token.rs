//! The identity that a token speaks of, and the tokens that may follow it on a connection.

use serde::Deserialize;
use serde_json::value::RawValue;

/// The subject of a token and its issuer, which are unique together only (RFC 7519, 4.1.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Claim `sub` as JSON, with one spelling for each text.
    subject: Option<Box<str>>,
    /// Claim `iss` in the same form.
    issuer: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Claims<'a> {
    #[serde(borrow)]
    sub: Option<&'a RawValue>,
    #[serde(borrow)]
    iss: Option<&'a RawValue>,
}

impl Identity {
    /// Returns the identity in a token's claims, which are a JSON object as it was signed. Claims of
    /// any type count: a subject that is a number is not that of the same digits in a text.
    pub fn of(claims: &str) -> Identity {
        let Ok(Claims { sub, iss }) = serde_json::from_str(claims) else {
            return Identity::default();
        };
        Identity { subject: sub.map(spelled), issuer: iss.map(spelled) }
    }

    /// Returns true if a token of this identity may take the place of one of another: both have the
    /// same subject and issuer. Tokens without a subject may be anybody's, so none follows another.
    pub fn may_follow(&self, before: &Identity) -> bool {
        self.subject.is_some() && self == before
    }
}

/// Returns a value in the one form for all spellings of a text.
fn spelled(value: &RawValue) -> Box<str> {
    let text = serde_json::from_str::<String>(value.get()).ok();
    let spelled = text.and_then(|text| serde_json::to_string(&text).ok());
    spelled.map_or_else(|| value.get().into(), String::into_boxed_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn may_follow(before: &str, after: &str) -> bool {
        Identity::of(after).may_follow(&Identity::of(before))
    }

    #[test]
    fn a_token_follows_one_of_the_same_subject_and_issuer() {
        assert!(may_follow(r#"{"sub":"ann"}"#, r#"{"exp":1,"sub":"\u0061nn"}"#));
        assert!(may_follow(r#"{"sub":1,"iss":"us"}"#, r#"{"iss":"us","sub":1}"#));
        for (before, after) in [
            (r#"{"sub":"ann"}"#, r#"{"sub":"bob"}"#),
            (r#"{"sub":1}"#, r#"{"sub":2}"#),
            (r#"{"sub":1}"#, r#"{"sub":"1"}"#),
            // As floating-point numbers they were the same.
            (r#"{"sub":36893488147419103233}"#, r#"{"sub":36893488147419103234}"#),
            (r#"{"sub":["a"]}"#, r#"{"sub":["b"]}"#),
            (r#"{"sub":"ann","iss":"us"}"#, r#"{"sub":"ann","iss":"them"}"#),
            (r#"{"sub":"ann","iss":"us"}"#, r#"{"sub":"ann"}"#),
            (r#"{"sub":"ann"}"#, r#"{"sub":"ann","iss":"us"}"#),
            (r#"{"sub":"ann"}"#, "{}"),
            ("{}", r#"{"sub":"ann"}"#),
            ("{}", "{}"),
            (r#"{"sub":null}"#, r#"{"sub":null}"#),
            (r#"{"sub":"ann","sub":"bob"}"#, r#"{"sub":"ann","sub":"bob"}"#),
        ] {
            assert!(!may_follow(before, after), "{before} {after}");
        }
    }

    proptest! {
        #[test]
        fn no_claims_panic_and_each_subject_follows_itself_alone(one in "\\PC{0,8}", other in "\\PC{0,8}") {
            let claims = |subject: &str| serde_json::json!({ "sub": subject }).to_string();
            prop_assert!(may_follow(&claims(&one), &claims(&one)));
            prop_assert_eq!(may_follow(&claims(&one), &claims(&other)), one == other);
            let _ = Identity::of(&one);
        }
    }
}
