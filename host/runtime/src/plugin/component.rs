//! Bytes → checked component: compiled, or taken from the cache, its world compared with the
//! contract, ready to make instances.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use wasmtime::component::{Instance, InstancePre, Linker, types::ComponentItem};
use wasmtime::{Config as EngineConfig, Store};
use wharf_contract::exports::Exports;
use wharf_contract::text::escape;

use crate::epoch::EpochClock;
use crate::host_calls::bindings::exports::wharf::channel::lifecycle;
use crate::host_calls::{self, optional};
use crate::instance::{InstanceState, SlowStart};
use crate::plugin::cache::{Cache, EntryKey, LastGood, NativeCode};
use crate::plugin::compiler::{Compiler, WorkError, on_thread};
use crate::plugin::machine::Machine;
use crate::plugin::one_line;

/// The version of the contract that this host implements. Patches only add to it.
const OURS: (u64, u64, u64) = wharf_contract::exports::CONTRACT_VERSION;

/// Size of the native stack of a guest, in bytes. Beside it, Rust's own default for wasm is a stack
/// of 1 MiB in linear memory.
const GUEST_STACK_BYTES: usize = 512 * 1024;

/// The compiler and the data that all components share. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    engine: wasmtime::Engine,
    clock: EpochClock,
    linker: Arc<Linker<InstanceState>>,
    cache: Option<Arc<Cache>>,
    /// Hash of everything but the plugin that compiled code depends on.
    fingerprint: [u8; 32],
    /// Number of tasks that wait for a component.
    loading: Arc<AtomicUsize>,
    compiler: Compiler,
    /// Held while code that is in use already is put into the cache.
    keeping: Arc<Mutex<()>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// The reason why bytes cannot be served as a component.
#[derive(Debug, thiserror::Error)]
pub enum ComponentError {
    /// A core module, which any `wasm32-unknown-unknown` or `wasm32-wasip1` build makes.
    #[error(
        "it is a core WebAssembly module, not a component; build it with --target wasm32-wasip2"
    )]
    CoreModule,
    /// Neither a module nor a component.
    #[error("it is not WebAssembly: it does not begin with \\0asm")]
    NotWasm,
    /// The compiler refuses it.
    #[error("it does not compile: {0}")]
    Broken(String),
    /// It was built against a contract that this host does not implement.
    #[error(
        "it was built for wharf:channel {theirs}, this host speaks {}.{}.{}; {}",
        OURS.0, OURS.1, OURS.2, advice(*newer)
    )]
    OtherContract {
        /// Version that it names.
        theirs: String,
        /// True if that version is newer than ours.
        newer: bool,
    },
    /// It is not a channel.
    #[error(
        "it does not export wharf:channel/lifecycle; is #[wharf::channel] missing on the impl, or \
         \"cdylib\" in its Cargo.toml?"
    )]
    NoChannel,
    /// The lifecycle differs from the contract, or the host does not offer an import.
    #[error("it does not fit the contract: {0}")]
    Misfit(String),
}

impl ComponentError {
    /// Returns true if the reason is not the file, and may be gone in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        // The compiler has no type for it.
        let is_system = |reason: &str| reason.contains("os error");
        matches!(self, ComponentError::Broken(reason) if is_system(reason))
    }
}

fn advice(newer: bool) -> &'static str {
    if newer { "update the host" } else { "build it with a newer SDK" }
}

impl Engine {
    /// Sets the compiler up for this machine, with a cache for its output, and starts the clock that
    /// preempts guests.
    pub fn new(cache: Option<Cache>, machine: Machine) -> anyhow::Result<Engine> {
        let mut config = EngineConfig::new();
        config
            .epoch_interruption(true)
            // Calls are async on fibers, but one at a time in an instance: the contract's exports
            // are synchronous, and this makes a call several times cheaper.
            .concurrency_support(false)
            .max_wasm_stack(GUEST_STACK_BYTES)
            .async_stack_size(2 * GUEST_STACK_BYTES)
            .memory_init_cow(true)
            // Composed components need several memories: the compiler itself makes adapters of them.
            .wasm_multi_memory(true)
            // Proposals that no plugin needs.
            .wasm_tail_call(false)
            .wasm_memory64(false)
            .wasm_relaxed_simd(false)
            .wasm_custom_page_sizes(false)
            .wasm_wide_arithmetic(false);
        machine.apply(&mut config);
        let engine = wasmtime::Engine::new(&config).map_err(setup)?;
        let mut linker = Linker::new(&engine);
        host_calls::add_to_linker(&mut linker).map_err(setup)?;
        let clock = EpochClock::start({
            let engine = engine.clone();
            move || engine.increment_epoch()
        })?;
        let fingerprint = fingerprint(&engine);
        Ok(Engine {
            engine,
            clock,
            linker: Arc::new(linker),
            cache: cache.map(Arc::new),
            fingerprint,
            loading: Arc::default(),
            compiler: Compiler::new(),
            keeping: Arc::default(),
        })
    }

    /// Takes a component from the cache or compiles it, and compares it with the contract. Returns
    /// true besides it if it was in the cache. `sha256` is the hash of the bytes.
    ///
    /// Reads files, or takes tens to hundreds of milliseconds and all cores: not for the event
    /// loop.
    pub fn load(
        &self,
        bytes: &[u8],
        sha256: &[u8; 32],
    ) -> Result<(Component, bool), ComponentError> {
        match self.look_up(bytes, sha256) {
            Some(found) => Ok((found?, true)),
            None => Ok((self.compile(bytes)?, false)),
        }
    }

    /// Loads a component like [`load`](Engine::load), on threads of its own. What is in the cache
    /// waits for nothing; what is to be compiled waits for its turn. Compiled code is put into the
    /// cache, also if nobody waits for it any more.
    ///
    /// `is_late` is called if it takes longer than `limit`, from when it has its turn; then the turn
    /// is over, and others are compiled.
    ///
    /// # Errors
    ///
    /// There is no thread for it, or the compiler has panicked.
    pub(crate) async fn load_in_background(
        &self,
        bytes: Arc<[u8]>,
        sha256: [u8; 32],
        limit: Duration,
        is_late: impl Fn(),
    ) -> Result<Result<(Component, bool), ComponentError>, WorkError> {
        // The task is counted until it goes on, not until the work is done: in between it is about
        // to be woken.
        let _loading = Loading::begin(self.loading.clone());
        let engine = self.clone();
        let look_up = on_thread({
            let bytes = bytes.clone();
            move |found| drop(found.send(engine.look_up(&bytes, &sha256)))
        });
        if let Some(found) = timely(look_up, limit, &is_late).await? {
            return Ok(found.map(|component| (component, true)));
        }
        let Some((turn, running)) = self.compiler.turn().await else {
            return Err(WorkError::Panicked("there are no turns".to_owned()));
        };
        let engine = self.clone();
        let compile = on_thread(move |compiled| {
            let component = running.compile(|| engine.compile(&bytes));
            let kept = component.as_ref().ok().cloned();
            let keeping = engine.keeping.lock();
            let _ = compiled.send(component);
            // The pool's threads have ended, and the result is on its way.
            if let Some(component) = kept {
                engine.keep(&component, &sha256);
            }
            drop((keeping, running));
        });
        let compiled = timely(compile, limit, || {
            is_late();
            drop(turn);
        });
        Ok(compiled.await?.map(|component| (component, false)))
    }

    /// Returns the component that is in the cache, or the reason why the bytes cannot be one.
    fn look_up(
        &self,
        bytes: &[u8],
        sha256: &[u8; 32],
    ) -> Option<Result<Component, ComponentError>> {
        if let Err(error) = check_preamble(bytes) {
            return Some(Err(error));
        }
        self.cached(sha256).map(|component| self.fit(&component))
    }

    fn compile(&self, bytes: &[u8]) -> Result<Component, ComponentError> {
        let component = wasmtime::component::Component::from_binary(&self.engine, bytes)
            .map_err(|error| ComponentError::Broken(one_line(&error)))?;
        self.fit(&component)
    }

    /// Loads the last code of a channel that was good, if it is in the cache. Returns it with the
    /// hash of its file.
    pub(crate) async fn load_last_good(&self, place: LastGood) -> Option<(Component, [u8; 32])> {
        let _loading = Loading::begin(self.loading.clone());
        let engine = self.clone();
        let look_up = on_thread(move |found| {
            let sha256 = engine.cache.as_ref().and_then(|cache| cache.last_good(&place));
            let component = sha256
                .and_then(|sha256| Some((engine.fit(&engine.cached(&sha256)?).ok()?, sha256)));
            let _ = found.send(component);
        });
        look_up.await.ok().flatten()
    }

    /// Notes that a file is the last good one of its channel, or that there is none any more, because
    /// the channel was removed. Writes files.
    pub(crate) fn note_last_good(&self, place: &LastGood, sha256: Option<&[u8; 32]>) {
        let Some(cache) = &self.cache else {
            return;
        };
        // A note without the code is of no use.
        let _kept = self.keeping.lock();
        if sha256.is_none_or(|sha256| cache.has(&self.key(sha256))) {
            cache.note_last_good(place, sha256);
        }
    }

    /// Returns true if a task waits for `load_in_background`.
    pub fn is_loading(&self) -> bool {
        self.loading.load(Ordering::SeqCst) > 0
    }

    /// Puts a compiled component into the cache, if there is one. Writes files.
    pub fn keep(&self, component: &Component, sha256: &[u8; 32]) {
        let Some(cache) = &self.cache else {
            return;
        };
        match component.pre.component().serialize() {
            Ok(code) => cache.put(&self.key(sha256), &code),
            Err(error) => {
                tracing::debug!(error = one_line(&error), "compiled code cannot be written down");
            }
        }
    }

    fn cached(&self, sha256: &[u8; 32]) -> Option<wasmtime::component::Component> {
        let code = self.cache.as_ref()?.get(&self.key(sha256))?;
        let revived = revive(&self.engine, &code);
        revived
            .inspect_err(|error| {
                tracing::debug!(error = one_line(error), "a cached plugin is not usable");
            })
            .ok()
    }

    fn key(&self, sha256: &[u8; 32]) -> EntryKey {
        let key = Sha256::new().chain_update(self.fingerprint).chain_update(sha256);
        key.finalize().into()
    }

    /// Compares a component with the contract.
    fn fit(&self, component: &wasmtime::component::Component) -> Result<Component, ComponentError> {
        let newer_patch = self.check_contract(component)?;
        let pre = self.linker.instantiate_pre(component).map_err(|error| match &newer_patch {
            // Patches only add to the contract, and this plugin uses an addition.
            Some(theirs) => ComponentError::OtherContract { theirs: theirs.clone(), newer: true },
            None => ComponentError::Misfit(one_line(&error)),
        })?;
        let optional = OptionalIndices::find(self, component, &pre)?;
        let lifecycle = lifecycle::GuestIndices::new(&pre)
            .map_err(|error| ComponentError::Misfit(one_line(&error)))?;
        let (clock, slow_start) = (self.clock.clone(), Arc::default());
        Ok(Component { pre, clock, slow_start, lifecycle, optional })
    }

    /// Checks the versions of the contract in its world. Returns the version if it is a newer patch,
    /// which may work.
    fn check_contract(
        &self,
        component: &wasmtime::component::Component,
    ) -> Result<Option<String>, ComponentError> {
        let ty = component.component_type();
        let mut has_lifecycle = false;
        let mut newer_patch = None;
        let names = ty.imports(&self.engine).map(|(name, _)| (name.to_owned(), false));
        let names = names.chain(ty.exports(&self.engine).map(|(name, _)| (name.to_owned(), true)));
        for (name, is_export) in names {
            let Some(rest) = name.strip_prefix("wharf:channel/") else {
                continue;
            };
            let Some((interface, version)) = rest.split_once('@') else {
                continue;
            };
            let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
            let theirs = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            if theirs != (OURS.0, OURS.1) {
                return Err(ComponentError::OtherContract {
                    theirs: escape(version),
                    newer: theirs > (OURS.0, OURS.1),
                });
            }
            if numbers.next().unwrap_or(0) > OURS.2 {
                newer_patch = Some(escape(version));
            }
            has_lifecycle |= is_export && interface == "lifecycle";
        }
        if has_lifecycle { Ok(newer_patch) } else { Err(ComponentError::NoChannel) }
    }

    /// Returns the indices of an optional interface, if the component exports it.
    fn optional<I>(
        &self,
        component: &wasmtime::component::Component,
        interface: &str,
        indices: impl FnOnce() -> wasmtime::Result<I>,
    ) -> Result<Option<I>, ComponentError> {
        let prefix = format!("wharf:channel/{interface}@");
        let ty = component.component_type();
        let exported = ty.exports(&self.engine).any(|(name, item)| {
            name.starts_with(&prefix) && matches!(item.ty, ComponentItem::ComponentInstance(_))
        });
        if !exported {
            return Ok(None);
        }
        indices().map(Some).map_err(|error| ComponentError::Misfit(one_line(&error)))
    }
}

/// One of the tasks that wait for a component, for as long as it is kept.
struct Loading(Arc<AtomicUsize>);

impl Loading {
    fn begin(count: Arc<AtomicUsize>) -> Loading {
        count.fetch_add(1, Ordering::SeqCst);
        Loading(count)
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for work as long as it takes. Calls `is_late` if that is longer than `limit`.
async fn timely<R>(work: impl Future<Output = R>, limit: Duration, is_late: impl FnOnce()) -> R {
    let mut work = std::pin::pin!(work);
    match tokio::time::timeout(limit, work.as_mut()).await {
        Ok(done) => done,
        Err(_) => {
            is_late();
            work.await
        }
    }
}

/// Checks that a file is WebAssembly, and a component: native code is never taken from a plugin's
/// file.
fn check_preamble(bytes: &[u8]) -> Result<(), ComponentError> {
    if wasmtime::Engine::detect_precompiled(bytes).is_some() || !bytes.starts_with(b"\0asm") {
        return Err(ComponentError::NotWasm);
    }
    // A module's layer is 0, a component's is 1 (the binary format's preamble).
    match bytes.get(6..8) {
        Some(&[0, 0]) => Err(ComponentError::CoreModule),
        _ => Ok(()),
    }
}

/// Returns code from the cache as a component, without compiling.
///
/// It is copied into private memory rather than mapped from its file: the code that runs is then
/// the code that was checked, whatever happens to the file.
fn revive(
    engine: &wasmtime::Engine,
    code: &NativeCode,
) -> wasmtime::Result<wasmtime::component::Component> {
    #[expect(unsafe_code, reason = "wasmtime cannot see that the cache holds its own output")]
    // SAFETY: the bytes must be the unchanged output of `Component::serialize`. Only the cache
    // makes a `NativeCode`, from an entry that only this user can have written. Its hash proves
    // that it is unchanged, and its key that it was made by this version of the host, of this
    // plugin, for this processor. Hosts put nothing else there, see `Engine::keep`.
    unsafe {
        wasmtime::component::Component::deserialize(engine, code.as_bytes())
    }
}

/// Returns the hash of the versions of host and compiler, the compiler's settings, and the
/// processor.
fn fingerprint(engine: &wasmtime::Engine) -> [u8; 32] {
    /// Passes bytes on to the hash. A hash of 64 bits would do for finding entries, but not for
    /// trusting them.
    struct Feed(Sha256);

    impl Hasher for Feed {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        /// Returns 0; it is never called.
        fn finish(&self) -> u64 {
            0
        }
    }

    let mut feed = Feed(Sha256::new());
    env!("CARGO_PKG_VERSION").hash(&mut feed);
    engine.precompile_compatibility_hash().hash(&mut feed);
    feed.0.finalize().into()
}

fn setup(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("the compiler cannot be set up: {}", one_line(&error))
}

/// Makes the types for the optional exports: for each its place in a component, and its functions
/// in an instance.
macro_rules! optional_exports {
    ($(
        $(#[$doc:meta])*
        $module:ident = $interface:literal, $world:literal,
            uses [$($uses:literal),*], callbacks [$($callback:literal),*];
    )*) => {
        /// The indices of a component's optional exports.
        #[derive(Clone)]
        struct OptionalIndices {
            $($module: Option<optional::$module::exports::wharf::channel::$module::GuestIndices>,)*
        }

        impl OptionalIndices {
            fn find(
                engine: &Engine,
                component: &wasmtime::component::Component,
                pre: &InstancePre<InstanceState>,
            ) -> Result<OptionalIndices, ComponentError> {
                use optional::*;
                Ok(OptionalIndices {
                    $($module: engine.optional(component, $interface, || {
                        $module::exports::wharf::channel::$module::GuestIndices::new(pre)
                    })?,)*
                })
            }

            /// Returns the exports that are there.
            fn exports(&self) -> Exports {
                Exports { $($module: self.$module.is_some(),)* }
            }

            /// Looks the exports up in a new instance.
            fn load(
                &self,
                lifecycle: lifecycle::Guest,
                store: &mut Store<InstanceState>,
                instance: &Instance,
            ) -> wasmtime::Result<GuestExports> {
                Ok(GuestExports {
                    lifecycle,
                    $($module: match &self.$module {
                        Some(indices) => Some(indices.load(&mut *store, instance)?),
                        None => None,
                    },)*
                })
            }
        }

        /// The exports of one new instance.
        pub struct GuestExports {
            /// Lifecycle.
            pub lifecycle: lifecycle::Guest,
            $($(#[$doc])* pub $module: Option<optional::$module::exports::wharf::channel::$module::Guest>,)*
        }
    };
}

wharf_contract::optional_exports!(optional_exports);

/// A component that fits the contract.
#[derive(Clone)]
pub struct Component {
    pre: InstancePre<InstanceState>,
    clock: EpochClock,
    slow_start: Arc<SlowStart>,
    lifecycle: lifecycle::GuestIndices,
    optional: OptionalIndices,
}

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("optional", &self.exports().interfaces().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Component {
    /// Returns the engine that compiled it.
    pub fn engine(&self) -> &wasmtime::Engine {
        self.pre.engine()
    }

    /// Returns the failures of its events that took too long.
    pub(crate) fn slow_start(&self) -> &Arc<SlowStart> {
        &self.slow_start
    }

    /// Returns the clock that preempts its instances.
    pub(crate) fn clock(&self) -> &EpochClock {
        &self.clock
    }

    /// Returns its optional exports.
    pub fn exports(&self) -> Exports {
        self.optional.exports()
    }

    /// Makes an instance in a store.
    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<InstanceState>,
    ) -> wasmtime::Result<GuestExports> {
        let instance = self.pre.instantiate_async(&mut *store).await?;
        let lifecycle = self.lifecycle.load(&mut *store, &instance)?;
        self.optional.load(lifecycle, store, &instance)
    }
}
