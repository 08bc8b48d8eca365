//! The work that a guest does once for each instance, before its first event.

use super::budget::{Budget, begin_budget, metered};
use super::{Failure, Instance};
use crate::host_calls::MAX_DETAIL_BYTES;
use wharf_contract::fault::Fault;

impl Instance {
    /// Lets the guest do its work, within `start_budget_ms`.
    ///
    /// # Errors
    ///
    /// The guest fails, or says that it cannot start.
    pub(super) async fn run_start_hook(&mut self) -> Result<(), Failure> {
        let Some(guest) = &self.exports.starts else {
            return Ok(());
        };
        let budget = Budget::start(&self.store.data().channel.config);
        begin_budget(&mut self.store, budget);
        self.store.data_mut().event = "on-start";
        let call = guest.call_on_start(&mut self.store);
        let result = metered(&self.clock, &self.meter, budget, call).await;
        self.check(result, budget)?.map_err(|detail| {
            let detail = self.store.data().channel.shown(&detail, MAX_DETAIL_BYTES);
            Failure::new(Fault::Trap, format!("on_start failed: {detail}"))
        })
    }
}
