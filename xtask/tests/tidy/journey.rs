//! The host's invariants, stated as absences in `docs/architecture.md`: who must not know
//! of whom.

use super::assert_none;
use super::source::{Source, read};

/// Which modules of the host each one may name, in the order of the journey (that of
/// `host/src/lib.rs`). A name with `^` looks back up the journey, which needs a good reason:
///
/// - `page` and `handshake` answer the same requests;
/// - `component`s are checked against what instances are, and instances are made of components;
/// - a hub lists its clients, and clients are members of its rooms;
/// - host calls are written on the state that an instance holds.
///
/// `config` may be named by everybody: it names nobody.
const MAY_NAME: &[(&str, &str)] = &[
    ("main", "arguments config author"),
    ("arguments", ""),
    ("config", ""),
    ("author", "server operator handshake registry channel plugin stage client hub room token"),
    ("server", "operator handshake registry plugin token close"),
    (
        "operator",
        "registry router lease outside channel instance host_calls client hub inbox room outbound close",
    ),
    ("handshake", "page registry router connection channel host_calls client outbound token"),
    ("page", "^handshake"),
    (
        "registry",
        "router room_events presence_events channel plugin pool instance host_calls stage hub \
         presence store token close",
    ),
    ("router", ""),
    ("connection", "lease channel instance host_calls client inbox outbound close"),
    ("room_events", "lease channel host_calls instance room_state inbox outbound"),
    ("presence_events", "lease channel host_calls instance presence outbound"),
    ("outside", "lease channel host_calls instance outbound"),
    ("lease", "channel pool instance client"),
    ("channel", "pool instance host_calls close"),
    ("plugin", "instance host_calls"),
    ("pool", "^plugin instance"),
    ("instance", "^plugin host_calls stage client hub presence store token"),
    (
        "host_calls",
        "^instance effects stage client hub presence room room_state timer inbox store outbound \
         close",
    ),
    ("effects", "client hub presence timer inbox outbound close"),
    ("stage", "client token"),
    ("client", "hub presence room outbound token close"),
    ("hub", "^client presence room room_state timer outbound close"),
    ("presence", "outbound"),
    ("room", "outbound"),
    ("room_state", "inbox"),
    ("timer", "inbox"),
    ("inbox", "^timer"),
    ("store", ""),
    ("outbound", "^inbox close"),
    ("token", ""),
    ("close", ""),
];

/// The files that may name wasmtime; a folder stands for all in it.
const WASMTIME: [&str; 6] =
    ["plugin/component.rs", "pool.rs", "instance.rs", "instance/", "host_calls.rs", "host_calls/"];

/// The files that may name tungstenite.
const TUNGSTENITE: [&str; 2] = ["handshake.rs", "connection/input/tests.rs"];

/// The modules that know no wasm, and what they would know it by.
const WITHOUT_WASM: [&str; 6] = ["hub", "room", "store", "close", "router", "config"];
const OF_WASM: [&str; 4] = ["wasmtime", "instance", "pool", "plugin"];

/// A file's place within `host/src`.
fn place(source: &Source) -> &str {
    source.path.trim_start_matches("host/src/")
}

/// The top-level module that a file belongs to.
fn module(source: &Source) -> &str {
    let place = place(source).trim_end_matches(".rs");
    place.split('/').next().unwrap_or(place)
}

/// The lines outside the allowed files that name a crate of this family.
fn named_elsewhere(family: &str, allowed: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for source in Source::all_under("host/src") {
        let place = place(&source);
        if allowed.iter().any(|a| place == *a || (a.ends_with('/') && place.starts_with(a))) {
            continue;
        }
        for (number, name, _) in source.identifiers() {
            if name.contains(family) {
                found.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    found
}

#[test]
fn only_the_guests_side_of_the_host_names_wasmtime() {
    assert_none(
        &named_elsewhere("wasmtime", &WASMTIME),
        "only plugin/component, pool, instance and host_calls know the runtime; speak of events \
         and sessions here:",
    );
}

#[test]
fn native_code_is_taken_from_nowhere_but_the_cache() {
    let mut found = Vec::new();
    for source in Source::all_under("host/src") {
        let place = place(&source);
        for (number, name, _) in source.identifiers() {
            let may = match name {
                "NativeCode" => ["plugin/cache.rs", "plugin/component.rs"].contains(&place),
                "deserialize_file" | "deserialize_raw" | "deserialize_open_file" => false,
                _ => true,
            };
            if !may {
                found.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    assert_none(&found, "native code comes from plugin/cache, by way of `NativeCode`:");
}

#[test]
fn only_the_sockets_side_of_the_host_names_tungstenite() {
    assert_none(
        &named_elsewhere("tungstenite", &TUNGSTENITE),
        "only handshake answers keys with it, and tests compare with it; read and write frames \
         with connection/frame and outbound:",
    );
}

#[test]
fn hub_room_store_close_router_and_config_know_no_wasm() {
    let mut found = Vec::new();
    for source in Source::all_under("host/src") {
        if !WITHOUT_WASM.contains(&module(&source)) {
            continue;
        }
        for (number, name, rest) in source.identifiers() {
            let is_path = rest.trim_start().starts_with("::");
            if name.starts_with("wasmtime") || (is_path && OF_WASM.contains(&name)) {
                found.push(format!("{}:{number}: {name}", source.path));
            }
        }
    }
    assert_none(&found, "these modules know no wasm; hand them what they need instead:");
}

#[test]
fn nothing_calls_back_up_the_journey() {
    let mut found = Vec::new();
    let mut used = Vec::new();
    for source in Source::all_under("host/src") {
        let from = module(&source);
        // The crate's root only lists the modules.
        if from == "lib" {
            continue;
        }
        let Some((_, row)) = MAY_NAME.iter().find(|(module, _)| *module == from) else {
            found.push(format!("{}: `{from}` has no row in MAY_NAME", source.path));
            continue;
        };
        let root = match from {
            "main" => "wharf_host",
            _ => "crate",
        };
        let is_module = |name: &str| MAY_NAME.iter().any(|(module, _)| *module == name);
        for (number, to) in source.paths_from(root) {
            if to == from || to == "config" || !is_module(&to) {
                continue;
            }
            if !row.split(' ').any(|name| name.trim_start_matches('^') == to) {
                found.push(format!("{}:{number}: `{from}` names `{to}`", source.path));
            }
            used.push((from.to_owned(), to));
        }
    }
    assert_none(
        &found,
        "the table MAY_NAME in xtask/tests/tidy/journey.rs does not allow this; hand over what is \
         needed from further up, or, if the journey has changed, change the table:",
    );
    let mut unused = Vec::new();
    for (from, row) in MAY_NAME {
        for name in row.split(' ').map(|name| name.trim_start_matches('^')) {
            let is_used = used.iter().any(|(f, to)| f == from && to == name);
            if !name.is_empty() && name != "config" && !is_used {
                unused.push(format!("`{from}` does not name `{name}`"));
            }
        }
    }
    assert_none(&unused, "the table MAY_NAME allows what nobody does; take it out:");
}

#[test]
fn the_table_of_modules_follows_the_journey() {
    let lib = Source::parse("lib.rs".to_owned(), &read("host/src/lib.rs"));
    let journey: Vec<String> = lib
        .identifiers()
        .filter(|(_, name, _)| *name == "mod")
        .map(|(_, _, rest)| rest.trim().trim_end_matches(';').to_owned())
        .collect();
    let mut expected = vec!["main".to_owned()];
    expected.extend(journey);
    let table: Vec<&str> = MAY_NAME.iter().map(|(module, _)| *module).collect();
    assert_eq!(
        table, expected,
        "the rows of MAY_NAME (left) stand in the order of the `mod` lines of host/src/lib.rs (right)"
    );
    let position = |name: &str| table.iter().position(|module| *module == name);
    let mut wrong = Vec::new();
    for (from, row) in MAY_NAME {
        for entry in row.split(' ').filter(|entry| !entry.is_empty()) {
            let name = entry.trim_start_matches('^');
            let looks_back = position(name) < position(from);
            if position(name).is_none() {
                wrong.push(format!("`{from}`: there is no module `{name}`"));
            } else if name != "config" && looks_back != entry.starts_with('^') {
                wrong.push(format!("`{from}`: `{entry}`"));
            }
        }
    }
    assert_none(&wrong, "mark with `^` what looks back up the journey, and nothing else:");
}
