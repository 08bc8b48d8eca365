//! The pages of `docs/guide`, so that their examples are compiled and their tests run: `cargo test
//! --doc`. The tests of `xtask` find a page that is missing here.

macro_rules! pages {
    ($($module:ident: $page:literal,)*) => {$(
        #[doc = include_str!(concat!("../../docs/guide/", $page))]
        mod $module {}
    )*};
}

pages! {
    at_most_n: "at-most-n.md",
    authentication: "authentication.md",
    connect: "connect.md",
    errors: "errors.md",
    lifecycle: "lifecycle.md",
    logging: "logging.md",
    messages: "messages.md",
    newcomers: "newcomers.md",
    notices: "notices.md",
    outside: "outside.md",
    presence: "presence.md",
    rate_limits: "rate-limits.md",
    reload: "reload.md",
    room_state: "room-state.md",
    rooms: "rooms.md",
    settings_and_http: "settings-and-http.md",
    several_hosts: "several-hosts.md",
    store: "store.md",
    testing: "testing.md",
    timers: "timers.md",
    users: "users.md",
}
