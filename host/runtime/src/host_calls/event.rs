//! `wharf:channel/event`: the transaction of an event.

use std::sync::Arc;

use super::bindings::wharf::channel::event::Host;
use super::bindings::wharf::channel::types::Error;

use super::{Phase, Report};
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::names::{MAX_NAME_BYTES, check_reference};
use wharf_hub::outbound::PendingWrites;

/// Longest reason of a sender's mistake that is kept, in bytes.
const MAX_INVALID_BYTES: usize = 1024 * 1024;

/// Bytes of a reported error that are kept.
pub(crate) const MAX_DETAIL_BYTES: usize = 4 * 1024;

impl Host for InstanceState {
    async fn flush(&mut self) -> Result<(), Error> {
        let hub = self.channel.hub.clone();
        let own = self.client().map(|client| client.outbound.clone());
        let call = self.call()?;
        if call.phase == Phase::Connecting {
            return Err(CallRefusal::FlushWhileConnecting.into());
        }
        if call.is_owned
            && let Err(why) = hub.confirm_owned(call.room.as_deref().unwrap_or_default()).await
        {
            // Effects of an event that another node may run as well must not leave.
            call.effects.discard();
            return Err(CallRefusal::DataUnavailable { why: why.to_string() }.into());
        }
        let mut writes = own.as_ref().map(PendingWrites::of).unwrap_or_default();
        let committed = call.commit(&hub, &mut writes).await;
        call.close =
            committed.map_err(|why| CallRefusal::DataUnavailable { why: why.to_string() })?;
        // A progress message is of no use if it waits for the handler's end.
        writes.write().await;
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(call) = &mut self.call {
            call.effects.discard();
            call.response_headers.clear();
            if let Some(report) = &mut call.report {
                report.is_undone = true;
            }
        }
    }

    fn report_error(&mut self, detail: String) {
        let shown = |state: &Self| state.channel.shown(&detail, MAX_DETAIL_BYTES);
        if self.call.as_ref().is_some_and(|call| call.report.is_some()) {
            let failure = shown(self);
            self.note(|report| report.failure = Some(failure));
        }
        if self.channel.failure_budget.take() {
            let detail = shown(self);
            let connection = self.client().map(|client| client.id.to_string());
            let room = self.call.as_ref().and_then(|call| call.room.as_deref());
            let room = room.map(|room| self.channel.shown(room, MAX_NAME_BYTES));
            tracing::warn!(
                channel = &*self.channel.name,
                generation = self.generation,
                connection,
                room,
                event = self.event,
                error = detail,
                "handler failed"
            );
        }
    }

    fn report_invalid(&mut self, body: Vec<u8>) {
        if body.len() <= MAX_INVALID_BYTES {
            self.note(|report| report.invalid = Some(body));
        }
    }

    fn report_unreadable_session(&mut self, detail: String) {
        self.unreadable = Some(self.channel.shown(&detail, MAX_DETAIL_BYTES));
    }

    fn set_reference(&mut self, reference: Option<String>) -> Result<(), Error> {
        let reference = reference.map(checked_reference).transpose()?;
        self.call()?.effects.set_reference(reference);
        Ok(())
    }

    fn reference(&mut self) -> Option<String> {
        let call = self.call.as_ref()?;
        let posted = || call.cause.as_ref()?.reference.as_ref();
        Some(call.effects.reference().or_else(posted)?.to_string())
    }

    fn sender_user(&mut self) -> Option<String> {
        Some(self.call.as_ref()?.cause.as_ref()?.user.as_ref()?.to_string())
    }

    fn generation(&mut self) -> u64 {
        self.generation
    }
}

impl InstanceState {
    /// Adds to the report of an event that somebody waits for.
    fn note(&mut self, add: impl FnOnce(&mut Report)) {
        if let Some(report) = self.call.as_mut().and_then(|call| call.report.as_deref_mut()) {
            add(report);
        }
    }
}

fn checked_reference(reference: String) -> Result<Arc<str>, CallRefusal> {
    check_reference(&reference)?;
    Ok(Arc::from(reference))
}
