//! The two levels of the test kit side by side: a call that the imitated host refuses is refused by
//! the host, with the same code, remedy and sentence.

#[path = "../fixtures/provokes/src/lib.rs"]
mod provokes;

use std::collections::BTreeSet;
use std::time::Duration;

use provokes::Provokes;
use serde_json::{Value, json};
use wharf::testing::{HttpAnswer, Limits, Refused, TestHost};
use wharf_contract::CallRefusal::{self, *};
use wharf_contract::handshake::MAX_TARGET_BYTES;
use wharf_contract::refusal::{CODES, Code};
use wharf_contract::text::Shown;
use wharf_tests::kit::prepared;

/// The time of a call.
#[derive(Clone, Copy, PartialEq)]
enum When {
    Connecting,
    Open,
    AtTheEnd,
}

use When::{AtTheEnd, Connecting, Open};

/// The expected refusal of a call.
enum Expected {
    /// The whole sentence.
    Refusal(CallRefusal),
    /// A code, and the beginning of a sentence that goes on with the channel's name.
    Begins(&'static str, &'static str),
}

impl From<CallRefusal> for Expected {
    fn from(refusal: CallRefusal) -> Expected {
        Expected::Refusal(refusal)
    }
}

impl From<(&'static str, &'static str)> for Expected {
    fn from((code, beginning): (&'static str, &'static str)) -> Expected {
        Expected::Begins(code, beginning)
    }
}

impl Expected {
    fn code(&self) -> &'static str {
        match self {
            Expected::Refusal(refusal) => refusal.code(),
            Expected::Begins(code, _) => code,
        }
    }

    #[track_caller]
    fn check(&self, level: &str, call: &str, report: &Value) {
        let code = Code::find(self.code()).expect("a code of the contract");
        let (token, remedy) = (json!(code.token), json!(format!("{:?}", code.remedy)));
        assert_eq!(
            (&report["code"], &report["remedy"]),
            (&token, &remedy),
            "{level}: {call}: {report}"
        );
        let said = report["detail"].as_str().unwrap_or_default();
        match self {
            Expected::Refusal(refusal) => assert_eq!(said, refusal.to_string(), "{level}: {call}"),
            Expected::Begins(_, beginning) => {
                assert!(said.starts_with(beginning), "{level}: {call}: {said}");
            }
        }
    }
}

/// A call that is refused.
struct Case {
    call: &'static str,
    when: When,
    expected: Expected,
    limits: Limits,
    prepare: fn(&TestHost),
    /// Claims of the client's token.
    claims: Option<Value>,
}

fn case(call: &'static str, expected: impl Into<Expected>) -> Case {
    let (expected, limits) = (expected.into(), Limits::default());
    Case { call, when: Open, expected, limits, prepare: |_| {}, claims: None }
}

impl Case {
    fn when(self, when: When) -> Case {
        Case { when, ..self }
    }

    fn with(self, limits: Limits) -> Case {
        Case { limits, ..self }
    }

    fn after(self, prepare: fn(&TestHost)) -> Case {
        Case { prepare, ..self }
    }

    /// Makes the call and returns the report.
    fn run(&self, host: &TestHost) -> Value {
        let target = match self.when {
            Connecting => format!("/provokes?call={}", self.call),
            Open => "/provokes".to_owned(),
            AtTheEnd => format!("/provokes?at-end={}", self.call),
        };
        let connecting = host.connect(&target);
        let connecting = match &self.claims {
            Some(claims) => connecting.claims(claims),
            None => connecting,
        };
        let client = connecting.expect_open();
        match self.when {
            Connecting => {}
            Open => client.send(self.call),
            AtTheEnd => {
                client.disconnect(1000, "");
                return host.stored("at-end").expect("a report");
            }
        }
        // The report is the client's last message.
        let received = client.received();
        received.last().unwrap_or_else(|| panic!("{}: {:?}", self.call, host.errors())).json()
    }
}

fn id(text: &str) -> Shown {
    Shown::id(text)
}

/// Makes the default limits, with the given changes.
macro_rules! limits {
    ($($name:ident: $value:expr),+) => { Limits { $($name: $value,)+ ..Limits::default() } };
}

#[rustfmt::skip]
fn cases() -> Vec<Case> {
    let long = "x".repeat(100);
    let owned = str::to_owned;
    let connection_inbox = "inbox_events, inbox_bytes";
    let room_inbox = "room_inbox_events, room_inbox_bytes";
    vec![
        case("audience-of-nobody", AudienceEmpty),
        case("audience-of-many", AudienceTooBig),
        case("audience-less-many", AudienceTooBig),
        case("audience-with-many-labels", AudienceTooBig),
        case("audience-of-an-unnamed-room", RoomNameEmpty),
        case("broadcast-to-many-rooms", TooManyRoomsNamed),
        case("send-to-many-users", TooManyUsersNamed),
        case("close-with-a-code-of-the-protocol", CloseCodeInvalid { code: 1011 }),
        case("close-with-a-long-reason", CloseReasonTooLong { bytes: 124 }),
        case("ping", PingWhileConnecting).when(Connecting),
        case("ping-with-much", ControlFrameTooBig { bytes: 126 }),
        case("flush", FlushWhileConnecting).when(Connecting),
        case("set-header", OnlyWhileConnecting { name: owned("x-a") }),
        case("set-header-of-the-handshake", HeaderInvalid { name: id("Upgrade") }).when(Connecting),
        case("set-long-header", HeaderInvalid { name: id("x-a") }).when(Connecting),
        case("set-many-headers", TooManyHeaders).when(Connecting),
        case("send", ConnectionEnded).when(AtTheEnd),
        case("send-1000-bytes", MessageTooBig { bytes: 1000, limit: 999 })
            .with(limits! { max_outbound_message_bytes: 999 }),
        case("send-to-nobody", UnknownConnection { id: id("nobody\n") }),
        case("send-to-nobody-with-a-long-id", UnknownConnection { id: id(&long) }),
        case("send-to-user-offline", UserOffline { user: id("nobody") }),
        case("send-to-user-without-id", UserIdInvalid { bytes: 0 }),
        case("identify-with-a-long-id", UserIdInvalid { bytes: 256 }),
        case("set-label-without-name", LabelNameInvalid { bytes: 0 }),
        case("set-label-with-a-long-value", LabelValueInvalid { bytes: 256 }),
        case("set-many-labels", TooManyLabels),
        case("join-an-unnamed-room", RoomNameEmpty),
        case("join-a-room-with-a-long-name", RoomNameTooLong { bytes: 256 }),
        case("join-two-rooms", TooManyRooms { limit: 1 }).with(limits! { max_rooms_per_connection: 1 }),
        case("enter-an-unnamed-room", RoomNameEmpty),
        case("enter-two-rooms", TooManyRooms { limit: 1 }).with(limits! { max_rooms_per_connection: 1 }),
        case("enter-four-rooms", TooManyEffects { effects: 3, bytes: 1024 * 1024 })
            .with(limits! { max_effects_per_event: 3 }),
        case("become-a-user-with-a-long-id", UserIdInvalid { bytes: 256 }),
        case("take-from-an-unnamed-limit", RateLimitNameInvalid { bytes: 0 }),
        case("take-from-a-limit-with-a-long-name", RateLimitNameInvalid { bytes: 65 }),
        case("take-from-a-limit-of-none", RateLimitInvalid),
        case("take-from-a-limit-in-no-time", RateLimitInvalid),
        case("take-from-a-limit-in-367-days", RateLimitInvalid),
        case("take-from-a-limit-of-nobody", UserIdInvalid { bytes: 0 }),
        case("take-from-a-limit", ConnectionEnded).when(AtTheEnd),
        case("take-from-two-limits", TooManyRateLimits { limit: 259 })
            .with(limits! { max_channel_state_bytes: 259 }),
        case("track-elsewhere", NotAMember),
        case("update-untracked", NotTracked),
        case("track-without-key", PresenceKeyInvalid { bytes: 0 }),
        case("track-100-bytes", MetadataTooBig { bytes: 100, limit: 99 })
            .with(limits! { max_presence_bytes: 99 }),
        // Besides key and metadata there are 64 bytes and the quotes of the key.
        case("track-100-bytes", PresenceFull { taken: 0, setting: "max_room_presence_bytes", limit: 168 })
            .with(limits! { max_room_presence_bytes: 168 }),
        case("track-in-two-rooms", PresenceFull { taken: 70, setting: "max_channel_presence_bytes", limit: 139 })
            .with(limits! { max_channel_presence_bytes: 139 }),
        case("notify-nobody", UnknownConnection { id: id("nobody") }),
        case("notify-100-bytes", PayloadTooBig { bytes: 100, limit: 99 }).with(limits! { max_payload_bytes: 99 }),
        case("notify-100-bytes", InboxFull { events: 64, bytes: 99, settings: connection_inbox })
            .with(limits! { inbox_bytes: 99 }),
        case("notify-twice", InboxFull { events: 1, bytes: 256 * 1024, settings: connection_inbox })
            .with(limits! { inbox_events: 1 }),
        case("notify-again-and-again", TooManyHops),
        case("notify-room-with-a-long-name", RoomNameTooLong { bytes: 256 }),
        case("post-twice", InboxFull { events: 1, bytes: 1024 * 1024, settings: room_inbox })
            .with(limits! { room_inbox_events: 1 }),
        case("post-100-bytes", InboxFull { events: 1024, bytes: 99, settings: room_inbox })
            .with(limits! { room_inbox_bytes: 99 }),
        case("post-to-two-rooms", ChannelInboxFull { bytes: 7 })
            .with(limits! { max_channel_inbox_bytes: 7 }),
        case("post-to-two-rooms", TooManyRoomStates { limit: 1 }).with(limits! { max_room_states: 1 }),
        case("set-channel-timer", NoHandler {
            handler: "on_channel_timer",
            interface: "channel-timer-events",
        }),
        case("set-unnamed-timer", TimerNameInvalid { bytes: 0 }),
        case("set-timer-in-367-days", TimerIntervalInvalid),
        case("set-timer-each-millisecond", TimerIntervalInvalid),
        case("set-two-timers", TooManyTimers { limit: 1, setting: "max_timers_per_connection" })
            .with(limits! { max_timers_per_connection: 1 }),
        case("set-two-room-timers", TooManyTimers { limit: 1, setting: "max_timers_per_room" })
            .with(limits! { max_timers_per_room: 1 }),
        case("set-timer-of-100-bytes", TimersTooBig { limit: 99 })
            .with(limits! { max_channel_state_bytes: 99 }),
        case("renew-token", ("no-token-rules", "no token is checked for this channel: write the table ")),
        case("renew-token", TokenInvalid {
            why: owned("the test has not said so (TestHost::accept_token)"),
        }).after(|host| host.accept_token("another", json!({ "sub": "ann" }))),
        Case {
            claims: Some(json!({ "sub": "ann" })),
            ..case("renew-token", TokenSubjectChanged)
                .after(|host| host.accept_token("token", json!({ "sub": "bob" })))
        },
        case("publish", ("publish-not-granted", "the channel may not publish to news: to allow it, write ")),
        case("publish", UnknownChannel { channel: id("news") }).after(|host| {
            host.grant_publishing("news");
            host.remove_channel("news");
        }),
        case("read-a-missing-setting", ("setting-missing", "the setting `missing` is missing: write `missing = ")),
        case("store-without-key", StoreKeyInvalid { bytes: 0 }),
        case("store-under-a-long-key", StoreKeyInvalid { bytes: 513 }),
        case("list-with-a-long-prefix", StorePrefixInvalid { bytes: 513 }),
        case("store-100-bytes", StoreValueTooBig { bytes: 100, limit: 99 })
            .with(limits! { max_store_value_bytes: 99 }),
        case("store-100-bytes", StoreFull { limit: 260 }).with(limits! { max_store_bytes: 260 }),
        case("store-for-no-time", StoreTtlInvalid),
        case("count-for-no-time", StoreTtlInvalid),
        case("count-a-text", StoreNotANumber),
        case("count-too-far", StoreOverflow),
        case("swap-what-is-not-there", StoreConflict),
        case("send-four-times", TooManyEffects { effects: 3, bytes: 1024 * 1024 })
            .with(limits! { max_effects_per_event: 3 }),
        case("send-1000-bytes", TooManyEffects { effects: 1024, bytes: 999 })
            .with(limits! { max_effect_bytes_per_event: 999 }),
        // Names count as well, each with 32 bytes.
        case("leave-rooms-with-long-names", TooManyEffects { effects: 1024, bytes: 527 })
            .with(limits! { max_effect_bytes_per_event: 527 }),
        case("broadcast-to-very-many", TooManyEffects { effects: 1024, bytes: 16 << 20 })
            .with(limits! { max_effect_bytes_per_event: 16 << 20 }),
        case("request-with-a-header-of-the-host", HttpHeaderOwned { name: owned("Host") }),
        case("request-with-a-broken-header", HttpHeaderInvalid { name: owned("x y") }),
        case("request", HttpNotScripted { url: owned("https://a.example/x") }),
        case("request", HttpResponseTooBig { limit: 10 })
            .after(|host| host.http_answer("https://a.example/*", HttpAnswer::new(200).body([0; 11]))),
        case("request", ("http-unreachable", "no server is there"))
            .after(|host| host.http_answer("https://a.example/x", HttpAnswer::unreachable())),
        case("request", ("http-timeout", "no answer in time"))
            .after(|host| host.http_answer("https://a.example/x", HttpAnswer::timeout())),
        case("request-by-ftp", HttpUrlInvalid { url: owned("ftp://a.example") }),
    ]
}

/// Codes that no test can provoke, with the reason.
const NOT_PROVOKED: [(&str, &str); 8] = [
    ("cluster-queue-full", "it takes a cluster"),
    ("data-unavailable", "it takes a disk"),
    ("http-failed", "it takes a network"),
    ("http-too-many-requests", "a test does one thing at a time"),
    ("invalid-utf8", "the SDK sends texts as what they are"),
    ("metadata-invalid", "the SDK writes the JSON"),
    ("no-event", "the SDK lends what needs an event to handlers"),
    ("reference-too-long", "the SDK takes shorter ones only"),
];

/// Starts both hosts, with the same preparations.
fn both(limits: Limits, prepare: impl Fn(&TestHost)) -> [(&'static str, TestHost); 2] {
    let set = |host: &TestHost| {
        host.set_limits(limits);
        prepare(host);
    };
    let native = TestHost::native::<Provokes>();
    set(&native);
    [("natively", native), ("as a component", prepared("provokes", set))]
}

#[test]
fn both_levels_refuse_with_the_code_the_remedy_and_the_sentence_of_the_contract() {
    for case in cases() {
        for (level, host) in both(case.limits, case.prepare) {
            case.expected.check(level, case.call, &case.run(&host));
        }
    }
}

#[test]
fn every_code_of_the_contract_is_provoked_but_for_those_that_cannot_be() {
    let provoked: BTreeSet<&str> = cases().iter().map(|case| case.expected.code()).collect();
    let excused: BTreeSet<&str> = NOT_PROVOKED.iter().map(|(code, _)| *code).collect();
    let all: BTreeSet<&str> = CODES.iter().map(|code| code.token).collect();
    assert_eq!(provoked.intersection(&excused).count(), 0);
    assert_eq!(provoked.union(&excused).copied().collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_connection_whose_inbox_is_full_is_closed_where_its_whole_room_is_told() {
    let limits = limits! { inbox_bytes: 3 };
    for (level, host) in both(limits, |_| {}) {
        let ann = host.connect("/provokes").expect_open();
        ann.send("notify-room");
        assert_eq!(ann.closed(), Some((1013, "overload".to_owned())), "{level}");
        assert_eq!(host.errors(), [""; 0], "{level}");
    }
}

#[test]
fn what_is_too_big_to_be_kept_is_reported_in_the_same_words() {
    let limits = limits! { max_session_bytes: 500, max_room_state_bytes: 50 };
    let reports = both(limits, |_| {}).map(|(_, host)| {
        let ann = host.connect("/provokes").expect_open();
        let bob = host.connect("/provokes").expect_open();
        bob.send("post-100-bytes");
        ann.send("grow");
        ann.assert_closed(1011);
        host.errors()
    });
    assert_eq!(reports[0], reports[1]);
    let said = reports[0].join("\n");
    assert!(said.contains("on_message failed: session-too-big: the session has "), "{said}");
    assert!(
        said.contains("on_room_event failed: room-state-too-big: the room's state has "),
        "{said}"
    );
}

#[test]
fn states_of_all_rooms_have_a_limit_of_their_own() {
    let limits = limits! { max_channel_state_bytes: 50 };
    for (level, host) in both(limits, |_| {}) {
        let ann = host.connect("/provokes").expect_open();
        ann.send("post-100-bytes");
        let said = host.errors().join("\n");
        let wanted = "the rooms of this channel have no more than max_channel_state_bytes (50)";
        assert!(said.contains(wanted), "{level}: {said}");
    }
}

#[test]
fn clients_are_turned_away_with_the_same_status_and_line() {
    let long = format!("/provokes?{}", "x".repeat(MAX_TARGET_BYTES));
    for (target, status) in [("/else", 404), ("/provokes/%zz", 400), ("/%ff", 400), (&long, 414)] {
        let answers =
            both(Limits::default(), |_| {}).map(|(_, host)| host.connect(target).expect_refused());
        assert_eq!(answers[0].status(), Some(status), "{target:.60}");
        let body = |refused: &Refused| refused.body();
        assert_eq!(body(&answers[0]), body(&answers[1]), "{target:.60}");
        assert_eq!(answers[0].status(), answers[1].status(), "{target:.60}");
    }
}

#[test]
fn the_claims_of_one_client_are_rules_for_the_tokens_of_all() {
    for (level, host) in both(Limits::default(), |_| {}) {
        let _ann = host.connect("/provokes").claims(json!({ "sub": "ann" })).expect_open();
        let bob = host.connect("/provokes").expect_open();
        bob.send("renew-token");
        assert_eq!(bob.next_json()["code"], "token-invalid", "{level}");
    }
}

#[test]
fn a_target_is_percent_encoded_at_both_levels() {
    for (level, host) in both(Limits::default(), |_| {}) {
        let report = host.connect("/provokes?call=no such call").expect_open().next_json();
        assert_eq!(report, json!("there is no call \"no such call\""), "{level}");
    }
}

#[test]
fn clients_do_not_send_what_the_protocol_has_no_room_for() {
    for (level, host) in both(Limits::default(), |_| {}) {
        let ann = host.connect("/provokes").expect_open();
        for (what, act) in [
            ("1006", Box::new(|| ann.disconnect(1006, "")) as Box<dyn Fn()>),
            ("124 bytes", Box::new(|| ann.disconnect(1000, &"r".repeat(124)))),
            ("126 bytes", Box::new(|| ann.ping(&[0; 126]))),
        ] {
            let said = wharf_tests::kit::panic_of(act);
            assert!(said.contains(what), "{level}: {said}");
        }
        assert!(ann.is_open(), "{level}");
        host.advance(Duration::from_millis(1));
    }
}
