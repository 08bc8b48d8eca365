//! The answer to the question if a host is ready.

use crate::{Wharf, eventually};

impl Wharf {
    /// Returns the status and the lines of the answer to the question if the host is ready.
    pub async fn readiness(&self) -> (u16, Vec<String>) {
        let mut raw = self.raw().await;
        raw.request("GET /readyz", &[]).await;
        let answer = raw.answer().await;
        (answer.status, answer.text().lines().map(str::to_owned).collect())
    }

    /// Waits until the host answers so, with this line among others.
    pub async fn readiness_becomes(&self, status: u16, line: &str) {
        eventually(&format!("the host to say {status} {line:?}"), async || {
            let (its, lines) = self.readiness().await;
            (its == status && lines.iter().any(|its| its == line)).then_some(())
        })
        .await;
    }
}
