//! The test kit's second level, with components of this repository.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Mutex;

use wharf::testing::TestHost;

use crate::artefacts;

/// Lock for the environment, which all threads share.
static ENVIRONMENT: Mutex<()> = Mutex::new(());

/// Runs a function with these variables set.
#[expect(unsafe_code, reason = "the variables of a process can be set in no other way")]
pub fn with_environment<R>(variables: &[(&str, PathBuf)], act: impl FnOnce() -> R) -> R {
    let _alone = ENVIRONMENT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for (name, value) in variables {
        // SAFETY: only threads of tests read or write this process's environment. They use the
        // standard library, which has a lock of its own for it.
        unsafe { std::env::set_var(name, value) };
    }
    let done = catch_unwind(AssertUnwindSafe(act));
    for (name, _) in variables {
        // SAFETY: as above.
        unsafe { std::env::remove_var(name) };
    }
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Starts a host with a plugin or fixture as a component, and prepares it before it starts.
pub fn prepared(name: &str, prepare: impl FnOnce(&TestHost)) -> TestHost {
    let variables =
        [("WHARF_TEST_HOST", artefacts::binary()), ("WHARF_CACHE", artefacts::compiled_plugins())];
    with_environment(&variables, || {
        let host = TestHost::component(artefacts::component_file(name));
        prepare(&host);
        // This call starts it.
        host.room_count("anybody?");
        host
    })
}

/// Starts a host with a plugin or fixture as a component.
pub fn host(name: &str) -> TestHost {
    prepared(name, |_| {})
}

/// Returns the text of a panic that a function must cause.
pub fn panic_of(act: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err("it must panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}
