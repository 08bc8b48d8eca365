//! `wharf:channel/connection`: the event's connection, and messages to it.

use std::sync::atomic::Ordering;

use wasmtime::component::Resource;

use super::bindings::wharf::channel::connection::{Host, HostConnection};
use super::bindings::wharf::channel::types::{Error, Kind};
use super::{ConnectionHandle, Phase};
use crate::instance::InstanceState;
use wharf_config::table_key;
use wharf_contract::CallRefusal;
use wharf_contract::close::{Close, check_ping};
use wharf_hub::connection::SubjectChanged;
use wharf_hub::effects::Effect;
use wharf_hub::frame::{Frame, FrameKind};

impl Host for InstanceState {}

/// Every `self` below is a borrow that the host lent for this very call, so the call's own client
/// is the connection that it names.
impl HostConnection for InstanceState {
    fn id(&mut self, _: Resource<ConnectionHandle>) -> String {
        self.client_text(|client| client.id.to_string())
    }

    fn path(&mut self, _: Resource<ConnectionHandle>) -> String {
        self.client_text(|client| client.request.path.to_string())
    }

    fn query(&mut self, _: Resource<ConnectionHandle>) -> String {
        self.client_text(|client| client.request.query.to_string())
    }

    fn params(&mut self, _: Resource<ConnectionHandle>) -> Vec<(String, String)> {
        let Some(client) = self.client() else {
            return Vec::new();
        };
        let params = client.request.params.iter();
        params.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn headers(&mut self, _: Resource<ConnectionHandle>) -> Vec<(String, Vec<u8>)> {
        let Some(client) = self.client() else {
            return Vec::new();
        };
        let headers = client.request.headers.iter();
        headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn remote_address(&mut self, _: Resource<ConnectionHandle>) -> String {
        self.client_text(|client| client.request.remote.to_string())
    }

    fn subprotocol(&mut self, _: Resource<ConnectionHandle>) -> Option<String> {
        self.client()?.request.subprotocol.as_deref().map(str::to_owned)
    }

    fn ending(&mut self, _: Resource<ConnectionHandle>) -> Option<String> {
        let reason = self.client()?.ending()?;
        Some(reason.token().to_owned())
    }

    fn send(
        &mut self,
        _: Resource<ConnectionHandle>,
        kind: Kind,
        data: Vec<u8>,
    ) -> Result<(), Error> {
        self.own()?;
        let frame = self.encode(kind, &data)?;
        Ok(self.record(Effect::Send(frame))?)
    }

    fn ping(&mut self, _: Resource<ConnectionHandle>, data: Vec<u8>) -> Result<(), Error> {
        if self.own()?.phase == Phase::Connecting {
            return Err(CallRefusal::PingWhileConnecting.into());
        }
        check_ping(&data)?;
        let frame = Frame::encode(FrameKind::Ping, &data);
        Ok(self.record(Effect::Send(frame))?)
    }

    fn close(
        &mut self,
        _: Resource<ConnectionHandle>,
        code: u16,
        reason: String,
    ) -> Result<(), Error> {
        let own = self.own()?;
        own.effects.record_close(Close::new(code, reason)?);
        Ok(())
    }

    fn claims(&mut self, _: Resource<ConnectionHandle>) -> Option<String> {
        let claims = self.client()?.claims();
        if claims.is_none() {
            self.note_unchecked_tokens();
        }
        claims
    }

    fn renew_token(&mut self, _: Resource<ConnectionHandle>, token: String) -> Result<(), Error> {
        let client = self.own()?.client.clone();
        let verifier = self
            .channel
            .token_verifier()
            .ok_or_else(|| CallRefusal::NoTokenRules { channel: table_key(&self.channel.name) })?;
        let checked = verifier.check(&token);
        let token = checked.map_err(|why| CallRefusal::TokenInvalid { why: why.to_string() })?;
        let renewed = client.renew_token(token);
        Ok(renewed.map_err(|SubjectChanged| CallRefusal::TokenSubjectChanged)?)
    }

    fn drop(&mut self, _: Resource<ConnectionHandle>) -> wasmtime::Result<()> {
        // Guests only ever borrow connections.
        Ok(())
    }
}

impl InstanceState {
    /// Tells the operator, once in each generation, that the plugin reads claims which can never be
    /// there.
    fn note_unchecked_tokens(&self) {
        let channel = &self.channel;
        if channel.unchecked_tokens.load(Ordering::Relaxed) == self.generation
            || channel.token_verifier().is_some()
            || !channel.failure_budget.take()
            || channel.unchecked_tokens.swap(self.generation, Ordering::Relaxed) == self.generation
        {
            return;
        }
        let table = format!("[channels.{}.token]", table_key(&channel.name));
        tracing::warn!(
            channel = &*channel.name,
            generation = self.generation,
            "the plugin reads the claims of tokens, and there are none: the host checks no tokens of \
             this channel; write {table} with `secret`, `public_key` or `jwks` into wharf.toml, or let \
             the plugin do without"
        );
    }

    fn client_text(
        &self,
        text: impl Fn(&wharf_hub::connection::ConnectionRecord) -> String,
    ) -> String {
        self.client().map(|client| text(client)).unwrap_or_default()
    }
}
