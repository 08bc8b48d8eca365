//! Recipients as messages between nodes name them.

use std::borrow::Cow;
use std::sync::Arc;

use wharf_hub::connection_id::{ConnectionId, NodeId};
use wharf_hub::recipients::{Audience, Recipients};

use crate::topics::{Group, Topic};
use crate::wire::To;

fn texts(names: &[Arc<str>]) -> Vec<Cow<'_, str>> {
    names.iter().map(|name| Cow::Borrowed(&**name)).collect()
}

fn names(texts: &[Cow<'_, str>]) -> Vec<Arc<str>> {
    texts.iter().map(|text| Arc::from(&**text)).collect()
}

/// Returns ids as they are written.
pub fn ids(ids: impl IntoIterator<Item = ConnectionId>) -> Vec<(u64, u64)> {
    ids.into_iter().map(|id| (id.node.number(), id.number)).collect()
}

/// Returns the connection with this node and number; `None` if no node has such a number.
pub fn id((node, number): (u64, u64)) -> Option<ConnectionId> {
    NodeId::numbered(node).map(|node| ConnectionId { node, number })
}

impl<'a> To<'a> {
    /// Names recipients, without one connection.
    pub fn recipients(to: &'a Recipients, except: Option<ConnectionId>) -> To<'a> {
        let named = match to {
            Recipients::Room(name) => {
                To { rooms: texts(std::slice::from_ref(name)), ..To::default() }
            }
            Recipients::Rooms(names) => To { rooms: texts(names), ..To::default() },
            Recipients::User(user) => {
                To { users: texts(std::slice::from_ref(user)), ..To::default() }
            }
            Recipients::Users(users) => To { users: texts(users), ..To::default() },
            Recipients::Everyone => To { everyone: true, ..To::default() },
            Recipients::Audience(audience) => {
                let label = |(name, value): &'a (Box<str>, Box<str>)| {
                    (Cow::Borrowed(&**name), Cow::Borrowed(&**value))
                };
                To {
                    everyone: audience.everyone,
                    rooms: texts(&audience.rooms),
                    users: texts(&audience.users),
                    except: ids(audience.except.iter().copied()),
                    except_users: texts(&audience.except_users),
                    labels: audience.labels.iter().map(label).collect(),
                    ..To::default()
                }
            }
        };
        let except = named.except.into_iter().chain(ids(except)).collect();
        To { except, ..named }
    }

    /// Returns the recipients, and one connection that is left out.
    pub fn read(&self) -> (Recipients, Option<ConnectionId>) {
        let is_plain = self.except_users.is_empty() && self.labels.is_empty();
        let except = |at: usize| self.except.get(at).copied().and_then(id);
        if is_plain && self.except.len() <= 1 {
            let except = except(0);
            match (self.everyone, &*self.rooms, &*self.users) {
                (true, [], []) => return (Recipients::Everyone, except),
                (false, [room], []) => return (Recipients::Room(Arc::from(&**room)), except),
                (false, [], [user]) => return (Recipients::User(Arc::from(&**user)), except),
                (false, rooms, []) => return (Recipients::Rooms(names(rooms).into()), except),
                (false, [], users) => return (Recipients::Users(names(users).into()), except),
                _ => {}
            }
        }
        let label =
            |(name, value): &(Cow<'_, str>, Cow<'_, str>)| ((&**name).into(), (&**value).into());
        let audience = Audience {
            everyone: self.everyone,
            rooms: names(&self.rooms),
            users: names(&self.users),
            except: self.except.iter().copied().filter_map(id).collect(),
            except_users: names(&self.except_users),
            labels: self.labels.iter().map(label).collect(),
        };
        (Recipients::Audience(Box::new(audience)), None)
    }
}

/// Returns the topic on which the recipients of a channel hear. A message to several rooms or users has one topic, so
/// that a connection in several of them gets it once.
pub fn topic(channel: &Arc<str>, to: &Recipients) -> Topic {
    match to {
        Recipients::Room(name) => Topic::Group(Group::room(channel, name)),
        Recipients::User(user) => Topic::Group(Group::user(channel, user)),
        _ => Topic::Channel(channel.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(to: &Recipients, except: Option<ConnectionId>) -> String {
        let written = To::recipients(to, except);
        format!("{:?}", written.read())
    }

    #[test]
    fn recipients_come_back_as_they_were() {
        let name = |text: &str| Arc::<str>::from(text);
        let one = ConnectionId::local(7);
        let audience = Audience {
            everyone: true,
            except: vec![one, ConnectionId::local(8)],
            except_users: vec![name("bob")],
            labels: vec![("team".into(), "red".into())],
            ..Audience::default()
        };
        for to in [
            Recipients::Room(name("red")),
            Recipients::Rooms([name("red"), name("blue")].into()),
            Recipients::User(name("ann")),
            Recipients::Users([name("ann"), name("bob")].into()),
            Recipients::Everyone,
        ] {
            for except in [None, Some(one)] {
                assert_eq!(there_and_back(&to, except), format!("{:?}", (to.clone(), except)));
            }
        }
        let audience = Recipients::Audience(Box::new(audience));
        let back = (audience.clone(), None::<ConnectionId>);
        assert_eq!(there_and_back(&audience, None), format!("{back:?}"));
    }
}
