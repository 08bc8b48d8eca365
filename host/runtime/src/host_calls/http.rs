//! `wasi:http/outgoing-handler`: requests to the hosts that the operator granted.
//!
//! The [client](crate::ports::HttpClient) sends them. The code here decides if a request may be
//! sent, bounds the number of requests and their time, and ends them with their event. An instance
//! holds none of it before its guest calls it.

use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme};
use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, watch};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use crate::channel_context::ChannelContext;
use crate::channel_counters::HttpResult;
use crate::instance::InstanceState;
use crate::ports::{
    HttpBody, HttpError, HttpIo, RequestOptions, Sending, http_refused, without_brackets,
};
use wharf_config::AllowedHost;
use wharf_contract::CallRefusal;
use wharf_metrics::limits::Limit;

/// Longest part of a host's name that an error repeats, in bytes.
const MAX_SHOWN_HOST_BYTES: usize = 255;

/// The state of an instance for outgoing HTTP, once its guest has called it.
pub struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

impl Http {
    fn new(channel: Arc<ChannelContext>, generation: u64) -> Http {
        let event = watch::Sender::new(());
        let hooks = Hooks { channel, generation, is_event: false, event };
        Http { ctx: WasiHttpCtx::new(), hooks }
    }

    /// Ends the requests of an event that is over, even if the guest has not waited for them.
    pub(crate) fn end_event(&mut self) {
        if self.hooks.event.receiver_count() > 0 {
            self.hooks.event = watch::Sender::new(());
        }
    }
}

impl WasiHttpView for InstanceState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let InstanceState { http, channel, generation, call, table, .. } = self;
        let http = http.get_or_insert_with(|| Box::new(Http::new(channel.clone(), *generation)));
        http.hooks.is_event = call.is_some();
        WasiHttpCtxView { ctx: &mut http.ctx, hooks: &mut http.hooks, table }
    }
}

struct Hooks {
    channel: Arc<ChannelContext>,
    generation: u64,
    /// True if an event is being handled; there is none during the description.
    is_event: bool,
    /// Dropped when the event is over, or its instance. Its requests watch it.
    event: watch::Sender<()>,
}

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<HttpBody>,
        options: Option<RequestOptions>,
        _: HttpIo,
    ) -> Sending {
        let (target, permit) = match self.admit(&request) {
            Ok(admitted) => admitted,
            Err(error) => {
                self.channel.counters.requested(HttpResult::Refused, None);
                return Box::new(ready(Err(error)));
            }
        };
        let wall = self.channel.config.wall_budget;
        let options = bounded(options.unwrap_or_default(), wall);
        let (event, lookups) = (self.event.subscribe(), self.channel.lookups.clone());
        let sending =
            Box::into_pin(self.channel.ports.http.clone().send(request, options, lookups));
        let (channel, begun) = (self.channel.clone(), Instant::now());
        Box::new(async move {
            let sent = during(event.clone(), sending).await;
            let result = match sent {
                Some(Ok(_)) => HttpResult::Answered,
                _ => HttpResult::Failed,
            };
            channel.counters.requested(result, Some(begun.elapsed()));
            let (response, io) = match sent {
                Some(Ok(sent)) => sent,
                Some(Err(error)) => return Err(described(error, &target)),
                None => return Err(http_refused(&CallRefusal::HttpEventOver)),
            };
            let body = move |error| described(error, &target);
            let response = response.map(|received| received.map_err(body).boxed_unsync());
            let io: HttpIo = Box::new(async move {
                let _permit = permit;
                // The reader of the body sees an error here.
                let _ = during(event, Box::into_pin(io)).await;
                Ok(())
            });
            Ok((response, io))
        })
    }
}

impl Hooks {
    /// Checks that this request may be sent, and that the channel may have one more. Returns its
    /// host and port, for errors.
    fn admit(
        &self,
        request: &Request<HttpBody>,
    ) -> Result<(String, OwnedSemaphorePermit), HttpError> {
        if !self.is_event {
            return Err(http_refused(&CallRefusal::HttpNoEvent));
        }
        if request.method() == Method::CONNECT {
            return Err(HttpError::HttpRequestMethodInvalid);
        }
        let uri = request.uri();
        let authority = uri.authority().ok_or(HttpError::HttpRequestUriInvalid)?;
        let (host, port) = host_and_port(authority, uri.scheme() == Some(&Scheme::HTTPS))?;
        let grants = &self.channel.own.grants;
        if !grants.may_call(host, port) {
            return Err(self.not_granted(host, port));
        }
        let permit = self.channel.http_requests.clone().try_acquire_owned().map_err(|_| {
            let limit = self.channel.config.max_http_requests_per_channel;
            Limit::MaxHttpRequests.reached();
            http_refused(&CallRefusal::HttpTooManyRequests { limit })
        })?;
        Ok((authority.to_string(), permit))
    }

    /// Returns the refusal, which tells the guest and the operator how to grant it.
    fn not_granted(&self, host: &str, port: u16) -> HttpError {
        let channel = &self.channel;
        let shown = channel.shown(host, MAX_SHOWN_HOST_BYTES);
        let how = channel.own.grants.how_to_allow_call(&channel.name, &shown, port);
        if channel.failure_budget.take() {
            tracing::warn!(
                channel = &*channel.name,
                generation = self.generation,
                host = shown,
                port,
                "HTTP request refused: {how}"
            );
        }
        http_refused(&CallRefusal::HttpNotGranted { host: shown, port, how })
    }
}

/// Returns the host and the port of a request; an IPv6 address without its brackets.
fn host_and_port(authority: &Authority, is_https: bool) -> Result<(&str, u16), HttpError> {
    // The part before an `@` is not the host, and no longer a way to log in.
    if authority.as_str().contains('@') {
        return Err(HttpError::HttpRequestUriInvalid);
    }
    let port = match authority.port() {
        Some(port) => port.as_u16(),
        None if is_https => 443,
        None => 80,
    };
    let host = authority.host().trim_end_matches('.');
    // A name that could not be granted is not a host's name.
    if host.contains('*') || AllowedHost::parse(host).is_none() {
        return Err(HttpError::HttpRequestUriInvalid);
    }
    Ok((without_brackets(host), port))
}

/// Limits the timeouts of a request to the time of the event.
fn bounded(options: RequestOptions, wall: Duration) -> RequestOptions {
    let bounded = |timeout: Option<Duration>| Some(timeout.unwrap_or(wall).min(wall));
    RequestOptions {
        connect_timeout: bounded(options.connect_timeout),
        first_byte_timeout: bounded(options.first_byte_timeout),
        between_bytes_timeout: bounded(options.between_bytes_timeout),
    }
}

/// Waits for a future for as long as the event lasts.
async fn during<F: Future>(mut event: watch::Receiver<()>, work: F) -> Option<F::Output> {
    tokio::select! {
        output = work => Some(output),
        // No value is ever sent: this ends when the sender does.
        _ = event.changed() => None,
    }
}

/// Describes an error of the network, with a cause if `wasi:http` itself has no room for one.
fn described(error: HttpError, target: &str) -> HttpError {
    let target = target.to_owned();
    let refusal = match error {
        HttpError::Connect(cause) => {
            CallRefusal::HttpUnreachable { target, cause: cause.to_string() }
        }
        HttpError::Tls(cause) => CallRefusal::HttpNoTls { target, cause: cause.to_string() },
        HttpError::InvalidDnsNameError(cause) => {
            CallRefusal::HttpNoTls { target, cause: cause.to_string() }
        }
        HttpError::ConnectionTimeout => CallRefusal::HttpConnectTimeout { target },
        HttpError::ConnectionReadTimeout | HttpError::HttpResponseTimeout => {
            CallRefusal::HttpTimeout { target }
        }
        HttpError::Hyper(cause) => CallRefusal::HttpFailed { target, cause: cause.to_string() },
        other => return other,
    };
    http_refused(&refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_goes_where_its_authority_says_and_nowhere_else() {
        let of = |text: &str, is_https| {
            let authority: Authority = text.parse().expect("an authority");
            let found = host_and_port(&authority, is_https).ok();
            found.map(|(host, port)| (host.to_owned(), port))
        };
        let to = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(of("api.example.com", true), to("api.example.com", 443));
        assert_eq!(of("api.example.com", false), to("api.example.com", 80));
        assert_eq!(of("api.example.com:81", true), to("api.example.com", 81));
        assert_eq!(of("api.example.com.", false), to("api.example.com", 80));
        assert_eq!(of("[::1]:81", false), to("::1", 81));
        for text in ["api.example.com@evil.example", "api.example.com:80@evil.example", "*.a"] {
            assert_eq!(of(text, true), None, "{text}");
        }
    }

    #[test]
    fn no_timeout_is_longer_than_an_event() {
        let wall = Duration::from_secs(5);
        let short = Some(Duration::from_secs(1));
        let options = RequestOptions {
            connect_timeout: short,
            first_byte_timeout: Some(Duration::from_secs(50)),
            between_bytes_timeout: None,
        };
        let bounded = bounded(options, wall);
        assert_eq!(bounded.connect_timeout, short);
        assert_eq!(bounded.first_byte_timeout, Some(wall));
        assert_eq!(bounded.between_bytes_timeout, Some(wall));
    }
}
