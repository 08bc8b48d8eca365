//! Outgoing HTTP of a component, by `wasi:http`, which is waited for.

use std::time::Duration;

use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, HeaderError, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{OutputStream, StreamError};

use crate::error::{HostError, Remedy};
use crate::http::{Request, Response, Target, remedy_of};

/// Bytes that are read or written at once.
const CHUNK: usize = 64 * 1024;

pub(crate) fn http_send(request: &Request, target: &Target) -> Result<Response, HostError> {
    let deadline = Deadline::after(request.timeout);
    let outgoing = OutgoingRequest::new(fields(request)?);
    let scheme = if target.is_https { Scheme::Https } else { Scheme::Http };
    let is_set = outgoing
        .set_method(&method(&request.method))
        .and_then(|()| outgoing.set_scheme(Some(&scheme)))
        .and_then(|()| outgoing.set_authority(Some(&target.authority)))
        .and_then(|()| outgoing.set_path_with_query(Some(&target.path_with_query)));
    is_set.map_err(|()| {
        let detail = format!("{} {:?} is no request", request.method, request.url);
        refused(Remedy::FixCall, "http-url-invalid", detail)
    })?;
    let body = match request.body.is_empty() {
        true => None,
        false => outgoing.body().ok(),
    };
    let answer = handle(outgoing, Some(options(request.timeout))).map_err(failed)?;
    let mut sending = Sending::begin(body, &request.body);
    let incoming = wait(&answer, &mut sending, &deadline)?;
    let status = incoming.status();
    let headers = incoming.headers().entries();
    let body = read(&incoming, request.max_body_bytes, &mut sending, &deadline)?;
    Ok(Response { status, headers, body })
}

fn method(name: &str) -> Method {
    match name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "OPTIONS" => Method::Options,
        "PATCH" => Method::Patch,
        other => Method::Other(other.to_owned()),
    }
}

fn fields(request: &Request) -> Result<Fields, HostError> {
    let fields = Fields::new();
    let add = |name: &str, value: &[u8]| {
        fields.append(name, value).map_err(|error| {
            let why = match error {
                HeaderError::Forbidden => "is set by the host itself",
                _ => "is not a header, or one too many",
            };
            refused(Remedy::FixCall, "http-header-invalid", format!("{name:?} {why}"))
        })
    };
    for (name, value) in &request.headers {
        add(name, value)?;
    }
    // Servers expect the length of what may have a body, also if it has none (RFC 9110, 8.6).
    let may_have_body = ["POST", "PUT", "PATCH"].contains(&request.method.as_str());
    let has_length = fields.has("content-length");
    if (may_have_body || !request.body.is_empty()) && !has_length {
        add("content-length", request.body.len().to_string().as_bytes())?;
    }
    Ok(fields)
}

fn options(timeout: Duration) -> RequestOptions {
    let options = RequestOptions::new();
    let nanoseconds = Some(nanoseconds(timeout));
    // A host that does not know these options is bounded by the deadline.
    let _ = options.set_connect_timeout(nanoseconds);
    let _ = options.set_first_byte_timeout(nanoseconds);
    let _ = options.set_between_bytes_timeout(nanoseconds);
    options
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The deadline of the whole request.
struct Deadline {
    timeout: Duration,
    passed: Pollable,
}

impl Deadline {
    fn after(timeout: Duration) -> Self {
        Self { timeout, passed: subscribe_duration(nanoseconds(timeout)) }
    }

    /// Waits until the event has come, or more of the body can be sent.
    fn wait(&self, event: &Pollable, sending: &Sending) -> Result<(), HostError> {
        let has_room = sending.has_room();
        let mut events = vec![&self.passed, event];
        events.extend(has_room.as_ref());
        match poll(&events).iter().any(|ready| *ready > 0) {
            true => Ok(()),
            false => {
                let detail = format!("no whole answer within {:?}", self.timeout);
                Err(refused(Remedy::RetryLater, "http-timeout", detail))
            }
        }
    }
}

/// The body of a request while it is sent, which goes on until the answer has been read: a server may
/// answer before it has read the whole, and may read on after that.
struct Sending<'a> {
    /// It belongs to the body, and is dropped before it. A body that is dropped before its end takes
    /// the connection with it, so that this is done after the answer has been read.
    stream: Option<OutputStream>,
    body: Option<OutgoingBody>,
    rest: &'a [u8],
    stage: Stage,
}

#[derive(PartialEq)]
enum Stage {
    Writing,
    Flushing,
    /// All has been sent, or the server accepts no more. Then the answer tells why.
    Over,
}

impl<'a> Sending<'a> {
    fn begin(body: Option<OutgoingBody>, data: &'a [u8]) -> Self {
        let stream = body.as_ref().and_then(|body| body.write().ok());
        Self { stream, body, rest: data, stage: Stage::Writing }
    }

    /// Sends as much as there is room for.
    fn go_on(&mut self) {
        while self.stage != Stage::Over {
            let Some(room) = self.stream.as_ref().and_then(|stream| stream.check_write().ok())
            else {
                self.stage = Stage::Over;
                return;
            };
            if room == 0 {
                return;
            }
            self.step(usize::try_from(room).unwrap_or(CHUNK).min(CHUNK));
        }
    }

    /// Sends up to this number of bytes, or the end.
    fn step(&mut self, room: usize) {
        let Some(stream) = &self.stream else {
            return;
        };
        let (chunk, rest) = self.rest.split_at(room.min(self.rest.len()));
        let is_accepted = match (chunk.is_empty(), &self.stage) {
            (false, _) => stream.write(chunk).is_ok(),
            (true, Stage::Writing) => {
                self.stage = Stage::Flushing;
                stream.flush().is_ok()
            }
            // There is room again, so that all is flushed.
            (true, _) => {
                self.stage = Stage::Over;
                self.stream = None;
                self.body.take().map(|body| OutgoingBody::finish(body, None));
                return;
            }
        };
        self.rest = rest;
        if !is_accepted {
            self.stage = Stage::Over;
        }
    }

    /// Returns the event that there is room for more.
    fn has_room(&self) -> Option<Pollable> {
        let stream = self.stream.as_ref().filter(|_| self.stage != Stage::Over);
        stream.map(OutputStream::subscribe)
    }
}

fn wait(
    answer: &FutureIncomingResponse,
    sending: &mut Sending,
    deadline: &Deadline,
) -> Result<IncomingResponse, HostError> {
    loop {
        sending.go_on();
        match answer.get() {
            Some(Ok(Ok(incoming))) => return Ok(incoming),
            Some(Ok(Err(code))) => return Err(failed(code)),
            Some(Err(())) => return Err(broken_off()),
            None => deadline.wait(&answer.subscribe(), sending)?,
        }
    }
}

fn read(
    incoming: &IncomingResponse,
    limit: usize,
    sending: &mut Sending,
    deadline: &Deadline,
) -> Result<Vec<u8>, HostError> {
    let body = incoming.consume().map_err(|()| broken_off())?;
    let stream = body.stream().map_err(|()| broken_off())?;
    let mut data = Vec::new();
    loop {
        sending.go_on();
        match stream.read(CHUNK as u64) {
            Ok(chunk) if chunk.is_empty() => deadline.wait(&stream.subscribe(), sending)?,
            Ok(chunk) => {
                if data.len() + chunk.len() > limit {
                    let detail = format!("the answer has more than {limit} bytes");
                    return Err(refused(Remedy::ShedLoad, "http-response-too-big", detail));
                }
                data.extend(chunk);
            }
            Err(StreamError::Closed) => return Ok(data),
            Err(StreamError::LastOperationFailed(error)) => {
                return Err(http_error_code(&error).map_or_else(broken_off, failed));
            }
        }
    }
}

fn broken_off() -> HostError {
    refused(Remedy::Other, "http-failed", "the answer broke off")
}

/// Returns the error of a failed request. The host's own errors come as text, a code and a
/// sentence; the others are those of `wasi:http`.
fn failed(code: ErrorCode) -> HostError {
    let (remedy, token, detail) = match code {
        ErrorCode::InternalError(Some(text)) => match text.split_once(": ") {
            Some((token, detail)) if token == "no-event" || token.starts_with("http-") => {
                return refused(remedy_of(token), token, detail);
            }
            _ => (Remedy::Other, "http-failed", text),
        },
        ErrorCode::HttpRequestDenied => {
            (Remedy::AskOperator, "http-not-granted", "the host does not allow it".to_owned())
        }
        ErrorCode::HttpRequestUriInvalid | ErrorCode::HttpRequestMethodInvalid => {
            (Remedy::FixCall, "http-url-invalid", format!("{code:?}"))
        }
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::DnsTimeout => (Remedy::RetryLater, "http-timeout", format!("{code:?}")),
        ErrorCode::DnsError(_)
        | ErrorCode::DestinationNotFound
        | ErrorCode::DestinationUnavailable
        | ErrorCode::ConnectionRefused
        | ErrorCode::TlsProtocolError
        | ErrorCode::TlsCertificateError => {
            (Remedy::RetryLater, "http-unreachable", format!("{code:?}"))
        }
        other => (Remedy::Other, "http-failed", format!("{other:?}")),
    };
    refused(remedy, token, detail)
}

fn refused(remedy: Remedy, code: &str, detail: impl Into<String>) -> HostError {
    HostError { remedy, code: code.to_owned(), detail: detail.into() }
}
