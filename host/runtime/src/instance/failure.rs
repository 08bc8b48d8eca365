//! The texts of failures: the cause in words that name the limit and its setting.

use wasmtime::{Store, Trap};

use super::budget::is_cpu_spent;
use super::limits::{Denied, MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES};
use super::{Failure, InstanceState, MAX_HANDLES, MAX_RANDOM_BYTES, backtrace};
use wharf_contract::fault::Fault;

/// Number of functions in a backtrace from which on the stack may have been too small: as many as
/// the runtime lists.
const DEEP: usize = 20;

/// Describes the failure of a call.
pub(super) fn failure(store: &Store<InstanceState>, error: &wasmtime::Error) -> Failure {
    let state = store.data();
    let config = &state.channel.config;
    let cause = error.root_cause().to_string();
    let shown = |text: &str| state.channel.shown(text, usize::MAX);
    let mut failure = Failure::new(Fault::Trap, shown(&cause));
    failure.backtrace = backtrace(error);
    if let Some(words) = state.printing.take_words() {
        // The guest's own words say more than the trap that follows them.
        failure.place = words.place.as_deref().map(shown);
        failure.detail = match failure.place {
            Some(_) => format!("panicked: {}", shown(&words.reason)),
            None => shown(&words.reason),
        };
    }
    if let Some(reason) = &state.unreadable {
        // The trap is the guest's way to end the event, and its place says nothing.
        failure.kind = Fault::SessionUnreadable;
        failure.detail.clone_from(reason);
        (failure.place, failure.backtrace) = (None, String::new());
    } else if is_cpu_spent(error) {
        failure.kind = Fault::Deadline;
    } else if let Some(denied) = state.limits.memory_denied {
        failure.kind = Fault::OutOfMemory;
        failure.is_passing = matches!(denied, Denied::Channel);
        let limit = match denied {
            Denied::Channel => format!(
                "all instances of the channel together asked for more than {} bytes of memory \
                 (max_channel_memory_bytes)",
                config.max_channel_memory_bytes
            ),
            Denied::Instance => format!(
                "it asked for more than {} bytes of memory (max_memory_bytes)",
                config.max_memory_bytes
            ),
        };
        failure.detail = format!("{limit}: {}", failure.detail);
    } else if is_out_of_memory(error, &cause) {
        (failure.kind, failure.is_passing) = (Fault::OutOfMemory, true);
        failure.detail = format!(
            "the system gives the host no more memory, addresses or mappings (the container's limit, \
             ulimit -v, vm.max_map_count): {}",
            failure.detail
        );
    } else if let Some(limit) = limit_of(&cause, config, &failure.backtrace) {
        failure.detail = format!("{limit}: {}", failure.detail);
    }
    failure
}

/// Returns true if the system has refused memory.
fn is_out_of_memory(error: &wasmtime::Error, cause: &str) -> bool {
    let from_system = error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.raw_os_error() == Some(libc::ENOMEM))
    });
    from_system || cause.contains("os error 12") || cause.contains("Cannot allocate memory")
}

/// Returns the limit that was met, with its setting if it has one. The runtime has no types for
/// these, and its texts do not name the remedy.
fn limit_of(cause: &str, config: &wharf_config::Config, backtrace: &str) -> Option<String> {
    let fixed = |count: usize, things: &str| {
        format!(
            "it has more than {count} {things}, the limit of every host; link its modules into fewer"
        )
    };
    let is = |text: &str| cause.contains(text);
    let limit = if is("fuel allocated for hostcalls") {
        format!(
            "more than {} bytes were passed at once, to the host or from it (hostcall_bytes); send and \
             store less at a time",
            config.hostcall_bytes
        )
    } else if is("instance count too high") {
        fixed(MAX_CORE_INSTANCES, "core instances")
    } else if is("memory count too high") {
        fixed(MAX_MEMORIES, "memories")
    } else if is("table count too high") {
        fixed(MAX_TABLES, "tables")
    } else if is("exceeds table limits") {
        format!("a table has more than {} elements (max_table_elements)", config.max_table_elements)
    } else if is("resource table has no free keys") {
        format!("it holds more than {MAX_HANDLES} handles of the host at a time; drop them")
    } else if is("requested len") && is("exceeds limit") {
        format!("it asked for more than {MAX_RANDOM_BYTES} random bytes at a time")
    } else if is(&Trap::MemoryOutOfBounds.to_string()) && frames(backtrace) >= DEEP {
        "the stack was perhaps too small (in Rust 1 MiB): a recursion without end, or large values on it"
            .to_owned()
    } else {
        return None;
    };
    Some(limit)
}

fn frames(backtrace: &str) -> usize {
    backtrace.split(" < ").count()
}
