//! The limits of a test, as the configuration of its host.

use wharf_config::Config;
use wharf_contract::limits::Limits;

/// Sets the limits that a test gives. Limits that must be at least as large, and that no test can set,
/// are raised to match.
pub(super) fn apply(limits: Limits, config: &mut Config) {
    // There is no `..`, so that a new limit must be set here as well.
    let Limits {
        max_message_bytes,
        max_outbound_message_bytes,
        max_rooms_per_connection,
        max_session_bytes,
        max_effects_per_event,
        max_effect_bytes_per_event,
        max_store_bytes,
        max_store_value_bytes,
        inbox_events,
        inbox_bytes,
        room_inbox_events,
        room_inbox_bytes,
        max_channel_inbox_bytes,
        max_payload_bytes,
        max_room_states,
        max_room_state_bytes,
        max_channel_state_bytes,
        max_presence_bytes,
        max_room_presence_bytes,
        max_channel_presence_bytes,
        max_timers_per_connection,
        max_timers_per_room,
        max_timers_per_channel,
    } = limits.raised();
    let passed = [
        max_outbound_message_bytes,
        max_store_value_bytes,
        max_session_bytes,
        max_room_state_bytes,
        max_payload_bytes,
    ];
    let sent =
        max_outbound_message_bytes.max(max_effect_bytes_per_event).max(max_room_presence_bytes);
    *config = Config {
        max_message_bytes,
        max_frame_bytes: config.max_frame_bytes.max(max_message_bytes),
        max_outbound_message_bytes,
        outbound_queue_bytes: config.outbound_queue_bytes.max(sent),
        max_rooms_per_connection,
        max_session_bytes,
        max_presence_bytes,
        max_room_presence_bytes,
        max_channel_presence_bytes,
        max_memory_bytes: config.max_memory_bytes.max(max_message_bytes.saturating_mul(4)),
        hostcall_bytes: passed.into_iter().fold(config.hostcall_bytes, usize::max),
        max_effects_per_event,
        max_effect_bytes_per_event,
        inbox_events,
        inbox_bytes,
        room_inbox_events,
        room_inbox_bytes,
        max_channel_inbox_bytes,
        max_payload_bytes,
        max_room_states,
        max_room_state_bytes,
        max_channel_state_bytes,
        max_timers_per_connection,
        max_timers_per_room,
        max_timers_per_channel,
        max_store_bytes,
        max_store_value_bytes,
        ..config.clone()
    };
}

#[cfg(test)]
mod tests {
    use wharf_config::Setting;
    use wharf_contract::limits::{ALL, MIB};

    use super::*;

    #[test]
    fn every_limit_of_a_test_is_the_setting_of_its_name() {
        for limit in ALL {
            let mut config = Config::default();
            let setting = Setting::find(limit.name).expect("a setting of this name");
            assert_eq!(setting.show(&config), limit.default.to_string(), "{}", limit.name);
            let limits = set(Limits::default(), limit.name, limit.default + 1);
            apply(limits, &mut config);
            assert_eq!(setting.show(&config), (limit.default + 1).to_string(), "{}", limit.name);
        }
    }

    /// Returns the limits with another value for the one of this name.
    fn set(limits: Limits, name: &str, value: usize) -> Limits {
        let mut json = serde_json::to_value(limits).expect("JSON");
        json[name] = value.into();
        serde_json::from_value(json).expect("limits")
    }

    #[test]
    fn what_must_contain_a_limit_is_raised() {
        let mut config = Config::default();
        let limits = Limits { max_payload_bytes: 16 * MIB, ..Limits::default() };
        apply(limits, &mut config);
        assert_eq!(config.inbox_bytes, 16 * MIB);
        assert_eq!(config.hostcall_bytes, 16 * MIB);
    }
}
