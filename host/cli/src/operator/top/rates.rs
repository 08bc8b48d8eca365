//! Rates from two answers.

use serde_json::Value;

/// The figures of a host at one time.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) answer: Value,
}

/// The figures of a channel, with those before.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelRates<'a> {
    pub(super) now: &'a Value,
    before: Option<&'a Value>,
    /// Seconds between the two; `None` without earlier ones of this life of the host.
    seconds: Option<f64>,
}

impl Sample {
    /// Returns the figures of each channel.
    pub(super) fn channels<'a>(&'a self, before: Option<&'a Sample>) -> Vec<ChannelRates<'a>> {
        let seconds = self.seconds_since(before);
        let earlier = before.map_or(&[][..], |before| list(&before.answer));
        let channel = |now: &'a Value| {
            let before = earlier.iter().find(|before| before["name"] == now["name"]);
            ChannelRates { now, before, seconds }
        };
        list(&self.answer).iter().map(channel).collect()
    }

    /// Returns the change of a number of the host in each second.
    pub(super) fn rate(&self, before: Option<&Sample>, name: &str) -> Option<f64> {
        let before = before?;
        difference(&self.answer, &before.answer, name, self.seconds_since(Some(before)))
    }

    fn seconds_since(&self, before: Option<&Sample>) -> Option<f64> {
        let uptime = |sample: &Sample| sample.answer.get("uptime_ms")?.as_f64();
        let seconds = (uptime(self)? - uptime(before?)?) / 1e3;
        (seconds > 0.0).then_some(seconds)
    }
}

impl ChannelRates<'_> {
    /// Returns the change of a number in each second.
    pub(super) fn rate(&self, name: &str) -> Option<f64> {
        difference(self.now, self.before?, name, self.seconds)
    }

    /// Returns a number.
    pub(super) fn count(&self, name: &str) -> u64 {
        self.now[name].as_u64().unwrap_or_default()
    }
}

/// Returns a change in each second. Counts begin anew when a channel does, and then there is none.
fn difference(now: &Value, before: &Value, name: &str, seconds: Option<f64>) -> Option<f64> {
    let change = now[name].as_f64()? - before[name].as_f64()?;
    Some(change.max(0.0) / seconds?)
}

fn list(answer: &Value) -> &[Value] {
    answer["channels"].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rates_are_differences_and_a_host_that_began_anew_has_none() {
        let sample = |uptime: u64, events: u64| Sample {
            answer: json!({ "uptime_ms": uptime, "cpu_seconds": 1.0, "channels": [{ "name": "chat", "events": events }] }),
        };
        let rate = |before: &Sample, now: &Sample| now.channels(Some(before))[0].rate("events");
        assert_eq!(rate(&sample(1_000, 10), &sample(3_000, 30)), Some(10.0));
        assert_eq!(rate(&sample(1_000, 30), &sample(2_000, 10)), Some(0.0));
        assert_eq!(rate(&sample(9_000, 10), &sample(1_000, 30)), None);
        assert_eq!(sample(1_000, 1).channels(None)[0].rate("events"), None);
        assert_eq!(sample(2_000, 1).rate(Some(&sample(1_000, 1)), "cpu_seconds"), Some(0.0));
    }
}
