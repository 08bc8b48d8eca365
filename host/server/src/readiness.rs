//! The host's readiness for clients, as a status and a text.

use std::sync::atomic::Ordering;

use hyper::StatusCode;

use crate::handshake::Front;
use wharf_runtime::registry::Readiness;

/// Returns the answer to the question if the host is ready: 200 if it is, else 503. The text has counts and no names,
/// since anybody may ask. A query `exclude=engine` is for balancers of hosts that serve on without each other.
pub(crate) fn state(front: &Front, query: Option<&str>) -> (StatusCode, String) {
    let is_stopping = is_stopping(front);
    let mut readiness = front.registry.readiness();
    readiness.is_cluster_failing &= !excludes_engine(query);
    let is_ready = !is_stopping && readiness.is_ready();
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text(&readiness, is_stopping))
}

/// Returns true if a query says that the host may be ready without the engine of its cluster.
fn excludes_engine(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|part| part == "exclude=engine"))
}

/// Returns true if the host stops, or was asked to and still serves.
pub(crate) fn is_stopping(front: &Front) -> bool {
    front.is_closing.load(Ordering::SeqCst) || front.is_leaving.load(Ordering::SeqCst)
}

fn text(readiness: &Readiness, is_stopping: bool) -> String {
    let Readiness { is_starting, channels, refused, missing, unusable_keys, .. } = *readiness;
    let state = match readiness.is_ready() {
        _ if is_stopping => "stopping",
        _ if is_starting => "starting",
        true => "ready",
        false if readiness.is_data_failing => "not ready, data cannot be written to disk",
        false if readiness.is_cluster_failing => {
            "not ready, other hosts of the cluster are not reached"
        }
        false if channels == 0 && refused == 0 => "not ready, no plugin is loaded",
        false => "not ready",
    };
    format!(
        "{state}\nchannels {channels}\nrefused {refused}\nrefused, and nothing serves instead {missing}\n\
         keys for tokens that cannot be read {unusable_keys}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Readiness = Readiness {
        is_starting: false,
        channels: 2,
        refused: 0,
        missing: 0,
        was_complete: true,
        unusable_keys: 0,
        is_data_failing: false,
        is_cluster_failing: false,
    };

    #[test]
    fn only_a_query_that_says_so_leaves_the_engine_out() {
        for query in ["exclude=engine", "a=b&exclude=engine", "exclude=engine&exclude=other"] {
            assert!(excludes_engine(Some(query)), "{query}");
        }
        for query in [None, Some(""), Some("exclude="), Some("exclude=engines"), Some("engine")] {
            assert!(!excludes_engine(query), "{query:?}");
        }
    }

    #[test]
    fn the_first_line_is_the_state() {
        let first = |readiness: &Readiness, is_stopping| {
            text(readiness, is_stopping).lines().next().map(str::to_owned)
        };
        assert_eq!(first(&GOOD, false).as_deref(), Some("ready"));
        assert_eq!(first(&GOOD, true).as_deref(), Some("stopping"));
        let starting = Readiness { is_starting: true, ..GOOD };
        assert_eq!(first(&starting, false).as_deref(), Some("starting"));
        let failing = Readiness { is_data_failing: true, ..GOOD };
        let why = "not ready, data cannot be written to disk";
        assert_eq!(first(&failing, false).as_deref(), Some(why));
        let alone = Readiness { is_cluster_failing: true, ..GOOD };
        let why = "not ready, other hosts of the cluster are not reached";
        assert_eq!(first(&alone, false).as_deref(), Some(why));
        let bad = Readiness { refused: 1, missing: 1, was_complete: false, ..GOOD };
        assert_eq!(first(&bad, false).as_deref(), Some("not ready"));
        let one_more = Readiness { was_complete: true, ..bad };
        assert_eq!(first(&one_more, false).as_deref(), Some("ready"));
    }
}
