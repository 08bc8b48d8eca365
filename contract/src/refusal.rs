//! The refusals of host calls: each code with its remedy, and each sentence of it.
//!
//! Codes are an open set for plugins, remedies a closed one. A code may have several sentences for
//! different cases.

use crate::audience::{MAX_CONDITIONS, MAX_NAMES};
use crate::close::{MAX_CONTROL_BYTES, MAX_REASON_BYTES};
use crate::effects::{MAX_DELIVERIES, MAX_HOPS};
use crate::header::MAX_HEADERS;
use crate::names::{
    MAX_KEY_BYTES, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_NAME_BYTES,
    MAX_RATE_LIMIT_NAME_BYTES, MAX_REFERENCE_BYTES, MAX_TIMER_NAME_BYTES,
};
use crate::rate_limits::MAX_PERIOD_DAYS;
use crate::sentences::sentences;
use crate::text::Shown;
use crate::timers::{MAX_DELAY_DAYS, MIN_INTERVAL_MS};

/// The remedy of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// The call itself is wrong, and will fail each time.
    FixCall,
    /// A limit is reached: do less, or ask the operator for more.
    ShedLoad,
    /// The receiver has ended.
    Gone,
    /// The operator has not allowed it; the sentence says how to allow it.
    AskOperator,
    /// It may work a moment later.
    RetryLater,
    /// None of these.
    Other,
}

impl Remedy {
    /// Returns the name in kebab-case, as documents have it.
    pub const fn name(self) -> &'static str {
        match self {
            Remedy::FixCall => "fix-call",
            Remedy::ShedLoad => "shed-load",
            Remedy::Gone => "gone",
            Remedy::AskOperator => "ask-operator",
            Remedy::RetryLater => "retry-later",
            Remedy::Other => "other",
        }
    }
}

/// A code and its remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// The token, in kebab-case.
    pub token: &'static str,
    /// Remedy.
    pub remedy: Remedy,
}

impl Code {
    /// Returns the code with this token, if there is one.
    pub fn find(token: &str) -> Option<Code> {
        CODES.iter().find(|code| code.token == token).copied()
    }
}

/// Makes [`CODES`] and [`CallRefusal`] from a list of `"code" Remedy { sentences }`.
macro_rules! refusals {
    ($(
        $code:literal $remedy:ident {
            $(
                $(#[$doc:meta])+
                $variant:ident $({ $($field:ident: $type:ty),+ $(,)? })? = $sentence:literal;
            )*
        }
    )+) => {
        /// All codes, in the order of the alphabet.
        pub const CODES: &[Code] = &[$(Code { token: $code, remedy: Remedy::$remedy },)+];

        sentences! {
            /// The reason why a host call is refused. Nothing was recorded or changed.
            pub enum CallRefusal {
                $($(
                    $(#[$doc])+
                    $variant $({ $($field: $type),+ })? = $sentence;
                )*)+
            }
        }

        impl CallRefusal {
            /// Returns the token that plugins read.
            pub const fn code(&self) -> &'static str {
                match self {
                    $($(CallRefusal::$variant { .. } => $code,)*)+
                }
            }

            /// Returns the remedy.
            pub const fn remedy(&self) -> Remedy {
                match self {
                    $($(CallRefusal::$variant { .. } => Remedy::$remedy,)*)+
                }
            }
        }
    };
}

refusals! {
    "audience-empty" FixCall {
        /// A broadcast without an audience.
        AudienceEmpty = "name a room, a user or everyone before sending";
    }
    "audience-too-big" ShedLoad {
        /// A broadcast with too large an audience.
        AudienceTooBig =
            "an audience has at most {MAX_NAMES} rooms and users, {MAX_NAMES} exceptions and \
             {MAX_CONDITIONS} labels";
    }
    "close-code-invalid" FixCall {
        /// A close code that belongs to the protocol.
        CloseCodeInvalid { code: u16 } =
            "{code} is not for channels to send; use 1000 or 3000 to 4999";
    }
    "close-reason-too-long" FixCall {
        /// A reason that no close frame can carry.
        CloseReasonTooLong { bytes: usize } =
            "{bytes} bytes; a close frame has room for {MAX_REASON_BYTES}";
    }
    "cluster-queue-full" RetryLater {
        /// A message for others while too many wait for the engine of a cluster.
        ClusterQueueFull =
            "too much waits for the engine between the hosts of the cluster; nobody got this message";
    }
    "connection-ended" Gone {
        /// A call about a connection that is closing.
        ConnectionEnded = "the connection has ended; in on_close only others can be reached";
    }
    "control-frame-too-big" FixCall {
        /// A ping with too many bytes.
        ControlFrameTooBig { bytes: usize } =
            "a ping carries at most {MAX_CONTROL_BYTES} bytes, not {bytes}";
    }
    "data-unavailable" RetryLater {
        /// Data that cannot be kept at present.
        DataUnavailable { why: String } = "the host cannot keep data at present: {why}";
    }
    "header-invalid" FixCall {
        /// A response header that is malformed or owned by the handshake.
        HeaderInvalid { name: Shown } = "{name} is not a header that a channel can set";
    }
    "http-failed" Other {
        /// A request that outlives its event.
        HttpEventOver = "the event is over";
        /// A failure on the way.
        HttpFailed { target: String, cause: String } = "{target}: {cause}";
    }
    "http-header-invalid" FixCall {
        /// A request header that is malformed or too many.
        HttpHeaderInvalid { name: String } = "{name:?} is not a header, or one too many";
        /// A request header that the host sets.
        HttpHeaderOwned { name: String } = "{name:?} is set by the host itself";
    }
    "http-not-granted" AskOperator {
        /// A request to a host that the operator has not granted.
        HttpNotGranted { host: String, port: u16, how: String } =
            "the channel may not call {host} on port {port}: {how}";
        /// A request that a test has not scripted.
        HttpNotScripted { url: String } =
            "the test has no answer for {url}; script one with TestHost::http_answer";
    }
    "http-response-too-big" ShedLoad {
        /// An answer with a larger body than the request allows.
        HttpResponseTooBig { limit: usize } = "the answer has more than {limit} bytes";
    }
    "http-timeout" RetryLater {
        /// No connection in time.
        HttpConnectTimeout { target: String } = "no connection to {target} in time";
        /// No answer in time.
        HttpTimeout { target: String } =
            "{target} did not answer in time; a request may set another .timeout(…)";
    }
    "http-too-many-requests" ShedLoad {
        /// Too many requests of the channel at once.
        HttpTooManyRequests { limit: usize } =
            "{limit} requests of the channel are under way (max_http_requests_per_channel)";
    }
    "http-unreachable" RetryLater {
        /// No TCP connection.
        HttpUnreachable { target: String, cause: String } = "cannot connect to {target}: {cause}";
        /// No TLS connection.
        HttpNoTls { target: String, cause: String } = "no TLS connection to {target}: {cause}";
    }
    "http-url-invalid" FixCall {
        /// A URL that the SDK cannot take apart.
        HttpUrlInvalid { url: String } = "{url:?} is not a URL such as https://api.example.com/users/7";
    }
    "inbox-full" RetryLater {
        /// Too many events wait for one connection or room.
        InboxFull { events: usize, bytes: usize, settings: &'static str } =
            "{events} events or {bytes} bytes wait to be handled there ({settings})";
        /// Too many events wait for all rooms of the channel.
        ChannelInboxFull { bytes: usize } =
            "{bytes} bytes wait to be handled in the channel's rooms (max_channel_inbox_bytes)";
    }
    "invalid-utf8" FixCall {
        /// A text message that is not UTF-8.
        InvalidUtf8 = "a text message must be UTF-8";
    }
    "label-invalid" FixCall {
        /// A label's name of the wrong length.
        LabelNameInvalid { bytes: usize } =
            "a label's name has 1 to {MAX_LABEL_NAME_BYTES} bytes, this one has {bytes}";
        /// A label's value that is too long.
        LabelValueInvalid { bytes: usize } =
            "a label's value has at most {MAX_LABEL_VALUE_BYTES} bytes, this one has {bytes}";
    }
    "message-too-big" ShedLoad {
        /// A message to a client that is too large.
        MessageTooBig { bytes: usize, limit: usize } =
            "{bytes} bytes; max_outbound_message_bytes is {limit}";
    }
    "metadata-invalid" FixCall {
        /// Metadata of a presence that is not JSON.
        MetadataInvalid { why: String } = "the metadata is not JSON: {why}";
    }
    "metadata-too-big" ShedLoad {
        /// Metadata of a presence that is too large.
        MetadataTooBig { bytes: usize, limit: usize } =
            "{bytes} bytes; max_presence_bytes is {limit}";
    }
    "no-event" FixCall {
        /// A host call outside an event.
        NoEvent = "host calls other than description and log need an event";
        /// A request outside an event.
        HttpNoEvent = "requests need an event";
    }
    "no-handler" FixCall {
        /// An event that the plugin would not handle.
        NoHandler { handler: &'static str, interface: &'static str } =
            "this plugin does not export wharf:channel/{interface}: write `{handler}` in its \
             channel";
    }
    "no-token-rules" AskOperator {
        /// A token of a channel without token rules. `channel` is a key of the configuration.
        NoTokenRules { channel: String } =
            "no token is checked for this channel: write the table `[channels.{channel}.token]` in \
             wharf.toml, and restart";
    }
    "not-a-member" FixCall {
        /// Presence in a room that the connection is not in.
        NotAMember = "only members are present in a room: join it first";
    }
    "not-tracked" FixCall {
        /// An update without presence.
        NotTracked = "track the connection first";
    }
    "only-while-connecting" FixCall {
        /// A response header after the response.
        OnlyWhileConnecting { name: String } = "the response is sent: set `{name}` in on_connect";
    }
    "payload-too-big" ShedLoad {
        /// A notice, a room event or a timer with too large a payload.
        PayloadTooBig { bytes: usize, limit: usize } =
            "{bytes} bytes; max_payload_bytes is {limit}";
    }
    "presence-full" ShedLoad {
        /// A presence list that has no room for another entry.
        PresenceFull { taken: usize, setting: &'static str, limit: usize } =
            "{taken} bytes are taken; {setting} is {limit}";
    }
    "presence-key-invalid" FixCall {
        /// A key of a presence of the wrong length.
        PresenceKeyInvalid { bytes: usize } =
            "a key has 1 to {MAX_NAME_BYTES} bytes, this one has {bytes}";
    }
    "publish-not-granted" AskOperator {
        /// A channel that the operator has not granted.
        PublishNotGranted { to: String, how: String } =
            "the channel may not publish to {to}: {how}";
    }
    "rate-limit-invalid" FixCall {
        /// A number or a period of a rate limit out of range.
        RateLimitInvalid =
            "a rate limit lets in 1 at least, in a period of 1 ms to {MAX_PERIOD_DAYS} days";
    }
    "rate-limit-name-invalid" FixCall {
        /// A rate limit's name of the wrong length.
        RateLimitNameInvalid { bytes: usize } =
            "a rate limit's name has 1 to {MAX_RATE_LIMIT_NAME_BYTES} bytes, this one has {bytes}";
    }
    "reference-too-long" FixCall {
        /// A `ref` that is too long to be carried on.
        ReferenceTooLong { bytes: usize } =
            "a `ref` has at most {MAX_REFERENCE_BYTES} bytes as JSON, this one has {bytes}";
    }
    "refused-while-connecting" RetryLater {
        /// A ping before the upgrade.
        PingWhileConnecting = "there is no client to ping before the upgrade";
        /// A flush before the upgrade.
        FlushWhileConnecting = "nothing commits before the connection is accepted";
    }
    "room-name-invalid" FixCall {
        /// A room without a name.
        RoomNameEmpty = "a room's name must not be empty";
        /// A room's name that is too long.
        RoomNameTooLong { bytes: usize } =
            "a room's name has at most {MAX_NAME_BYTES} bytes, this one has {bytes}";
    }
    "setting-missing" AskOperator {
        /// A setting that the operator has not set.
        SettingMissing { name: Shown, how: String } = "the setting `{name}` is missing: {how}";
    }
    "store-conflict" RetryLater {
        /// Another version than expected.
        StoreConflict = "another handler has written the key; read it again";
    }
    "store-full" ShedLoad {
        /// A store without room for an entry.
        StoreFull { limit: usize } =
            "the channel's store may take {limit} bytes (max_store_bytes)";
    }
    "store-key-invalid" FixCall {
        /// A key of the wrong length.
        StoreKeyInvalid { bytes: usize } =
            "a key has 1 to {MAX_KEY_BYTES} bytes, this one has {bytes}";
        /// A prefix that no key can have.
        StorePrefixInvalid { bytes: usize } =
            "a prefix has at most {MAX_KEY_BYTES} bytes, this one has {bytes}";
    }
    "store-not-a-number" FixCall {
        /// A value that is not a number.
        StoreNotANumber = "the key's value is not a decimal number of 64 bits";
    }
    "store-overflow" FixCall {
        /// A sum that is too large.
        StoreOverflow = "the sum has more than 64 bits";
    }
    "store-ttl-invalid" FixCall {
        /// A time to live of zero.
        StoreTtlInvalid = "a value that lives 0 ms could never be read; delete the key instead";
    }
    "store-value-too-big" ShedLoad {
        /// A value that is too large.
        StoreValueTooBig { bytes: usize, limit: usize } =
            "{bytes} bytes; max_store_value_bytes is {limit}";
    }
    "timer-interval-invalid" FixCall {
        /// A delay or an interval out of range.
        TimerIntervalInvalid =
            "a timer fires after at most {MAX_DELAY_DAYS} days, and again after {MIN_INTERVAL_MS} ms \
             at least";
    }
    "timer-name-invalid" FixCall {
        /// A timer's name of the wrong length.
        TimerNameInvalid { bytes: usize } =
            "a timer's name has 1 to {MAX_TIMER_NAME_BYTES} bytes, this one has {bytes}";
    }
    "token-invalid" Other {
        /// An invalid token.
        TokenInvalid { why: String } = "the token does not hold: {why}";
    }
    "token-subject-changed" Other {
        /// A token of another subject.
        TokenSubjectChanged =
            "the token has another subject (sub) or issuer (iss) than the one before, or no subject";
    }
    "too-many-effects" ShedLoad {
        /// An event with too many effects.
        TooManyEffects { effects: usize, bytes: usize } =
            "one event may record {effects} effects of {bytes} bytes (max_effects_per_event, \
             max_effect_bytes_per_event), and {MAX_DELIVERIES} deliveries; flush, or do less";
    }
    "too-many-headers" ShedLoad {
        /// One response header too many.
        TooManyHeaders = "a response takes at most {MAX_HEADERS} headers of a channel";
    }
    "too-many-hops" FixCall {
        /// Events that cause each other.
        TooManyHops =
            "{MAX_HOPS} notices and room events led here, one causing the next: handlers that \
             answer each other do so forever";
    }
    "too-many-labels" ShedLoad {
        /// One label too many.
        TooManyLabels = "a connection carries at most {MAX_LABELS} labels";
    }
    "too-many-rate-limits" ShedLoad {
        /// One rate limit too many.
        TooManyRateLimits { limit: usize } =
            "the channel's rate limits may take {limit} bytes (max_channel_state_bytes)";
    }
    "too-many-room-states" ShedLoad {
        /// One room with state too many.
        TooManyRoomStates { limit: usize } =
            "{limit} rooms have events, state or timers (max_room_states)";
    }
    "too-many-rooms" ShedLoad {
        /// A connection that is in too many rooms.
        TooManyRooms { limit: usize } =
            "a connection may be in {limit} rooms (max_rooms_per_connection)";
        /// A broadcast that names too many rooms.
        TooManyRoomsNamed = "a broadcast names at most {MAX_NAMES} rooms";
    }
    "too-many-timers" ShedLoad {
        /// One timer too many.
        TooManyTimers { limit: usize, setting: &'static str } =
            "{limit} timers are set already ({setting})";
        /// Timers with too large payloads.
        TimersTooBig { limit: usize } =
            "all timers carry {limit} bytes (max_channel_state_bytes)";
    }
    "too-many-users" ShedLoad {
        /// A message for too many users.
        TooManyUsersNamed = "a message is for at most {MAX_NAMES} users";
    }
    "unknown-channel" Gone {
        /// A channel that is granted and not in service.
        UnknownChannel { channel: Shown } = "no channel {channel} is in service";
    }
    "unknown-connection" Gone {
        /// An id without an open connection.
        UnknownConnection { id: Shown } = "{id} is not an open connection of this channel";
    }
    "user-id-invalid" FixCall {
        /// A user's id of the wrong length.
        UserIdInvalid { bytes: usize } =
            "a user's id has 1 to {MAX_NAME_BYTES} bytes, this one has {bytes}";
    }
    "user-offline" Gone {
        /// A user without a connection.
        UserOffline { user: Shown } = "{user} has no connection";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_each_has_a_sentence() {
        assert!(CODES.is_sorted_by(|one, other| one.token < other.token));
        assert!(CallRefusal::SENTENCES.len() >= CODES.len());
    }

    #[test]
    fn a_refusal_says_its_code_its_remedy_and_its_numbers() {
        let refusal = CallRefusal::MessageTooBig { bytes: 7, limit: 5 };
        assert_eq!(refusal.code(), "message-too-big");
        assert_eq!(refusal.remedy(), Remedy::ShedLoad);
        assert_eq!(refusal.to_string(), "7 bytes; max_outbound_message_bytes is 5");
        assert_eq!(Code::find("message-too-big").map(|code| code.remedy), Some(Remedy::ShedLoad));
        assert_eq!(Code::find("nothing"), None);
    }

    #[test]
    fn a_sentence_shows_the_fixed_numbers() {
        let said = CallRefusal::TimerIntervalInvalid.to_string();
        assert_eq!(said, "a timer fires after at most 366 days, and again after 10 ms at least");
        let said = CallRefusal::TooManyEffects { effects: 1, bytes: 2 }.to_string();
        assert!(said.contains("and 100000 deliveries"), "{said}");
    }
}
