//! The abilities of this machine that the compiler depends on, and a trial of them.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use wasmtime::{Config as EngineConfig, Instance, Module, Store, Trap};

use super::one_line;

/// The compiler's settings that depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// True if compiled code checks by itself for what a signal reports elsewhere, such as memory out
    /// of bounds. Some emulators end the process in place of such a signal. The code is slower.
    pub without_signals: bool,
    /// True if address space is scarce: an instance takes what it uses, in place of 4 GiB of
    /// addresses, and its code is slower.
    pub scarce_addresses: bool,
}

/// The names of the settings.
const WITHOUT_SIGNALS: &str = "without-signals";
const SCARCE_ADDRESSES: &str = "scarce-addresses";

impl Machine {
    /// Returns the names of the settings that are on, by which one process tells them another.
    pub fn settings(self) -> impl Iterator<Item = &'static str> {
        let Machine { without_signals, scarce_addresses } = self;
        let settings = [(without_signals, WITHOUT_SIGNALS), (scarce_addresses, SCARCE_ADDRESSES)];
        settings.into_iter().filter_map(|(is_on, name)| is_on.then_some(name))
    }

    /// Makes the machine whose settings are on where `is_on` returns true for their names.
    pub fn with(is_on: impl Fn(&str) -> bool) -> Machine {
        Machine {
            without_signals: is_on(WITHOUT_SIGNALS),
            scarce_addresses: is_on(SCARCE_ADDRESSES),
        }
    }
}

/// A module with `f`, which reads a number from one page of memory, and `g`, which traps:
/// `(memory 1) (func (export "f") (param i32) (result i32) (i32.load (local.get 0)))`
/// `(func (export "g") (param i32) (result i32) unreachable)`.
const TINY: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // the preamble
    0x01, 0x06, 0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f, // the type of the functions
    0x03, 0x03, 0x02, 0x00, 0x00, // the functions
    0x05, 0x03, 0x01, 0x00, 0x01, // the memory
    0x07, 0x09, 0x02, 0x01, 0x66, 0x00, 0x00, 0x01, 0x67, 0x00, 0x01, // their exports
    0x0a, 0x0d, 0x02, // their code
    0x07, 0x00, 0x20, 0x00, 0x28, 0x02, 0x00, 0x0b, // of `f`
    0x03, 0x00, 0x00, 0x0b, // of `g`
];

/// An address that is not in the module's memory.
const OUT_OF_BOUNDS: i32 = 0x10_0000;

/// The reason if the compiler has panicked.
const PANICKED: &str = "the compiler panicked";

impl Machine {
    /// Applies the settings.
    pub(super) fn apply(self, config: &mut EngineConfig) {
        if self.without_signals {
            config.signals_based_traps(false);
        }
        if self.without_signals || self.scarce_addresses {
            config.memory_reservation(0).memory_guard_size(0).memory_may_move(true);
        }
        if self.scarce_addresses {
            config.memory_reservation_for_growth(0);
        }
    }

    /// Compiles and runs a function.
    ///
    /// # Errors
    ///
    /// The machine does not allow it: the reason in one line.
    pub fn try_call(self) -> Result<(), String> {
        let read = self.call("f", 0)?.map_err(|error| one_line(&error))?;
        if read == 0 { Ok(()) } else { Err("compiled code computes wrongly".to_owned()) }
    }

    /// Runs functions that trap. Where the machine's signals do not work, the process ends: this is
    /// for a process of its own.
    ///
    /// # Errors
    ///
    /// A trap was not noticed: the reason in one line.
    pub fn try_trap(self) -> Result<(), String> {
        let traps =
            [("f", OUT_OF_BOUNDS, Trap::MemoryOutOfBounds), ("g", 0, Trap::UnreachableCodeReached)];
        for (function, argument, trap) in traps {
            match self.call(function, argument)? {
                Err(error) if error.downcast_ref() == Some(&trap) => {}
                Err(error) => return Err(one_line(&error)),
                Ok(_) => return Err(format!("{trap} is not noticed")),
            }
        }
        Ok(())
    }

    /// Calls a function as guests are called: on a stack of its own, and in a thread that is not the
    /// first one of the process. Signals come there in other ways.
    fn call(self, function: &str, argument: i32) -> Result<wasmtime::Result<i32>, String> {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new();
            match thread.spawn_scoped(scope, || self.call_here(function, argument)) {
                Ok(calling) => calling.join().unwrap_or_else(|_| Err(PANICKED.to_owned())),
                Err(error) => Err(format!("no thread can be started: {error}")),
            }
        })
    }

    fn call_here(self, function: &str, argument: i32) -> Result<wasmtime::Result<i32>, String> {
        let mut config = EngineConfig::new();
        self.apply(&mut config);
        // The trial is over before a pool of threads would have started.
        config.parallel_compilation(false);
        let called = async {
            let engine = wasmtime::Engine::new(&config)?;
            let module = Module::new(&engine, TINY)?;
            let mut store = Store::new(&engine, ());
            let instance = Instance::new_async(&mut store, &module, &[]).await?;
            let f = instance.get_typed_func::<i32, i32>(&mut store, function)?;
            Ok(f.call_async(&mut store, argument).await)
        };
        let polled = pin!(called).poll(&mut Context::from_waker(Waker::noop()));
        match polled {
            Poll::Ready(called) => called.map_err(|error: wasmtime::Error| one_line(&error)),
            Poll::Pending => Err("compiled code does not return".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Machine;

    #[test]
    fn every_setting_runs_code_and_notices_traps() {
        for without_signals in [false, true] {
            for scarce_addresses in [false, true] {
                let machine = Machine { without_signals, scarce_addresses };
                assert_eq!(machine.try_call(), Ok(()), "{machine:?}");
                assert_eq!(machine.try_trap(), Ok(()), "{machine:?}");
            }
        }
    }
}
