//! The requests that are answered with a stream: the figures of this host, and a log that is followed.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::events::EventBody;
use super::logs::{self, Wanted};
use super::problem::Problem;
use super::route::{Query, Resource, Route};
use super::{Api, live, queries};
use crate::http::SocketDeadline;

impl Api {
    /// Begins the stream that a request asks for; `None` if it asks for something else.
    pub(super) fn streamed(
        self: &Arc<Self>,
        deadline: &Arc<SocketDeadline>,
        request: &Request<Incoming>,
    ) -> Option<Result<EventBody, Problem>> {
        if *request.method() != Method::GET {
            return None;
        }
        let Route { channel, resource } = Route::of(request.uri().path()).ok()?;
        let query = request.uri().query();
        match (resource, channel) {
            (Resource::Query(Query::Live), _) => Some(self.live(deadline, query)),
            (Resource::Query(Query::Logs), Some(channel)) => {
                let wanted = Wanted::read(query).ok().filter(|wanted| wanted.follows)?;
                Some(self.followed(deadline, channel, wanted))
            }
            _ => None,
        }
    }

    fn live(
        self: &Arc<Self>,
        deadline: &Arc<SocketDeadline>,
        query: Option<&str>,
    ) -> Result<EventBody, Problem> {
        queries::check_no_query(query)?;
        let (events, body) = self.streams.open(deadline, &self.closing)?;
        let api = self.clone();
        tokio::spawn(async move {
            let figures = async || api.figures.get(&api.metrics).await;
            live::follow(events, &api.seen.loads, figures).await
        });
        Ok(body)
    }

    fn followed(
        self: &Arc<Self>,
        deadline: &Arc<SocketDeadline>,
        channel: String,
        wanted: Wanted,
    ) -> Result<EventBody, Problem> {
        logs::lines(&self.registry, &self.seen.log, &channel, wanted)?;
        let (events, body) = self.streams.open(deadline, &self.closing)?;
        tokio::spawn(logs::follow(events, self.seen.log.clone(), channel, wanted));
        Ok(body)
    }
}
