//! Notices of other nodes for connections of this one.

use std::sync::Arc;

use bytes::Bytes;
use wharf_hub::connection_id::ConnectionId;
use wharf_hub::inbox::Cause;
use wharf_hub::recipients::Group;

use crate::addressees::id;
use crate::node::Shared;
use crate::wire::NoticeTo;

/// Posts a notice into the inboxes of the connections that it is for. One whose inbox is full is ended, as with a
/// notice of this node to several; one to a single connection is dropped then.
pub(crate) async fn post(shared: &Shared, notice: &NoticeTo<'_>) {
    let Some(hub) = shared.hub(&notice.channel) else { return };
    let limits = shared.inbox_limits();
    let cause = notice.cause.and_then(id).map(|connection| {
        let text = |text: &std::borrow::Cow<'_, str>| Arc::from(&**text);
        Arc::new(Cause {
            connection,
            user: notice.user.as_ref().map(text),
            reference: notice.reference.as_ref().map(text),
        })
    });
    let payload = Bytes::copy_from_slice(notice.payload);
    let bytes = payload.len() + notice.reference.as_ref().map_or(0, |text| text.len());
    if let Some(number) = notice.to.connection {
        let to = ConnectionId::local(number);
        if let Ok(place) = hub.notice_place(to, bytes, limits) {
            hub.post(place, cause, payload, notice.hops);
        }
        return;
    }
    let except: Vec<_> = notice.to.except.iter().copied().filter_map(id).collect();
    let rooms = notice.to.rooms.iter().map(|name| Group::Room(name));
    for group in rooms.chain(notice.to.users.iter().map(|name| Group::User(name))) {
        let posting = hub.notice_places(group, &except, bytes, limits).await;
        hub.post_to_several(posting, cause.clone(), &payload, notice.hops).await;
    }
}
