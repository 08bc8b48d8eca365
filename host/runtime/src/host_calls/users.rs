//! `wharf:channel/users`: who is behind a connection, and reaching them wherever they are.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::bindings::wharf::channel::types::{Error, Kind, Remedy};
use super::bindings::wharf::channel::users::Host;
use super::rooms::MAX_SHOWN_BYTES;
use super::{ConnectionHandle, checked_close, cut, escape, fix_call, refused};
use crate::instance::InstanceState;
use wharf_hub::effects::Effect;
use wharf_hub::recipients::{Group, Recipients};
use wharf_hub::room::MAX_NAME_BYTES;

/// Users that one message may be for.
const MAX_USERS_PER_MESSAGE: usize = 256;

impl Host for InstanceState {
    fn identify(&mut self, _: Resource<ConnectionHandle>, user: String) -> Result<(), Error> {
        let user = checked(user)?;
        self.own()?;
        self.record(Effect::Identify(user))
    }

    fn identified(&mut self, _: Resource<ConnectionHandle>) -> Option<String> {
        let call = self.call.as_ref()?;
        let user = match call.effects.identity() {
            Some(user) => user.clone(),
            None => call.client.as_ref()?.user()?,
        };
        Some(user.to_string())
    }

    fn is_online(&mut self, user: String) -> bool {
        self.count_members(Group::User(&user)) > 0
    }

    fn connections_of(&mut self, user: String, after: Option<String>, limit: u32) -> Vec<String> {
        self.page_of_members(Group::User(&user), after, limit)
    }

    fn send_to_user(
        &mut self,
        user: String,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        self.call()?;
        let to = Recipients::User(self.online_user(user)?);
        self.broadcast(to, kind, &data, skip)
    }

    fn send_to_users(
        &mut self,
        users: Vec<String>,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        if users.len() > MAX_USERS_PER_MESSAGE {
            return Err(refused(
                Remedy::ShedLoad,
                "too-many-users",
                format!("a message is for at most {MAX_USERS_PER_MESSAGE} users"),
            ));
        }
        let to = Recipients::Users(users.into_iter().map(checked).collect::<Result<_, _>>()?);
        self.broadcast(to, kind, &data, skip)
    }

    fn disconnect_user(&mut self, user: String, code: u16, reason: String) -> Result<(), Error> {
        let user = checked(user)?;
        let close = checked_close(code, reason)?;
        self.record(Effect::DisconnectUser(user, Box::new(close)))
    }
}

impl InstanceState {
    /// The id of a user who has a connection.
    pub(super) fn online_user(&self, user: String) -> Result<Arc<str>, Error> {
        let user = checked(user)?;
        if self.count_members(Group::User(&user)) > 0 {
            return Ok(user);
        }
        let detail = format!("{} has no connection", escape(cut(&user, MAX_SHOWN_BYTES)));
        Err(refused(Remedy::Gone, "user-offline", detail))
    }
}

pub(super) fn checked(user: String) -> Result<Arc<str>, Error> {
    match user.len() {
        1..=MAX_NAME_BYTES => Ok(Arc::from(user)),
        length => Err(fix_call(
            "user-id-invalid",
            format!("a user's id has 1 to {MAX_NAME_BYTES} bytes, this one has {length}"),
        )),
    }
}
