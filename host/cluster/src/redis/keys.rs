//! Records with versions, as hashes.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;
use redis::{Script, ScriptInvocation, Value};

use super::Redis;
use super::answer::{all_items, array, bytes, items, number, text};
use super::names::Part;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::keys::{Entry, Expected, IncrementError, Keys, PutError};
use crate::names::check_name;
use crate::tables::milliseconds;

/// Longest time to live, so that no server refuses it: a hundred years.
const MAX_TTL: u64 = 100 * 365 * 86_400_000;

impl Keys for Redis {
    fn get<'a>(&'a self, key: &'a str) -> Answer<'a, Result<Option<Entry>, Unavailable>> {
        Box::pin(async move {
            check_name(key)?;
            let base = Part::of(key).base(&self.link.client.prefix);
            let call = self.scripts.get.key(format!("{base}k:{key}"));
            entry(self.link.call(&call).await?)
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: Expected,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<u64, PutError>> {
        Box::pin(async move {
            let mut call = self.call_of_key(&self.scripts.put, key)?;
            call.arg(&value[..]).arg(shown(expected)).arg(ttl_text(ttl));
            let answer = done(self.link.call(&call).await?)?;
            Ok(number(answer?)?)
        })
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: Expected,
    ) -> Answer<'a, Result<bool, PutError>> {
        Box::pin(async move {
            let mut call = self.call_of_key(&self.scripts.delete, key)?;
            call.arg(shown(expected));
            let answer = done(self.link.call(&call).await?)?;
            Ok(number::<i64>(answer?)? == 1)
        })
    }

    fn increment<'a>(
        &'a self,
        key: &'a str,
        by: i64,
        ttl: Option<Duration>,
    ) -> Answer<'a, Result<(i64, u64), IncrementError>> {
        Box::pin(async move {
            let mut call = self.call_of_key(&self.scripts.increment, key)?;
            call.arg(by).arg(ttl_text(ttl));
            let mut answer = array(self.link.call(&call).await?)?.into_iter();
            let damaged = || Unavailable::damaged("an answer of Redis");
            let mut next = || answer.next().ok_or_else(damaged);
            match number::<i64>(next()?)? {
                1 => Ok((number(next()?)?, number(next()?)?)),
                _ => match text(next()?)?.as_str() {
                    "number" => Err(IncrementError::NotANumber),
                    "overflow" => Err(IncrementError::Overflow),
                    _ => Err(damaged().into()),
                },
            }
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: u32,
    ) -> Answer<'a, Result<Vec<(String, Entry)>, Unavailable>> {
        Box::pin(async move {
            let limit = limit as usize;
            let mut found: Vec<(String, Entry)> = Vec::new();
            let mut after = after.map(str::to_owned);
            // Names whose records have expired give way to the next ones.
            while found.len() < limit {
                let wanted = limit - found.len();
                let names = self.names(prefix, after.as_deref(), wanted).await?;
                after = names.last().cloned();
                let is_last = names.len() < wanted;
                let entries = self.entries(names).await?;
                found.extend(entries);
                if is_last {
                    break;
                }
            }
            Ok(found)
        })
    }
}

impl Redis {
    /// Begins the call of a script that changes a record.
    fn call_of_key<'a>(
        &self,
        script: &'a Script,
        key: &str,
    ) -> Result<ScriptInvocation<'a>, Unavailable> {
        check_name(key)?;
        let base = Part::of(key).base(&self.link.client.prefix);
        let mut call = script.key(format!("{base}k:{key}"));
        call.key(format!("{base}v")).key(format!("{base}i")).key(format!("{base}x"));
        call.arg(format!("{base}k:")).arg(key);
        Ok(call)
    }

    /// Returns the first names of all parts.
    async fn names(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, Unavailable> {
        let least = match after {
            Some(after) if after >= prefix => [b"(", after.as_bytes()].concat(),
            _ => [b"[", prefix.as_bytes()].concat(),
        };
        let most = match prefix.as_bytes().split_last() {
            None => b"+".to_vec(),
            // No byte of UTF-8 is the greatest one.
            Some((last, before)) => [b"(", before, &[last.saturating_add(1)]].concat(),
        };
        let connection = self.link.connection()?;
        let parts = Part::all().map(|part| {
            let mut connection = connection.clone();
            let mut command = redis::cmd("ZRANGEBYLEX");
            command.arg(format!("{}i", part.base(&self.link.client.prefix)));
            command.arg(&least[..]).arg(&most[..]).arg("LIMIT").arg(0).arg(limit);
            async move { command.query_async::<Value>(&mut connection).await }
        });
        let answers = try_join_all(parts).await.map_err(|error| self.link.failed(&error))?;
        let mut names = Vec::new();
        for answer in answers {
            for name in array(answer)? {
                names.push(text(name)?);
            }
        }
        names.sort_unstable();
        names.truncate(limit);
        Ok(names)
    }

    /// Returns the records of names that are sorted, without those that are gone.
    async fn entries(&self, names: Vec<String>) -> Result<Vec<(String, Entry)>, Unavailable> {
        let calls = Part::all().filter_map(|part| {
            let names: Vec<String> =
                names.iter().filter(|name| Part::of(name) == part).cloned().collect();
            (!names.is_empty()).then(|| self.entries_of(part, names))
        });
        let parts = try_join_all(calls).await?;
        let mut found: Vec<(String, Entry)> = parts.into_iter().flatten().collect();
        found.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    async fn entries_of(
        &self,
        part: Part,
        names: Vec<String>,
    ) -> Result<Vec<(String, Entry)>, Unavailable> {
        let base = part.base(&self.link.client.prefix);
        let mut call = self.scripts.read_records.key(format!("{base}i"));
        call.key(format!("{base}x")).arg(format!("{base}k:")).arg(&names[..]);
        let answers = array(self.link.call(&call).await?)?;
        let mut found = Vec::new();
        for (name, answer) in names.into_iter().zip(answers) {
            found.extend(entry(answer)?.map(|entry| (name, entry)));
        }
        Ok(found)
    }
}

/// Reads a record: value, version and milliseconds to live, or nothing.
fn entry(answer: Value) -> Result<Option<Entry>, Unavailable> {
    let Some([value, version, left]) = items::<3>(answer)? else { return Ok(None) };
    let left = number::<i64>(left)?;
    let expires_in = u64::try_from(left).ok().map(Duration::from_millis);
    Ok(Some(Entry { value: bytes(value)?, version: number(version)?, expires_in }))
}

/// Reads the answer of a change: 1 and its result, or 0 and the current version.
fn done(answer: Value) -> Result<Result<Value, PutError>, Unavailable> {
    let [is_done, result] = all_items::<2>(answer)?;
    if number::<i64>(is_done)? == 1 {
        return Ok(Ok(result));
    }
    let current = text(result)?;
    let current = if current.is_empty() { None } else { current.parse().ok() };
    Ok(Err(PutError::Conflict { current }))
}

fn shown(expected: Expected) -> String {
    match expected {
        Expected::Any => "any".to_owned(),
        Expected::Absent => "absent".to_owned(),
        Expected::Version(version) => version.to_string(),
    }
}

/// Returns a time to live in milliseconds; empty for none.
pub(super) fn ttl_text(ttl: Option<Duration>) -> String {
    ttl.map_or(String::new(), |ttl| milliseconds(ttl).clamp(1, MAX_TTL).to_string())
}
