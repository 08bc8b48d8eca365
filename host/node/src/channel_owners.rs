//! The port by which the hub of one channel finds the owners of its rooms.

use std::borrow::Cow;
use std::sync::Arc;

use wharf_hub::connection_id::NodeId;
use wharf_hub::owners::{
    Claim, Forwarded, Hold, Owners, Refused, RoomContent, TimerChange, Unavailable,
};
use wharf_hub::peers::Wait;

use crate::node::Shared;
use crate::owners::RoomOwners;
use crate::topics::Topic;
use crate::wire::{Content, RoomEventFor, RoomTimer, RoomTimerFor};

/// The port of one channel.
#[derive(Debug)]
pub(crate) struct ChannelOwners {
    shared: Arc<Shared>,
    channel: Arc<str>,
    rooms: RoomOwners,
}

impl ChannelOwners {
    pub(crate) fn new(shared: Arc<Shared>, channel: &str) -> ChannelOwners {
        let rooms = shared.room_owners(channel);
        ChannelOwners { shared, channel: channel.into(), rooms }
    }
}

impl Owners for ChannelOwners {
    fn claim(&self, room: &Arc<str>) -> Wait<Result<Claim, Unavailable>> {
        let (rooms, room) = (self.rooms.clone(), room.clone());
        Box::pin(async move { rooms.claim(&room).await })
    }

    fn holds(&self, hold: Hold) -> bool {
        self.rooms.holds(hold)
    }

    fn confirm(&self, hold: Hold) -> Wait<Result<(), Refused>> {
        let rooms = self.rooms.clone();
        Box::pin(async move { rooms.confirm(hold).await })
    }

    fn write(
        &self,
        room: &Arc<str>,
        hold: Hold,
        content: RoomContent,
    ) -> Wait<Result<Hold, Refused>> {
        let (rooms, room) = (self.rooms.clone(), room.clone());
        Box::pin(async move { rooms.write(&room, hold, content).await })
    }

    fn give_up(&self, room: &Arc<str>, hold: Hold, content: RoomContent) -> Wait<bool> {
        let (rooms, room) = (self.rooms.clone(), room.clone());
        Box::pin(async move { rooms.give_up(&room, hold, content).await })
    }

    fn given_up(&self) {
        let channel = Cow::Borrowed(&*self.channel);
        self.shared.publish(&Topic::Nodes, Content::RoomsGivenUp { channel });
        // The plugin may be back here.
        self.shared.orphaned.notify_one();
    }

    fn release(&self, room: &Arc<str>, hold: Hold) -> Wait {
        let (rooms, room) = (self.rooms.clone(), room.clone());
        Box::pin(async move { rooms.release(&room, hold).await })
    }

    fn read(&self, room: &str) -> Wait<Result<Option<RoomContent>, Unavailable>> {
        let (rooms, room) = (self.rooms.clone(), room.to_owned());
        Box::pin(async move { rooms.read(&room).await })
    }

    fn reset(&self, room: &Arc<str>) -> Wait<Result<bool, Unavailable>> {
        let (rooms, room) = (self.rooms.clone(), room.clone());
        let (shared, channel) = (self.shared.clone(), self.channel.clone());
        Box::pin(async move {
            let owner = rooms.reset(&room).await?;
            if let Some(owner) = owner {
                let (channel, room) = (Cow::Borrowed(&*channel), Cow::Borrowed(&*room));
                match owner == shared.own {
                    true => shared.reread(&channel, &room),
                    false => {
                        shared.publish(&Topic::Node(owner), Content::RoomReset { channel, room })
                    }
                }
            }
            Ok(owner.is_some())
        })
    }

    fn has(&self, node: NodeId) -> bool {
        self.shared.has(node)
    }

    fn forward(&self, to: NodeId, room: &Arc<str>, event: Forwarded) {
        let (channel, room) = (Cow::Borrowed(&*self.channel), Cow::Borrowed(&**room));
        let content = match &event {
            Forwarded::Event { cause, payload, hops } => {
                let cause = cause.as_deref();
                Content::RoomEvent(RoomEventFor {
                    channel,
                    room,
                    cause: cause.map(|it| (it.connection.node.number(), it.connection.number)),
                    user: cause.and_then(|it| it.user.as_deref()).map(Cow::Borrowed),
                    reference: cause.and_then(|it| it.reference.as_deref()).map(Cow::Borrowed),
                    hops: *hops,
                    question: None,
                    returned: 0,
                    payload,
                })
            }
            Forwarded::Awaited(event) => Content::RoomEvent(RoomEventFor {
                channel,
                room,
                cause: None,
                user: None,
                reference: None,
                hops: event.hops,
                question: Some(self.shared.outcomes.next_question()),
                returned: 0,
                payload: &event.payload,
            }),
            Forwarded::Timer(change) => {
                let (name, timer) = match change {
                    TimerChange::Set(timer) => (&timer.name, Some(RoomTimer::of(timer))),
                    TimerChange::Cancel(name) => (name, None),
                };
                let name = Cow::Borrowed(&**name);
                Content::RoomTimer(RoomTimerFor { channel, room, name, timer, returned: 0 })
            }
        };
        let question = match &content {
            Content::RoomEvent(event) => event.question,
            _ => None,
        };
        let message = self.shared.encoded(content);
        if let (Some(question), Forwarded::Awaited(event)) = (question, event) {
            self.shared.outcomes.open(question, event.waiter);
        }
        self.shared.publish_encoded(&Topic::Node(to), message);
    }
}
