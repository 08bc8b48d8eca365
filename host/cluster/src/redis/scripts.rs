//! The steps that are atomic, as scripts of the server.

use redis::Script;

/// The scripts, each with its checksum. The server keeps them; a server that was restarted gets them again.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) get: Script,
    pub(super) put: Script,
    pub(super) delete: Script,
    pub(super) increment: Script,
    pub(super) read_records: Script,
    pub(super) append: Script,
    pub(super) read: Script,
    pub(super) remove: Script,
    pub(super) acquire: Script,
    pub(super) renew: Script,
}

const COMMON: &str = include_str!("scripts/common.lua");

impl Scripts {
    pub(super) fn new() -> Scripts {
        let with_common = |text: &str| Script::new(&format!("{COMMON}{text}"));
        Scripts {
            get: Script::new(include_str!("scripts/get.lua")),
            put: with_common(include_str!("scripts/put.lua")),
            delete: Script::new(include_str!("scripts/delete.lua")),
            increment: with_common(include_str!("scripts/increment.lua")),
            read_records: Script::new(include_str!("scripts/read_records.lua")),
            append: with_common(include_str!("scripts/append.lua")),
            read: with_common(include_str!("scripts/read.lua")),
            remove: Script::new(include_str!("scripts/remove.lua")),
            acquire: with_common(include_str!("scripts/acquire.lua")),
            renew: Script::new(include_str!("scripts/renew.lua")),
        }
    }
}
