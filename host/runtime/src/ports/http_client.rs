//! The client that sends the requests of guests to other servers.
//!
//! A request has been admitted before: the operator granted the host, and the channel may have one
//! more request. Its timeouts are within those of its event. When the event is over, the futures
//! are dropped.

use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use http_body_util::BodyExt;
use wasmtime_wasi_http::{Error, WasiBody, default_send_request};
use wharf_contract::CallRefusal;

pub use wasmtime_wasi_http::RequestOptions;

/// The body of a request or a response, as it comes.
pub type HttpBody = WasiBody;

/// The reason why there is no response, or not all of it. See [`http_error`].
pub type HttpError = Error;

/// A future that reads a response to its end. It must be polled for as long as the body is read.
pub type HttpIo = Box<dyn Future<Output = Result<(), HttpError>> + Send>;

/// A request under way.
pub type Sending = Box<dyn Future<Output = Result<(Response<HttpBody>, HttpIo), HttpError>> + Send>;

/// A client that sends requests.
pub trait HttpClient: Debug + Send + Sync {
    /// Begins a request.
    fn send(self: Arc<Self>, request: Request<HttpBody>, options: RequestOptions) -> Sending;
}

/// Returns an error in the form that the SDK reads: a code and a sentence, in the one error of
/// `wasi:http` that has a text.
pub fn http_error(code: &str, detail: &str) -> HttpError {
    Error::InternalError(Some(format!("{code}: {detail}")))
}

/// Returns a refusal of the host in the form that the SDK reads.
pub fn http_refused(refusal: &CallRefusal) -> HttpError {
    http_error(refusal.code(), &refusal.to_string())
}

/// The client for the network, which is wasmtime's.
#[derive(Clone, Copy, Debug)]
pub struct NetworkClient;

impl HttpClient for NetworkClient {
    fn send(self: Arc<Self>, request: Request<HttpBody>, options: RequestOptions) -> Sending {
        Box::new(async move {
            let (response, io) = default_send_request(request, Some(options)).await?;
            let io: HttpIo = Box::new(io);
            Ok((response.map(BodyExt::boxed_unsync), io))
        })
    }
}
