//! A place of keys: a value of the configuration, a file, or an address. A task of its own reads it,
//! again and again, and publishes the keys; the check of a token only loads them.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use hyper::Uri;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::fetch::{MAX_KEY_BYTES, fetch};
use super::key_set::{Form, KeySet};
use wharf_config::{SecretEncoding, SecretPlace, TokenConfig, TokenKey};
use wharf_contract::text::{cut, escape};
use wharf_runtime::file_stamp::{FileStamp, Look, look};
use wharf_runtime::ports::HttpClient;

/// Time between two looks at a file.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Time from one fetch to the next that a token with an unknown key causes. So strangers with names of
/// keys at random cause no more.
const REFETCH_PAUSE: Duration = Duration::from_secs(5);

/// Pauses after a fetch that has failed: the first, which doubles each time, and the longest.
const RETRY_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Shortest secret without a warning, in bytes: RFC 7518, 3.2 requires as many as the algorithm
/// has.
const GOOD_SECRET_BYTES: usize = 32;

/// Longest reason that is shown, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// The place of keys.
#[derive(Clone, PartialEq)]
pub(super) enum Place {
    /// The configuration itself: these bytes are the secret.
    Given(Box<[u8]>),
    /// A file.
    File(PathBuf),
    /// An address, and the time after which it is asked again.
    Address(Uri, Duration),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Given(_) => f.write_str("the configuration"),
            Place::File(path) => path.display().fmt(f),
            Place::Address(address, _) => address.fmt(f),
        }
    }
}

/// The keys of a place at one time. Without keys and without a problem it has not been read yet.
#[derive(Debug, Default)]
pub(super) struct State {
    pub keys: Option<Arc<KeySet>>,
    pub problem: Option<String>,
}

/// The last fetch, and the wish for another.
#[derive(Debug, Default)]
struct Reading {
    begun: Option<Instant>,
    is_under_way: bool,
    is_asked_for: bool,
}

/// A place of keys, and what is known of it.
pub(super) struct KeySource {
    place: Place,
    form: Form,
    /// Tables of the configuration that name the place, for the log.
    tables: Mutex<Vec<String>>,
    state: ArcSwap<State>,
    /// Wakes the task that reads, for a token whose key is not known.
    wake: Arc<Notify>,
    reading: Mutex<Reading>,
    /// Number of times that the place has been read.
    rounds: watch::Sender<u64>,
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource").field("place", &self.place.to_string()).finish_non_exhaustive()
    }
}

impl Drop for KeySource {
    fn drop(&mut self) {
        // The task finds the place gone.
        self.wake.notify_one();
    }
}

impl KeySource {
    /// Makes the place of a key of the configuration.
    pub fn new(key: &TokenKey, rules: &TokenConfig) -> KeySource {
        let (place, form) = match key {
            TokenKey::Secret(secret) => match &secret.place {
                SecretPlace::Given(secret, _) => {
                    (Place::Given(secret.clone()), Form::Secret(SecretEncoding::Bytes))
                }
                SecretPlace::File(path) => {
                    (Place::File(path.clone()), Form::Secret(secret.encoding))
                }
            },
            TokenKey::PublicKey(path) => (Place::File(path.clone()), Form::Pem),
            TokenKey::Jwks(path) => (Place::File(path.clone()), Form::Jwks),
            // The configuration has checked it.
            TokenKey::JwksUrl(url) => {
                (Place::Address(url.parse().unwrap_or_default(), rules.refresh), Form::Jwks)
            }
        };
        let source = KeySource {
            place,
            form,
            tables: Mutex::default(),
            state: ArcSwap::default(),
            wake: Arc::default(),
            reading: Mutex::default(),
            rounds: watch::Sender::new(0),
        };
        if let Place::Given(secret) = &source.place {
            let key = super::key::Key::secret(secret);
            let keys = Some(Arc::new(KeySet::One(Box::new(key))));
            source.state.store(Arc::new(State { keys, problem: None }));
        }
        source
    }

    /// Returns true if another source reads the same.
    pub fn is_same(&self, other: &KeySource) -> bool {
        self.place == other.place && self.form == other.form
    }

    /// Adds a table of the configuration that names the place.
    pub fn add_table(&self, table: &str) {
        self.tables.lock().push(table.to_owned());
    }

    /// Returns the tables of the configuration that name the place.
    pub fn tables(&self) -> Vec<String> {
        self.tables.lock().clone()
    }

    /// Returns the place, for people.
    pub fn place(&self) -> String {
        escape(&self.place.to_string())
    }

    /// Returns the keys, to be used at once: they are lent and not counted.
    pub fn state(&self) -> Guard<Arc<State>> {
        self.state.load()
    }

    /// Begins to read the place, until the last user of it is gone.
    pub fn follow(self: &Arc<Self>, http: &Arc<dyn HttpClient>) {
        match &self.place {
            Place::Given(secret) => self.warn_weak(secret),
            Place::File(path) => {
                tokio::spawn(follow_file(Arc::downgrade(self), path.clone()));
            }
            Place::Address(address, refresh) => {
                let (address, wake) = (address.clone(), self.wake.clone());
                let source = Arc::downgrade(self);
                tokio::spawn(follow_address(source, address, *refresh, wake, http.clone()));
            }
        }
    }

    /// Asks for the keys of an address once more, since a token names one that is not known.
    pub fn ask_again(&self) {
        if matches!(self.place, Place::Address(..)) {
            self.reading.lock().is_asked_for = true;
            self.wake.notify_one();
        }
    }

    /// Returns a receiver that tells when the place has been read again, if that may happen in a
    /// moment.
    pub fn news(&self) -> Option<watch::Receiver<u64>> {
        let rounds = self.rounds.subscribe();
        let state = self.state.load();
        let is_new = state.keys.is_none() && state.problem.is_none();
        let Reading { begun, is_under_way, is_asked_for } = *self.reading.lock();
        let is_due = begun.is_none_or(|begun| begun.elapsed() >= REFETCH_PAUSE);
        (is_new || is_under_way || (is_asked_for && is_due)).then_some(rounds)
    }

    /// Publishes what was read, and logs it if it is another state than before.
    fn publish(&self, read: Result<KeySet, String>, has_changed: bool) {
        let before = self.state.load_full();
        let (tables, place) = (self.tables().join(" "), self.place());
        match read {
            Ok(keys) => {
                let count = keys.len();
                if let Some(left_out) = keys.left_out().filter(|_| has_changed) {
                    tracing::warn!(tables, place, left_out, "some keys for tokens are left out");
                }
                match before.keys {
                    Some(_) if has_changed => {
                        tracing::info!(
                            tables,
                            place,
                            keys = count,
                            "the keys for tokens were read again"
                        );
                    }
                    Some(_) if before.problem.is_some() => {
                        tracing::info!(
                            tables,
                            place,
                            keys = count,
                            "the keys for tokens can be read again"
                        );
                    }
                    None if before.problem.is_some() => {
                        tracing::info!(
                            tables,
                            place,
                            keys = count,
                            "the keys for tokens can be used now"
                        );
                    }
                    None => {
                        tracing::info!(tables, place, keys = count, "the keys for tokens were read")
                    }
                    Some(_) => {}
                }
                self.state.store(Arc::new(State { keys: Some(Arc::new(keys)), problem: None }));
            }
            Err(reason) => {
                let reason = escape(cut(&reason, MAX_REASON_BYTES));
                if before.problem.as_ref() != Some(&reason) {
                    match before.keys {
                        Some(_) => {
                            tracing::error!(
                                tables,
                                place,
                                reason,
                                "the keys for tokens stay as they were"
                            );
                        }
                        None => tracing::error!(
                            tables,
                            place,
                            reason,
                            "the keys for tokens cannot be used; until they can, clients that bring a \
                             token are answered with status 503"
                        ),
                    }
                }
                let keys = before.keys.clone();
                self.state.store(Arc::new(State { keys, problem: Some(reason) }));
            }
        }
    }

    /// Notes that the place is being read.
    fn begin_round(&self, now: Instant) {
        let begun = Some(now);
        *self.reading.lock() = Reading { begun, is_under_way: true, is_asked_for: false };
    }

    /// Tells that the place was read.
    fn end_round(&self) {
        self.reading.lock().is_under_way = false;
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }

    fn warn_weak(&self, secret: &[u8]) {
        if secret.len() < GOOD_SECRET_BYTES {
            tracing::warn!(
                tables = self.tables().join(" "),
                bytes = secret.len(),
                "the secret that tokens are checked with is weak; HS256 wants one of at least \
                 {GOOD_SECRET_BYTES} bytes"
            );
        }
    }
}

/// Content of a place when it was last read, as far as it has to be compared.
#[derive(Default)]
struct Content {
    sha256: Option<[u8; 32]>,
}

impl Content {
    /// Notes a content. Returns true if it is another than before.
    fn is_news(&mut self, bytes: &[u8]) -> bool {
        let sha256: [u8; 32] = Sha256::digest(bytes).into();
        self.sha256.replace(sha256) != Some(sha256)
    }
}

/// Looks at a file again and again. A file system that hangs holds up this file only.
async fn follow_file(source: Weak<KeySource>, path: PathBuf) {
    let (mut stamp, mut content): (Option<FileStamp>, Content) = Default::default();
    loop {
        let Some(form) = source.upgrade().map(|source| source.form) else {
            return;
        };
        let (file, known) = (path.clone(), stamp.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let look = look(&file, known.as_ref(), MAX_KEY_BYTES as u64);
            let keys = match &look {
                Look::Read(bytes, _) => Some(KeySet::read(bytes, form)),
                _ => None,
            };
            (look, keys)
        });
        let looked = looked.await;
        let Some(source) = source.upgrade() else {
            return;
        };
        match looked {
            Ok((Look::Read(bytes, read), Some(keys))) => {
                stamp = Some(read);
                let is_news = content.is_news(&bytes);
                if let (Form::Secret(encoding), true, Ok(_)) = (form, is_news, &keys) {
                    source.warn_weak(&encoding.read(&bytes).unwrap_or_default());
                }
                source.publish(keys, is_news);
            }
            Ok((Look::Failed(reason, read), _)) => {
                stamp = read;
                source.publish(Err(reason), true);
            }
            Ok(_) => {}
            Err(_) => source.publish(Err("the host panicked over it".to_owned()), true),
        }
        source.end_round();
        drop(source);
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Fetches a set from its address: on an interval, after a failure with growing pauses, and for a token
/// with an unknown key.
async fn follow_address(
    source: Weak<KeySource>,
    address: Uri,
    refresh: Duration,
    wake: Arc<Notify>,
    http: Arc<dyn HttpClient>,
) {
    let (mut content, mut failures) = (Content::default(), 0_u32);
    loop {
        let begun = Instant::now();
        let Some(form) = source.upgrade().map(|source| {
            source.begin_round(begun);
            source.form
        }) else {
            return;
        };
        let fetched = fetch(&http, &address).await;
        let (fetched, keys) = match fetched {
            Ok(bytes) => {
                let read = tokio::task::spawn_blocking(move || {
                    let keys = KeySet::read(&bytes, form);
                    (bytes, keys)
                });
                match read.await {
                    Ok((bytes, keys)) => (Some(bytes), keys),
                    Err(_) => (None, Err("the host panicked over it".to_owned())),
                }
            }
            Err(reason) => (None, Err(reason)),
        };
        let Some(source) = source.upgrade() else {
            return;
        };
        failures = if keys.is_ok() { 0 } else { failures.saturating_add(1) };
        let is_news = keys.is_err() || fetched.is_some_and(|bytes| content.is_news(&bytes));
        source.publish(keys, is_news);
        source.end_round();
        drop(source);
        let [first, longest] = RETRY_PAUSE;
        let pause = match failures {
            0 => refresh,
            _ => first.saturating_mul(1 << (failures - 1).min(10)).min(longest).min(refresh),
        };
        let due = Instant::now() + pause;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            () = wake.notified() => tokio::time::sleep_until(due.min(begun + REFETCH_PAUSE)).await,
        }
    }
}
