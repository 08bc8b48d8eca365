//! The place of a connection among others, which it leaves whatever happens.

use std::sync::Arc;

use wharf_hub::connection::ConnectionRecord;
use wharf_hub::hub::Hub;

/// The place of a connection in its hub, its rooms and its user, and its socket. Dropping it leaves
/// all of them, also if the host has panicked.
pub(super) struct InHub {
    hub: Arc<Hub>,
    client: Arc<ConnectionRecord>,
    is_left: bool,
}

impl InHub {
    /// Makes the place of a connection that its hub has.
    pub(super) fn of(hub: &Arc<Hub>, client: &Arc<ConnectionRecord>) -> InHub {
        InHub { hub: hub.clone(), client: client.clone(), is_left: false }
    }

    /// Leaves the hub, once.
    pub(super) fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_left, true) {
            self.hub.remove(&self.client);
        }
    }
}

impl Drop for InHub {
    fn drop(&mut self) {
        self.leave();
        self.client.outbound.shut();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wharf_hub::connection::{RequestHeaders, UpgradeRequest};
    use wharf_hub::frame::{Frame, FrameKind};
    use wharf_hub::outbound::{Outbound, PendingWrites};
    use wharf_hub::presence::PresenceTiming;
    use wharf_hub::recipients::Group;
    use wharf_hub::remote::Remote;

    use super::*;

    fn connection() -> Arc<ConnectionRecord> {
        let request = UpgradeRequest {
            path: "/".into(),
            query: "".into(),
            params: Box::default(),
            headers: RequestHeaders::default(),
            remote: Remote::Unix,
            subprotocol: None,
        };
        Arc::new(ConnectionRecord::new(request, Outbound::new(1024, Default::default())))
    }

    #[tokio::test]
    async fn a_connection_whose_task_panics_leaves_its_hub_its_rooms_its_user_and_its_presence() {
        let timing = PresenceTiming { interval: Duration::from_secs(1), grace: Duration::ZERO };
        let (hub, client) = (Arc::new(Hub::new(timing)), connection());
        let [room, user] = ["room", "user"].map(Arc::<str>::from);
        hub.connect(&client);
        hub.join(&client, &room);
        hub.identify(&client, &user);
        hub.track(&client, &room, &user, &Arc::from("1"));
        let groups = || [Group::Room("room"), Group::User("user")].map(|group| hub.count(group));
        let present = || hub.presence_count("room", None);
        assert_eq!((hub.connection_count(), groups(), present()), (1, [1, 1], 1));
        let place = InHub::of(&hub, &client);
        let task = tokio::spawn(async move {
            let _place = place;
            panic!("as in a bug of the host");
        });
        assert!(task.await.is_err_and(|error| error.is_panic()));
        assert_eq!((hub.connection_count(), groups(), present()), (0, [0, 0], 0));
        let frame = Frame::encode(FrameKind::Text, b"late");
        assert!(!PendingWrites::default().push(&client.outbound, &frame), "its socket is gone");
    }
}
