//! The checks of what earlier code has saved.

use super::budget::{Budget, begin_budget, metered};
use super::{Failure, Instance};
use crate::saved_samples::{SavedSamples, Unreadable};

impl Instance {
    /// Asks the guest to read what earlier code has saved, within `start_budget_ms` for each sample.
    /// A guest without such checks can read everything, as far as this says.
    ///
    /// # Errors
    ///
    /// The guest fails.
    pub(crate) async fn check_saved(
        &mut self,
        samples: &SavedSamples,
    ) -> Result<Unreadable, Failure> {
        let mut unreadable = Unreadable::default();
        let budget = Budget::start(&self.store.data().channel.config);
        if let (Some(guest), Some(session)) = (&self.exports.saved_checks, &samples.session) {
            begin_budget(&mut self.store, budget);
            let call = guest.call_check_session(&mut self.store, session);
            let result = metered(&self.clock, &self.meter, budget, call).await;
            unreadable.session = self.check(result, budget)?.err();
        }
        if let (Some(guest), Some(state)) = (&self.exports.saved_checks, &samples.room_state) {
            begin_budget(&mut self.store, budget);
            let call = guest.call_check_room_state(&mut self.store, state);
            let result = metered(&self.clock, &self.meter, budget, call).await;
            unreadable.room_state = self.check(result, budget)?.err();
        }
        Ok(unreadable)
    }
}
