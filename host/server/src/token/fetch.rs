//! A key set from its address, with bounds in size and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::header::{ACCEPT, HOST, LOCATION, USER_AGENT};
use hyper::{Request, StatusCode, Uri};
use tokio::sync::Semaphore;
use wharf_runtime::ports::{HttpClient, RequestOptions};

/// Largest set or file of keys, in bytes.
pub(super) const MAX_KEY_BYTES: usize = 1024 * 1024;

/// Time for the whole fetch, from the look-up of the name to the last byte.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the content at an address.
///
/// # Errors
///
/// There is none, or it is too large or too slow. The sentence is for the operator.
pub(super) async fn fetch(http: &Arc<dyn HttpClient>, address: &Uri) -> Result<Bytes, String> {
    match tokio::time::timeout(TIMEOUT, fetch_slowly(http, address)).await {
        Ok(fetched) => fetched,
        Err(_) => Err(format!("it did not answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn fetch_slowly(http: &Arc<dyn HttpClient>, address: &Uri) -> Result<Bytes, String> {
    let host = address.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(address.clone())
        .header(HOST, host)
        .header(ACCEPT, "application/jwk-set+json, application/json")
        .header(USER_AGENT, concat!("wharf/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new().map_err(|never| match never {}).boxed_unsync())
        .map_err(|error| format!("it is no address that can be asked: {error}"))?;
    // One name is looked up.
    let lookups = Arc::new(Semaphore::new(1));
    let sending = Box::into_pin(http.clone().send(request, RequestOptions::default(), lookups));
    let (response, io) = sending.await.map_err(|error| format!("it cannot be fetched: {error}"))?;
    let status = response.status();
    if status != StatusCode::OK {
        let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        return Err(match place.filter(|_| status.is_redirection()) {
            Some(place) => format!(
                "it answers with status {}, and redirections are not followed; its keys may be at {place}",
                status.as_u16()
            ),
            None => format!("it answers with status {}", status.as_u16()),
        });
    }
    let mut reading = std::pin::pin!(Limited::new(response.into_body(), MAX_KEY_BYTES).collect());
    // The body comes as long as the connection is polled.
    let body = tokio::select! {
        body = &mut reading => body,
        _ = Box::into_pin(io) => reading.await,
    };
    match body {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(format!("it has more than {MAX_KEY_BYTES} bytes"))
        }
        Err(error) => Err(format!("it cannot be fetched: {error}")),
    }
}
