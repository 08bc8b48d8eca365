//! Responses: the upgrade, a channel's own refusal, and the host's.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use wharf_contract::handshake::{self, MAX_REFUSAL_BYTES, MAX_REFUSAL_HEADERS, TurnedAway};
use wharf_contract::header::is_channel_header;
use wharf_runtime::channel::Channel;

/// Longest part of a stranger's text that the log repeats, in bytes.
pub(crate) const MAX_SHOWN_BYTES: usize = 200;

/// A response of the host: always small and whole.
pub type Reply = Response<Full<Bytes>>;

/// Returns the response that upgrades the socket.
pub(crate) fn accepted(
    accept: &str,
    subprotocol: Option<String>,
    headers: Vec<(String, Vec<u8>)>,
) -> Reply {
    let mut reply = Response::new(Full::default());
    *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    // They were checked when the guest set them.
    append(reply.headers_mut(), headers);
    let ours = reply.headers_mut();
    ours.insert(UPGRADE, HeaderValue::from_static("websocket"));
    ours.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    for (name, value) in
        [(SEC_WEBSOCKET_ACCEPT, Some(accept)), (SEC_WEBSOCKET_PROTOCOL, subprotocol.as_deref())]
    {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            ours.insert(name, value);
        }
    }
    reply
}

/// Returns a channel's own response, without the parts that it may not send.
pub(crate) fn refused(
    channel: &Channel,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    mut body: Vec<u8>,
) -> Reply {
    body.truncate(MAX_REFUSAL_BYTES);
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = match StatusCode::from_u16(status) {
        Ok(code) if handshake::is_refusal_status(status) => code,
        _ => {
            if channel.context.failure_budget.take() {
                let channel = channel.name();
                tracing::warn!(
                    channel,
                    status,
                    "a refusal needs a status from 300 to 599; 500 sent"
                );
            }
            StatusCode::INTERNAL_SERVER_ERROR
        }
    };
    let (good, bad): (Vec<_>, Vec<_>) =
        headers.into_iter().partition(|(name, value)| is_channel_header(name, value));
    let dropped = bad.len() + good.len().saturating_sub(MAX_REFUSAL_HEADERS);
    if dropped > 0 && channel.context.failure_budget.take() {
        let channel_context = &channel.context;
        let (channel, first) = (channel.name(), bad.first().or(good.get(MAX_REFUSAL_HEADERS)));
        let header = first.map(|(name, _)| channel_context.shown(name, MAX_SHOWN_BYTES));
        tracing::warn!(
            channel,
            header,
            dropped,
            "headers of a refusal cannot be sent; it has at most {MAX_REFUSAL_HEADERS}"
        );
    }
    append(reply.headers_mut(), good.into_iter().take(MAX_REFUSAL_HEADERS));
    if !reply.headers().contains_key(CONTENT_TYPE) {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, plain);
    }
    reply
}

fn append(to: &mut HeaderMap, headers: impl IntoIterator<Item = (String, Vec<u8>)>) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(&value))
        {
            to.append(name, value);
        }
    }
}

/// Returns a plain response with one line of text.
pub(crate) fn text(status: StatusCode, line: &str) -> Reply {
    let mut reply = Response::new(Full::from(format!("{line}\n")));
    *reply.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    reply.headers_mut().insert(CONTENT_TYPE, plain);
    reply
}

/// Returns the response to a client that is turned away, with the headers of its status.
pub fn turned_away(why: &TurnedAway) -> Reply {
    let status = StatusCode::from_u16(why.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = text(status, &why.to_string());
    let headers = reply.headers_mut();
    match status {
        // The client may come back in a moment.
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            headers.insert(ALLOW, HeaderValue::from_static("GET"));
        }
        StatusCode::UNAUTHORIZED => {
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        StatusCode::UPGRADE_REQUIRED => {
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        }
        _ => {}
    }
    reply
}
