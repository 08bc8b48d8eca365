//! The numbers of this host as JSON, for the dashboard and `wharf top`.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use wharf_contract::close::Reason;
use wharf_contract::fault::Fault;
use wharf_metrics::text::seconds;

use super::Metrics;
use super::channel::ChannelFacts;

impl Metrics {
    /// Returns the numbers.
    pub(crate) async fn stats(&self) -> Value {
        let facts = self.facts().await;
        let channels: Vec<Value> = facts.channels.iter().map(|of| self.stats_of(of)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let accepted = self.front.results.accepted.get();
        json!({
            "host": facts.name,
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_ms": milliseconds(facts.uptime.as_millis()),
            "now_ms": milliseconds(now.as_millis()),
            "connections": facts.open_connections,
            "max_connections": facts.max_connections,
            "handshakes": { "accepted": accepted, "refused": facts.not_accepted },
            "cpu_seconds": facts.process.cpu_seconds,
            "memory_bytes": facts.process.resident_bytes,
            "lag_ms": facts.last_lag as f64 / 1e6,
            "channels": channels,
        })
    }

    fn stats_of(&self, of: &ChannelFacts) -> Value {
        let recent = self.recent.lock().of(&of.name, of.cpu_times.clone());
        let microseconds =
            |part: f64| recent.quantile(part).map(|nanoseconds| nanoseconds as f64 / 1e3);
        let failures = |kind: Fault| of.failures.get(kind as usize).copied().unwrap_or_default();
        let slow = of.closed.iter().find(|(reason, _)| *reason == Reason::SlowConsumer);
        let events = of.events.iter().fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
        json!({
            "name": *of.name,
            "generation": of.generation,
            "connections": of.connections,
            "rooms": of.rooms,
            "users": of.users,
            "events": events,
            "messages_in": of.received.0,
            "messages_out": of.sent.messages,
            "bytes_in": of.received.1,
            "bytes_out": of.sent.bytes,
            "traps": failures(Fault::Trap),
            "deadlines": failures(Fault::Deadline),
            "guest_seconds": seconds(of.cpu_times.nanoseconds()),
            "guest_p50_us": microseconds(0.5),
            "guest_p99_us": microseconds(0.99),
            "memory_bytes": of.memory_bytes(),
            "instances": of.instances,
            "queued_bytes": of.queues.bytes,
            "slow": of.queues.slow,
            "slow_total": slow.map_or(0, |(_, count)| *count),
            "swaps": of.swaps,
        })
    }
}

fn milliseconds(time: u128) -> u64 {
    u64::try_from(time).unwrap_or(u64::MAX)
}
