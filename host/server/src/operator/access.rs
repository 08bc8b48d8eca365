//! Access to the API: the token, and the origin of a page.

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, ORIGIN};
use hyper::{Request, StatusCode};
use sha2::{Digest, Sha256};
use wharf_hub::remote::Remote;

use super::audit::Act;
use super::problem::Problem;
use super::{Api, METRICS};
use crate::handshake::origin;

impl Api {
    /// Checks that no page of another origin has sent the request: browsers say which page it is.
    pub(super) fn check_origin(&self, request: &Request<Incoming>) -> Result<(), Problem> {
        let (host, headers) = (origin::host(request), request.headers());
        if !headers.contains_key(ORIGIN) || origin::is_own_page(&self.config, host, headers) {
            return Ok(());
        }
        let message = "a page of another origin has sent this; behind a proxy, let it pass the header `Host` on, and \
                       list the name in allowed_hosts";
        Err(Problem::new(StatusCode::FORBIDDEN, "foreign-origin", message.to_owned()))
    }

    /// Checks that the request has the token, in the only header that may carry it.
    pub(super) fn check_token(
        &self,
        remote: Remote,
        request: &Request<Incoming>,
    ) -> Result<(), Problem> {
        let mut values = request.headers().get_all(AUTHORIZATION).iter();
        let (given, further) = (values.next(), values.next());
        let token = given.filter(|_| further.is_none()).and_then(|value| {
            let value = value.as_bytes();
            let (scheme, token) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
        });
        // Hashes are compared in full, so that the time it takes tells nothing of the token.
        let is = |known: &[u8; 32]| {
            token.is_some_and(|token| {
                let pairs = digest(token).into_iter().zip(known);
                pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
            })
        };
        let is_scrape = request.uri().path() == METRICS && !Act::is_one(request.method());
        if is(&self.token) || (is_scrape && self.metrics_token.as_ref().is_some_and(is)) {
            return Ok(());
        }
        if self.log_budget.take() {
            let what = if token.is_some() { "with a wrong token" } else { "without a token" };
            tracing::warn!(%remote, "request to the operator's API {what}; 401 sent");
        }
        Err(Problem::unauthorized(token.is_some()))
    }
}

/// Returns the hash of a token.
pub(super) fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
