//! `wharf:channel/audience`: broadcasts to more than the members of a room except one.

use wasmtime::component::Resource;

use super::bindings::wharf::channel::audience::{Host, HostAudience};
use super::bindings::wharf::channel::types::{Error, Kind};
use super::labels;
use super::rooms::{checked as checked_room, parsed};
use super::users::checked as checked_user;
use crate::instance::InstanceState;
use wharf_contract::CallRefusal;
use wharf_contract::audience::{MAX_AUDIENCES, Size};
use wharf_hub::recipients::Audience;

/// The `audience` resource, while a guest makes it.
#[derive(Debug, Default)]
pub struct AudienceHandle {
    audience: Audience,
    /// Problem of the first call that could not be kept.
    problem: Option<CallRefusal>,
}

impl AudienceHandle {
    /// Adds a part, and notes the first problem.
    fn add(&mut self, add: impl FnOnce(&mut Audience) -> Result<(), CallRefusal>) {
        if self.problem.is_none() {
            let added = add(&mut self.audience).and_then(|()| self.check_size());
            self.problem = added.err();
        }
    }

    fn check_size(&self) -> Result<(), CallRefusal> {
        let Audience { rooms, users, except, except_users, labels, .. } = &self.audience;
        Size {
            names: rooms.len() + users.len(),
            exceptions: except.len() + except_users.len(),
            conditions: labels.len(),
        }
        .check()
    }
}

impl Host for InstanceState {}

impl HostAudience for InstanceState {
    fn new(&mut self) -> wasmtime::Result<Resource<AudienceHandle>> {
        if self.audiences >= MAX_AUDIENCES {
            wasmtime::bail!("a plugin may have {MAX_AUDIENCES} audiences at a time; drop them");
        }
        self.audiences += 1;
        Ok(self.table.push(AudienceHandle::default())?)
    }

    fn everyone(&mut self, it: Resource<AudienceHandle>) -> wasmtime::Result<()> {
        self.table.get_mut(&it)?.audience.everyone = true;
        Ok(())
    }

    fn room(&mut self, it: Resource<AudienceHandle>, name: String) -> wasmtime::Result<()> {
        self.add(&it, |audience| {
            audience.rooms.push(checked_room(name)?);
            Ok(())
        })
    }

    fn user(&mut self, it: Resource<AudienceHandle>, user: String) -> wasmtime::Result<()> {
        self.add(&it, |audience| {
            audience.users.push(checked_user(user)?);
            Ok(())
        })
    }

    fn except_connection(
        &mut self,
        it: Resource<AudienceHandle>,
        id: String,
    ) -> wasmtime::Result<()> {
        self.add(&it, |audience| {
            audience.except.extend(parsed(Some(id)));
            Ok(())
        })
    }

    fn except_user(&mut self, it: Resource<AudienceHandle>, user: String) -> wasmtime::Result<()> {
        self.add(&it, |audience| {
            audience.except_users.push(checked_user(user)?);
            Ok(())
        })
    }

    fn where_label(
        &mut self,
        it: Resource<AudienceHandle>,
        name: String,
        value: String,
    ) -> wasmtime::Result<()> {
        self.add(&it, |audience| {
            audience.labels.push(labels::checked(name, value)?);
            Ok(())
        })
    }

    fn send(
        &mut self,
        it: Resource<AudienceHandle>,
        kind: Kind,
        data: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        let AudienceHandle { audience, problem } = self.table.get(&it)?;
        if let Some(problem) = problem {
            return Ok(Err(problem.clone().into()));
        }
        if audience.is_empty() {
            return Ok(Err(CallRefusal::AudienceEmpty.into()));
        }
        let (to, except) = audience.clone().simplest();
        Ok(self.broadcast(to, kind, &data, except))
    }

    fn drop(&mut self, it: Resource<AudienceHandle>) -> wasmtime::Result<()> {
        self.table.delete(it)?;
        self.audiences -= 1;
        Ok(())
    }
}

impl InstanceState {
    fn add(
        &mut self,
        it: &Resource<AudienceHandle>,
        add: impl FnOnce(&mut Audience) -> Result<(), CallRefusal>,
    ) -> wasmtime::Result<()> {
        self.table.get_mut(it)?.add(add);
        Ok(())
    }
}
