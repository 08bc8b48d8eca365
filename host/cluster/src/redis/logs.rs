//! Bounded logs, as lists with a head.

use bytes::Bytes;
use redis::Script;

use super::Redis;
use super::answer::{all_items, array, bytes, items, number};
use super::keys::ttl_text;
use super::names::Part;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::logs::{Bounds, LogEntry, Logs, Position, Slice};
use crate::names::check_name;
use crate::random::random;

/// Largest number that the scripts know exactly.
const MAX_NUMBER: u64 = 1 << 53;

impl Logs for Redis {
    fn append<'a>(
        &'a self,
        log: &'a str,
        entry: Bytes,
        bounds: Bounds,
    ) -> Answer<'a, Result<Position, Unavailable>> {
        Box::pin(async move {
            let mut call = self.call_of_log(&self.scripts.append, log)?;
            let channel = super::names::name(&self.link.client.prefix, 't', log);
            let command = self.link.connection()?.publish_command();
            call.arg(&entry[..]).arg(random()?).arg(bounds.messages);
            call.arg(bounds.bytes.min(MAX_NUMBER)).arg(ttl_text(bounds.age));
            call.arg(ttl_text(bounds.idle)).arg(channel).arg(command);
            let [epoch, offset] = all_items::<2>(self.link.call(&call).await?)?;
            Ok(Position { epoch: number(epoch)?, offset: number(offset)? })
        })
    }

    fn read<'a>(
        &'a self,
        log: &'a str,
        after: u64,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(self.slice(log, after.min(MAX_NUMBER).to_string(), messages, bytes))
    }

    fn read_last<'a>(
        &'a self,
        log: &'a str,
        messages: u32,
        bytes: u64,
    ) -> Answer<'a, Result<Slice, Unavailable>> {
        Box::pin(self.slice(log, "last".to_owned(), messages, bytes))
    }

    fn remove<'a>(&'a self, log: &'a str) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(async move {
            let call = self.call_of_log(&self.scripts.remove, log)?;
            Ok(number::<i64>(self.link.call(&call).await?)? == 1)
        })
    }
}

impl Redis {
    fn call_of_log<'a>(
        &self,
        script: &'a Script,
        log: &str,
    ) -> Result<redis::ScriptInvocation<'a>, Unavailable> {
        check_name(log)?;
        let base = Part::of(log).base(&self.link.client.prefix);
        let mut call = script.key(format!("{base}l:{log}"));
        call.key(format!("{base}m:{log}"));
        Ok(call)
    }

    async fn slice(
        &self,
        log: &str,
        from: String,
        messages: u32,
        most: u64,
    ) -> Result<Slice, Unavailable> {
        let mut call = self.call_of_log(&self.scripts.read, log)?;
        call.arg(from).arg(messages).arg(most.min(MAX_NUMBER));
        let answer = self.link.call(&call).await?;
        let Some([epoch, first, last, from, found]) = items::<5>(answer)? else {
            return Ok(Slice { first: 1, ..Slice::default() });
        };
        let mut entries = Vec::new();
        for (offset, entry) in (number::<u64>(from)?..).zip(array(found)?) {
            entries.push(LogEntry { offset, entry: bytes(entry)? });
        }
        Ok(Slice { epoch: number(epoch)?, first: number(first)?, last: number(last)?, entries })
    }
}
