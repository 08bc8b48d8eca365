//! Leases, as hashes that expire.

use std::time::Duration;

use super::Redis;
use super::answer::{all_items, number, text};
use super::keys::ttl_text;
use super::names::Part;
use crate::answer::Answer;
use crate::error::Unavailable;
use crate::leases::{Fence, HeldBy, Leases};
use crate::names::check_name;

impl Leases for Redis {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> Answer<'a, Result<Result<Fence, HeldBy>, Unavailable>> {
        Box::pin(async move {
            check_name(name)?;
            let base = Part::of(name).base(&self.link.client.prefix);
            let mut call = self.scripts.acquire.key(format!("{base}e:{name}"));
            call.key(format!("{base}v")).arg(holder).arg(ttl_text(Some(ttl)));
            let [is_free, result, left] = all_items::<3>(self.link.call(&call).await?)?;
            if number::<i64>(is_free)? == 1 {
                return Ok(Ok(Fence(number(result)?)));
            }
            let left = u64::try_from(number::<i64>(left)?).unwrap_or(0);
            let expires_in = Duration::from_millis(left);
            Ok(Err(HeldBy { holder: text(result)?, expires_in }))
        })
    }

    fn renew<'a>(
        &'a self,
        name: &'a str,
        fence: Fence,
        ttl: Duration,
    ) -> Answer<'a, Result<bool, Unavailable>> {
        Box::pin(self.if_held(name, fence, ttl_text(Some(ttl))))
    }

    fn release<'a>(&'a self, name: &'a str, fence: Fence) -> Answer<'a, Result<(), Unavailable>> {
        Box::pin(async move { self.if_held(name, fence, String::new()).await.map(drop) })
    }
}

impl Redis {
    async fn if_held(&self, name: &str, fence: Fence, ttl: String) -> Result<bool, Unavailable> {
        check_name(name)?;
        let base = Part::of(name).base(&self.link.client.prefix);
        let mut call = self.scripts.renew.key(format!("{base}e:{name}"));
        call.arg(fence.0).arg(ttl);
        Ok(number::<i64>(self.link.call(&call).await?)? == 1)
    }
}
