//! The connections of the peers that are built on tokio: a task for each and, in a room, a queue.
//! An echo is flushed at once, message for message. The messages that wait for a member are flushed
//! together.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// A message of a WebSocket library.
pub trait Message: Clone + Send + 'static {
    /// Returns true if the message is text or binary, and not a control frame.
    fn is_data(&self) -> bool;
}

/// The rooms by their names.
pub struct Rooms<M>(Arc<Mutex<HashMap<String, Arc<Room<M>>>>>);

/// The members' queues. They are unbounded: the load checks that nothing is dropped.
struct Room<M> {
    members: Mutex<Vec<UnboundedSender<M>>>,
}

impl<M> Default for Rooms<M> {
    fn default() -> Self {
        Rooms(Arc::default())
    }
}

impl<M> Clone for Rooms<M> {
    fn clone(&self) -> Self {
        Rooms(self.0.clone())
    }
}

impl<M> Room<M> {
    fn members(&self) -> MutexGuard<'_, Vec<UnboundedSender<M>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Message> Rooms<M> {
    /// Keeps a connection in a room until it ends.
    ///
    /// # Errors
    ///
    /// The error that ended the connection.
    pub async fn attend<S, E>(&self, name: String, socket: S) -> Result<(), E>
    where
        S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
    {
        let room = {
            let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(Room { members: Mutex::default() });
            rooms.entry(name).or_insert_with(new).clone()
        };
        let (sender, queue) = mpsc::unbounded_channel();
        room.members().push(sender.clone());
        let done = relay(socket, &room, queue).await;
        room.members().retain(|member| !member.same_channel(&sender));
        done
    }
}

/// Sends back until the connection ends.
///
/// # Errors
///
/// The error that ended the connection.
pub async fn echo<S, M, E>(mut socket: S) -> Result<(), E>
where
    M: Message,
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_data() {
            socket.feed(message).await?;
            socket.flush().await?;
        }
    }
    Ok(())
}

async fn relay<S, M, E>(
    mut socket: S,
    room: &Room<M>,
    mut queue: UnboundedReceiver<M>,
) -> Result<(), E>
where
    M: Message,
    S: Stream<Item = Result<M, E>> + Sink<M, Error = E> + Unpin,
{
    loop {
        tokio::select! {
            // All arrived messages are passed on before the queue is written, so that it is written
            // in one piece.
            biased;
            message = socket.next() => {
                let Some(message) = message.transpose()? else {
                    return Ok(());
                };
                if message.is_data() {
                    // One lock for all members: each sees the same order. The payload is shared.
                    for member in room.members().iter() {
                        let _ = member.send(message.clone());
                    }
                }
            }
            message = queue.recv() => {
                let mut waiting = message;
                while let Some(message) = waiting {
                    socket.feed(message).await?;
                    waiting = queue.try_recv().ok();
                }
                socket.flush().await?;
            }
        }
    }
}
