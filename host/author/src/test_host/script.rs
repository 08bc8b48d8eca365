//! The ports of a test's host: the scripted world around its plugin, and the observers of the
//! plugin.

mod clock;
mod http;
mod log;
mod sessions;
mod tokens;

use std::sync::Arc;

use super::happenings::{Happenings, message};
use wharf_contract::kit::Happened;
use wharf_hub::frame::Frame;
use wharf_hub::hub::PublicationObserver;
use wharf_runtime::ports::{LoadObserver, Ports};

use clock::MovedClock;
use http::ScriptedHttp;
use sessions::Sessions;
use tokens::ScriptedTokens;

use log::HeardLog;

pub(super) use sessions::KeptSession;

/// The scripted world around a tested plugin.
#[derive(Debug)]
pub(super) struct Script {
    clock: Arc<MovedClock>,
    pub(super) http: Arc<ScriptedHttp>,
    pub(super) tokens: Arc<ScriptedTokens>,
    log: Arc<HeardLog>,
    pub(super) sessions: Arc<Sessions>,
}

impl Script {
    /// Creates a world without scripts. Must be called where the runtime's clock is known.
    pub(super) fn new(happened: Happenings) -> Script {
        let clock = Arc::new(MovedClock::new());
        Script {
            http: Arc::new(ScriptedHttp::new(happened.clone())),
            tokens: Arc::new(ScriptedTokens::new(clock.clone())),
            log: Arc::new(HeardLog::new(happened)),
            sessions: Arc::default(),
            clock,
        }
    }

    /// Returns the ports to this world.
    pub(super) fn ports(&self, loads: Arc<dyn LoadObserver>) -> Ports {
        Ports {
            clock: self.clock.clone(),
            http: self.http.clone(),
            tokens: self.tokens.clone(),
            log: self.log.clone(),
            sessions: self.sessions.clone(),
            loads,
            data: None,
            hubs: Arc::default(),
            cluster: None,
            one_event_an_instance: true,
        }
    }
}

/// Another channel, which the plugin may publish to.
#[derive(Debug)]
pub(super) struct Neighbour {
    pub(super) name: String,
    pub(super) happened: Happenings,
}

impl PublicationObserver for Neighbour {
    fn published(&self, room: &str, frame: &Frame) {
        self.happened.note(Happened::Published {
            channel: self.name.clone(),
            room: room.to_owned(),
            message: message(frame.kind(), frame.payload()),
        });
    }
}
