//! The figures as lines of text.

use std::time::Duration;

use super::rates::{ChannelRates, Sample};
use crate::operator::figures::{bytes, count, micros, percent, rate, span};
use crate::operator::table::{names, of_figures};
use crate::operator::text;

/// The order of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Name,
    Connections,
    Events,
    Cpu,
    Memory,
}

impl Order {
    /// Returns the order that a key asks for.
    pub(super) fn of_key(key: u8) -> Option<Order> {
        Some(match key.to_ascii_lowercase() {
            b'n' => Order::Name,
            b'c' => Order::Connections,
            b'e' => Order::Events,
            b'p' => Order::Cpu,
            b'm' => Order::Memory,
            _ => return None,
        })
    }

    /// Returns a channel's figure that the order looks at; the largest comes first.
    fn figure(self, channel: &ChannelRates<'_>) -> f64 {
        match self {
            Order::Name => 0.0,
            Order::Connections => channel.count("connections") as f64,
            Order::Events => channel.rate("events").unwrap_or_default(),
            Order::Cpu => channel.rate("guest_seconds").unwrap_or_default(),
            Order::Memory => channel.count("memory_bytes") as f64,
        }
    }
}

/// Returns the lines: the host, and a table of its channels.
pub(super) fn lines(before: Option<&Sample>, now: &Sample, order: Order) -> Vec<String> {
    let answer = &now.answer;
    let number = |name: &str| answer[name].as_u64().unwrap_or_default();
    let mut channels = now.channels(before);
    let sum = |name: &str| {
        before.map(|_| channels.iter().filter_map(|channel| channel.rate(name)).sum::<f64>())
    };
    let name = match answer["host"].as_str() {
        Some(_) => text(&answer["host"]),
        None => "wharf".to_owned(),
    };
    let uptime = span(Duration::from_millis(number("uptime_ms")));
    let host = vec![
        format!("{name}  {}  up {uptime}", text(&answer["version"])),
        format!(
            "connections {} of {}   in {}/s   out {}/s",
            count(number("connections")),
            count(number("max_connections")),
            rate(sum("messages_in")),
            rate(sum("messages_out")),
        ),
        format!(
            "cpu {}, plugins {}   memory {}   lag {}",
            percent(now.rate(before, "cpu_seconds")),
            percent(sum("guest_seconds")),
            bytes(number("memory_bytes")),
            micros(answer["lag_ms"].as_f64().map(|lag| lag * 1e3)),
        ),
        String::new(),
    ];
    channels.sort_by(|one, other| {
        let by_figure = order.figure(other).total_cmp(&order.figure(one));
        by_figure.then_with(|| one.now["name"].as_str().cmp(&other.now["name"].as_str()))
    });
    let mut rows = vec![names([
        "channel", "gen", "conns", "events/s", "in/s", "out/s", "p50", "p99", "cpu", "memory",
        "traps", "slow", "rooms", "users",
    ])];
    rows.extend(channels.iter().map(row));
    let table = match channels.is_empty() {
        true => vec!["no channel is in service".to_owned()],
        false => of_figures(&rows),
    };
    host.into_iter().chain(table).collect()
}

fn row(channel: &ChannelRates<'_>) -> Vec<String> {
    let number = |name: &str| count(channel.count(name));
    vec![
        text(&channel.now["name"]),
        number("generation"),
        number("connections"),
        rate(channel.rate("events")),
        rate(channel.rate("messages_in")),
        rate(channel.rate("messages_out")),
        micros(channel.now["guest_p50_us"].as_f64()),
        micros(channel.now["guest_p99_us"].as_f64()),
        percent(channel.rate("guest_seconds")),
        bytes(channel.count("memory_bytes")),
        number("traps"),
        number("slow"),
        number("rooms"),
        number("users"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn channel(name: &str, events: u64, connections: u64) -> Value {
        json!({
            "name": name, "generation": 3, "connections": connections, "rooms": 2, "users": 1, "events": events,
            "messages_in": events, "messages_out": events * 2, "guest_seconds": 0.5, "guest_p50_us": 42.5,
            "guest_p99_us": null, "memory_bytes": 1 << 20, "traps": 0, "slow": null
        })
    }

    fn sample(uptime: u64, events: u64) -> Sample {
        let channels = [channel("chat", events, 5), channel("echo", 1, 700)];
        Sample {
            answer: json!({
                "host": "one", "version": "0.1.0", "uptime_ms": uptime, "connections": 705, "max_connections": 10_000,
                "cpu_seconds": 1.0, "memory_bytes": 1 << 20, "lag_ms": 0.4, "channels": channels
            }),
        }
    }

    #[test]
    fn the_host_and_its_channels_are_shown_with_their_rates() {
        let (before, now) = (sample(60_000, 0), sample(61_000, 1_500));
        let shown = lines(Some(&before), &now, Order::Name);
        assert_eq!(shown[0], "one  0.1.0  up 1 min 1 s");
        assert_eq!(shown[1], "connections 705 of 10,000   in 1,500/s   out 3,000/s");
        assert_eq!(shown[2], "cpu 0 %, plugins 0 %   memory 1.00 MiB   lag 400 µs");
        assert!(shown[5].starts_with("chat       3      5     1,500"), "{shown:#?}");
        assert!(shown[5].contains("1,500  1,500  3,000  42 µs    -  0 %  1.00 MiB"), "{shown:#?}");
        let by_connections = lines(Some(&before), &now, Order::Connections);
        assert!(by_connections[5].starts_with("echo"), "{by_connections:#?}");
        assert_eq!(Order::of_key(b'C'), Some(Order::Connections));
        assert!(lines(None, &now, Order::Cpu)[1].contains("in -/s"));
    }
}
