//! Authentication in a plugin: unknown clients do not get in, and each message is checked for the
//! right to read.
//!
//! The token is a JSON Web Token in the query (`?token=…`) or in the header `Authorization: Bearer …`,
//! signed with HS256 and the operator's secret:
//!
//! ```toml
//! [channels.secure.secrets]
//! jwt_secret = { env = "SECURE_JWT_SECRET" }
//! ```
//!
//! Its claims name the user (`sub`), the expiry (`exp`) and the documents that the user may read
//! (`documents`, where `*` means all). `/secure/documents/:id` needs the right to read that
//! document, `/secure` only a token. Both then take requests for documents by message.
//!
//! A refused client gets the status 401 or 403. Browsers hide the status from their pages. With
//! `?refuse=close` the connection is accepted, gets the reason in JSON, and is closed with 4001 or
//! 4003. A connection ends with 4001 when its token expires, unless the client has sent a new one.
//!
//! A host can check tokens by itself, with more algorithms, before any plugin runs: see
//! `[channels.NAME.token]` in its documentation. A plugin that checks them decides by itself.

#![forbid(unsafe_code)]

mod jwt;
#[cfg(test)]
mod tests;

use wharf::prelude::*;
use wharf::serde_json::Value;

#[derive(Serialize, Deserialize)]
struct Secure {
    claims: Claims,
}

/// The claims of a token.
#[derive(Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "sub")]
    user: String,
    #[serde(rename = "exp")]
    expires: u64,
    #[serde(rename = "nbf", skip_serializing_if = "Option::is_none")]
    not_before: Option<u64>,
    #[serde(default)]
    documents: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    Read { document: String },
    Renew { token: String },
}

#[wharf::channel]
impl Channel for Secure {
    const PATHS: &[&str] = &["/secure", "/secure/documents/:id"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let secret = wharf::setting("jwt_secret")?;
        jwt::check_secret(&secret)?;
        let token = token(conn).ok_or_else(|| refusal(conn, 401, "Token is required"))?;
        let claims = jwt::check(&token, &secret).map_err(|why| refusal(conn, 401, why))?;
        let document = conn.params().first().map(|(_, id)| id.as_str());
        if document.is_some_and(|id| !claims.may_read(id)) {
            return Err(refusal(conn, 403, "Access denied"));
        }
        conn.identify(&claims.user)?;
        claims.end_in_time(conn)?;
        conn.send(json!({ "type": "authenticated", "user": claims.user, "document": document }))?;
        Ok(Secure { claims })
    }

    fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
        match message {
            Incoming::Read { document } if self.claims.may_read(&document) => {
                conn.send(json!({ "type": "document", "document": document }))
            }
            Incoming::Read { .. } => conn.send(error("Access denied")),
            Incoming::Renew { token } => match jwt::check(&token, &wharf::setting("jwt_secret")?) {
                Ok(claims) if claims.user == self.claims.user => {
                    claims.end_in_time(conn)?;
                    self.claims = claims;
                    conn.send(json!({ "type": "renewed", "expires": self.claims.expires }))
                }
                Ok(_) => conn.send(error("This token is somebody else's")),
                Err(why) => conn.send(error(why)),
            },
        }
    }

    fn on_timer(&mut self, conn: &Connection, _: Timer) -> Result {
        conn.send(error("Token expired"))?;
        conn.close(4001, "Token expired")
    }
}

impl Claims {
    fn may_read(&self, document: &str) -> bool {
        self.documents.iter().any(|granted| granted == "*" || granted == document)
    }

    /// Sets the timer that closes the connection when the token expires.
    fn end_in_time(&self, conn: &Connection) -> Result {
        // A timer waits for a year at most, so a connection lives no longer.
        let year = std::time::Duration::from_secs(365 * 24 * 60 * 60);
        conn.after(jwt::time_until(self.expires).min(year), "token", &())
    }
}

/// Returns the token of a request: from the query, where browsers can put it, or from the header.
fn token(conn: &Connection) -> Option<String> {
    let in_header = || {
        // The scheme is in any case (RFC 9110, 11.1).
        let (scheme, token) = conn.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start().to_owned())
    };
    conn.query("token").or_else(in_header)
}

fn error(message: &str) -> Value {
    json!({ "type": "error", "message": message })
}

/// Makes a refusal of the kind that the client asked for.
fn refusal(conn: &Connection, status: u16, why: &str) -> Refusal {
    if conn.query("refuse").as_deref() == Some("close") {
        // The code is 4001 for 401 and 4003 for 403.
        return Refusal::close(3600 + status, why).message(error(why));
    }
    match status {
        401 => Refusal::http(status, why).header("www-authenticate", "Bearer"),
        _ => Refusal::http(status, why),
    }
}
