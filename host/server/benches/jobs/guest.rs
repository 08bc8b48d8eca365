//! Jobs with a guest: a plugin loaded as the registry does it, and a connection without a socket.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context as TaskContext, Poll, Waker};

use anyhow::{Context, anyhow, bail};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use wharf_config::Config;
use wharf_contract::description::Description;
use wharf_hub::connection::{ConnectionRecord, RequestHeaders, UpgradeRequest};
use wharf_hub::hub::Hub;
use wharf_hub::outbound::{EventBounds, Outbound, PendingWrites};
use wharf_hub::store::Memory;
use wharf_runtime::channel::{Channel, Generation};
use wharf_runtime::channel_context::ChannelContext;
use wharf_runtime::event_kind::EventKind;
use wharf_runtime::guest_call::{About, GuestCall, Patience};
use wharf_runtime::host_calls::{Call, Phase};
use wharf_runtime::instance::{Event, Instance};
use wharf_runtime::live_instances::LiveInstances;
use wharf_runtime::log_budget::LogBudget;
use wharf_runtime::long_calls::LongCalls;
use wharf_runtime::plugin::{Cache, Engine, Machine};
use wharf_runtime::pool::Pool;
use wharf_runtime::ports::Ports;
use wharf_runtime::saved_samples::SessionSample;
use wharf_runtime::slots::{ChannelSlots, SharedSlots};
use wharf_server::token::ChannelTokenRules;

use super::{Job, message};

/// Bytes of native code that are kept for the next measurement.
const MAX_CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A plugin with one open connection.
struct Guest {
    runtime: tokio::runtime::Runtime,
    context: Arc<ChannelContext>,
    component: wharf_runtime::plugin::Component,
    instance: Instance,
    client: Arc<ConnectionRecord>,
    session: Vec<u8>,
}

impl Guest {
    /// Loads a plugin from a folder of the target folder, and connects to a path of it.
    fn load(folder: &str, name: &str, path: &str, room: Option<&str>) -> anyhow::Result<Guest> {
        // A preempted call asks for a timer, which must belong to some runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let entered = runtime.enter();
        let file = Path::new(folder).join(format!("{name}.wasm"));
        let target = target_folder(&file)?;
        let bytes = std::fs::read(target.join(file))?;
        let sha256: [u8; 32] = Sha256::digest(&bytes).into();
        let engine = Engine::new(
            Some(Cache::new(target.join("bench-cache"), MAX_CACHE_BYTES)),
            Machine::default(),
        )?;
        let (component, is_cached) = engine.load(&bytes, &sha256)?;
        if !is_cached {
            engine.keep(&component, &sha256);
        }

        let config = Arc::new(Config::default());
        let context = Arc::new(ChannelContext {
            name: Arc::from(name),
            channels: Arc::default(),
            hub: Arc::new(Hub::default()),
            store: Arc::new(Memory::new(config.max_store_bytes)),
            log_budget: LogBudget::of_channel(name, 0),
            failure_budget: LogBudget::of_failures(name, 0),
            connections: None,
            http_requests: Arc::new(Semaphore::new(config.max_http_requests_per_channel)),
            lookups: Arc::new(Semaphore::new(1)),
            memory: Default::default(),
            counters: Default::default(),
            long_calls: Arc::new(LongCalls::new(1)),
            unchecked_tokens: AtomicU64::new(0),
            session_sample: SessionSample::default(),
            mounted: Default::default(),
            working: Default::default(),
            live: LiveInstances::new(config.max_instances),
            own: Arc::default(),
            ports: Ports::system(&config, Arc::new(ChannelTokenRules::new(config.clone())))?,
            config,
        });
        let started = finish(Instance::start(&component, &context, 1));
        let mut instance = started.map_err(|failure| anyhow!("it does not start: {failure}"))?;
        let client = Arc::new(client(&context.config, path, room));
        context.hub.connect(&client);
        let connected = finish(instance.connect(Call::new(client.clone(), Phase::Connecting)));
        let mut finished = connected.map_err(|failure| anyhow!("on-connect: {failure}"))?;
        finish(finished.call.commit(&context.hub, &mut PendingWrites::default()))?;
        let Ok(session) = finished.returned else {
            bail!("the connection is refused");
        };
        drop(entered);
        Ok(Guest { runtime, context, component, instance, client, session })
    }
}

/// Returns the record of a client that looks like a browser on this machine.
pub fn client(config: &Config, path: &str, room: Option<&str>) -> ConnectionRecord {
    let headers: [(&str, &[u8]); 2] =
        [("host", b"localhost:4000"), ("origin", b"http://localhost:4000")];
    let request = UpgradeRequest {
        path: path.into(),
        query: Box::from(""),
        params: room.into_iter().map(|room| ("room_id".into(), room.into())).collect(),
        headers: RequestHeaders::collect(&headers),
        remote: wharf_hub::remote::Remote::Unix,
        subprotocol: None,
    };
    let event = EventBounds {
        frames: config.max_effects_per_event,
        bytes: config.max_effect_bytes_per_event,
    };
    ConnectionRecord::new(request, Outbound::new(config.outbound_queue_bytes, event))
}

/// Returns the target folder with a file that `cargo xtask plugins` makes: the one that this
/// program was compiled into, which cargo marks with a `CACHEDIR.TAG`, or the checkout's own.
fn target_folder(file: &Path) -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let own = program.ancestors().skip(1).find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let checkout =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).map(|root| root.join("target"));
    let mut folders = own.map(Path::to_owned).into_iter().chain(checkout);
    folders.find(|folder| folder.join(file).is_file()).with_context(|| {
        format!("there is no target/{}: run `cargo xtask plugins` first", file.display())
    })
}

/// Polls until the future is ready. A guest call mostly is ready at once; a preempted one yields
/// and can go on.
pub fn finish<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = TaskContext::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

/// Calls of the handler of one text message. Its effects are dropped.
struct Handle {
    guest: Guest,
    text: String,
    /// True if the call must change the session.
    is_changing: bool,
}

impl Job for Handle {
    fn run(&mut self) {
        let Guest { runtime, instance, client, session, .. } = &mut self.guest;
        let _entered = runtime.enter();
        let call = Call::new(client.clone(), Phase::Open);
        match finish(instance.handle(call, session, &Event::Text(&self.text))) {
            Ok(finished) => assert_eq!(finished.returned.is_some(), self.is_changing),
            Err(failure) => panic!("the guest failed: {failure}"),
        }
    }
}

fn handle(guest: Guest, text: String, is_changing: bool) -> anyhow::Result<Box<dyn Job>> {
    Ok(Box::new(Handle { guest, text, is_changing }))
}

/// Returns the job of a text of 64 bytes and one send. The session is empty.
pub fn echo() -> anyhow::Result<Box<dyn Job>> {
    handle(Guest::load("plugins", "echo", "/echo", None)?, message(), false)
}

/// Returns the job of a text of 64 bytes, a session that stays as it is, and one send.
pub fn session() -> anyhow::Result<Box<dyn Job>> {
    let guest = Guest::load("fixtures", "keeps", "/keeps/lobby", Some("lobby"))?;
    handle(guest, message(), false)
}

/// Returns the job of a text of 64 bytes, a session that stays as it is, and one broadcast.
pub fn relay() -> anyhow::Result<Box<dyn Job>> {
    handle(Guest::load("plugins", "relay", "/room/lobby", Some("lobby"))?, message(), false)
}

/// Returns the job of a JSON message that is parsed and checked, a session that changes, and one
/// broadcast of JSON.
pub fn json() -> anyhow::Result<Box<dyn Job>> {
    let guest = Guest::load("plugins", "tally", "/tally/lobby", Some("lobby"))?;
    let text = r#"{"type":"chat_message","message":"the quick brown fox"}"#.to_owned();
    handle(guest, text, true)
}

/// Returns the job of three joins, the list of rooms and one send, after a small JSON message. The
/// session is empty.
pub fn five_host_calls() -> anyhow::Result<Box<dyn Job>> {
    let guest = Guest::load("fixtures", "rooms", "/rooms", None)?;
    handle(guest, r#"{"do":"join_many","count":3}"#.to_owned(), false)
}

/// A guest call without the call: taking a slot and an instance, and giving both back.
struct TakeGive(Channel);

/// Returns the job with a warm instance, as for most events.
pub fn pool() -> anyhow::Result<Box<dyn Job>> {
    let Guest { context, component, instance, .. } = Guest::load("plugins", "echo", "/echo", None)?;
    let config = &context.config;
    let slots = ChannelSlots::new(
        config.max_instances_per_channel,
        config.reserved_instances_per_channel,
        SharedSlots::new(config.max_instances),
    );
    let number = instance.generation();
    let pool = Pool::new(component, context.clone(), number, instance);
    let generation = Generation::new(number, [0; 32], Description::default(), pool);
    Ok(Box::new(TakeGive(Channel::new(context, slots, generation))))
}

impl Job for TakeGive {
    fn run(&mut self) {
        let (channel, about, patience) = (&self.0, About::Channel, Patience::Bounded);
        let guest_call = GuestCall { channel, about, event: EventKind::Outside, patience };
        if let Err(error) = finish(guest_call.run(async |_| Ok(()))) {
            panic!("there is no instance: {error:?}");
        }
    }
}
