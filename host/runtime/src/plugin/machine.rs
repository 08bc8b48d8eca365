//! The abilities of this machine that the compiler depends on, and a trial of them.

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

/// A module with `f`, which reads a number from one page of memory:
/// `(memory 1) (func (export "f") (param i32) (result i32) (i32.load (local.get 0)))`.
const TINY: &[u8] = &[
    0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, // the preamble
    0x01, 0x06, 0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f, // the type of the function
    0x03, 0x02, 0x01, 0x00, // the function
    0x05, 0x03, 0x01, 0x00, 0x01, // the memory
    0x07, 0x05, 0x01, 0x01, 0x66, 0x00, 0x00, // its export
    0x0a, 0x09, 0x01, 0x07, 0x00, 0x20, 0x00, 0x28, 0x02, 0x00, 0x0b, // its code
];

/// An address that is not in the module's memory.
const OUT_OF_BOUNDS: i32 = 0x10_0000;

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
        let read = self.call(0)?.map_err(|error| one_line(&error))?;
        if read == 0 { Ok(()) } else { Err("compiled code computes wrongly".to_owned()) }
    }

    /// Runs a function that traps. Where the machine's signals do not work, the process ends: this is
    /// for a process of its own.
    ///
    /// # Errors
    ///
    /// The trap was not noticed: the reason in one line.
    pub fn try_trap(self) -> Result<(), String> {
        match self.call(OUT_OF_BOUNDS)? {
            Err(error) if error.downcast_ref() == Some(&Trap::MemoryOutOfBounds) => Ok(()),
            Err(error) => Err(one_line(&error)),
            Ok(_) => Err("memory out of bounds can be read".to_owned()),
        }
    }

    fn call(self, address: i32) -> Result<wasmtime::Result<i32>, String> {
        let mut config = EngineConfig::new();
        self.apply(&mut config);
        // The trial is over before a pool of threads would have started.
        config.parallel_compilation(false);
        let prepare = || {
            let engine = wasmtime::Engine::new(&config)?;
            let module = Module::new(&engine, TINY)?;
            let mut store = Store::new(&engine, ());
            let instance = Instance::new(&mut store, &module, &[])?;
            let f = instance.get_typed_func::<i32, i32>(&mut store, "f")?;
            Ok((store, f))
        };
        let (mut store, f) = prepare().map_err(|error: wasmtime::Error| one_line(&error))?;
        Ok(f.call(&mut store, address))
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
