//! `wharf:channel/users`: the users of connections, and messages to all connections of one.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::bindings::wharf::channel::types::{Error, Kind};
use super::bindings::wharf::channel::users::Host;
use super::rooms::parsed;
use super::{ConnectionHandle, OwnConnection};
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::audience::check_users;
use wharf_contract::close::Close;
use wharf_contract::names::check_user;
use wharf_contract::text::Shown;
use wharf_hub::effects::Effect;
use wharf_hub::hub::GroupKind;
use wharf_hub::recipients::{Group, Recipients};

impl Host for InstanceState {
    fn identify(&mut self, _: Resource<ConnectionHandle>, user: String) -> Result<(), Error> {
        let user = checked(user)?;
        self.own()?;
        Ok(self.record(Effect::Identify(user, None))?)
    }

    fn identify_if_fewer_than(
        &mut self,
        _: Resource<ConnectionHandle>,
        user: String,
        count: u32,
    ) -> Result<bool, Error> {
        let user = checked(user)?;
        let OwnConnection { client, effects, .. } = self.own()?;
        if effects.identity().or(client.user().as_ref()) == Some(&user) {
            return Ok(true);
        }
        let (id, limit) = (client.id, count as usize);
        let Some(place) = self.channel.hub.reserve(GroupKind::User, &user, id, limit) else {
            return Ok(false);
        };
        self.record(Effect::Identify(user, Some(place)))?;
        Ok(true)
    }

    fn identified(&mut self, _: Resource<ConnectionHandle>) -> Option<String> {
        let call = self.call.as_ref()?;
        let user = match call.effects.identity() {
            Some(user) => user.clone(),
            None => call.client.as_ref()?.user()?,
        };
        Some(user.to_string())
    }

    async fn is_online(&mut self, user: String) -> bool {
        self.count_everywhere(Group::User(&user)).await > 0
    }

    async fn connections_of(
        &mut self,
        user: String,
        after: Option<String>,
        limit: u32,
    ) -> Vec<String> {
        self.page_of_members(Group::User(&user), after, limit).await
    }

    async fn send_to_user(
        &mut self,
        user: String,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        self.call()?;
        let to = Recipients::User(self.online_user(user).await?);
        self.broadcast(to, kind, &data, parsed(skip))
    }

    fn send_to_users(
        &mut self,
        users: Vec<String>,
        kind: Kind,
        data: Vec<u8>,
        skip: Option<String>,
    ) -> Result<(), Error> {
        check_users(users.len())?;
        let to = Recipients::Users(users.into_iter().map(checked).collect::<Result<_, _>>()?);
        self.broadcast(to, kind, &data, parsed(skip))
    }

    fn disconnect_user(&mut self, user: String, code: u16, reason: String) -> Result<(), Error> {
        let user = checked(user)?;
        let close = Close::new(code, reason)?;
        Ok(self.record(Effect::DisconnectUser(user, Box::new(close)))?)
    }
}

impl InstanceState {
    /// Returns the id of a user who has a connection.
    pub(super) async fn online_user(&mut self, user: String) -> Result<Arc<str>, CallRefusal> {
        let user = checked(user)?;
        if self.count_everywhere(Group::User(&user)).await > 0 {
            return Ok(user);
        }
        Err(CallRefusal::UserOffline { user: Shown::id(&user) })
    }
}

/// Returns a user's id, checked.
pub(super) fn checked(user: String) -> Result<Arc<str>, CallRefusal> {
    check_user(&user)?;
    Ok(Arc::from(user))
}
