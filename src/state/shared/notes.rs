//! Small things that end by themselves.
//!
//! Owns notes and [`Guard`]. The idea: a note is sealed for its name and forgotten after a time; who does something that
//! only one instance should do at a time holds a guard, which ends by itself too, and what is noted under a guard that
//! has ended meanwhile is not noted.
//!
//! Must not: be relied on for what must happen once.

use std::sync::Arc;
use std::time::Duration;

use super::{LOCK, Place, Reply, Script, Shared, UNLOCK};
use crate::error::Result;

static GET: Script = Script {
    name: "note get",
    text: r"
local bytes = redis.call('GET', KEYS[2])
if bytes and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[2], ARGV[2]) end
return {bytes}",
};
static PUT: Script = Script {
    name: "note put",
    text: r"
if ARGV[4] ~= '' and redis.call('GET', KEYS[3]) ~= ARGV[4] then return {0} end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return {1}",
};

/// The right to do something that nobody else does meanwhile; given back when it is dropped.
pub(crate) struct Guard {
    shared: Arc<Shared>,
    name: String,
    token: String,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let arguments = vec![self.token.clone().into_bytes()];
        self.shared.link.tell(&UNLOCK, Place::Beside, &[&self.name], arguments);
    }
}

fn millis(time: Duration) -> Vec<u8> {
    time.as_millis().max(1).to_string().into_bytes()
}

impl Shared {
    /// What was noted under a name; looking keeps it for `keep` from now on, if that is said.
    pub(crate) async fn note(&self, name: &str, keep: Option<Duration>) -> Result<Option<Vec<u8>>> {
        let keep = keep.map_or_else(|| b"0".to_vec(), millis);
        let replies = self.run(&GET, Place::Beside, &[&format!("note:{name}")], vec![keep]).await?;
        Ok(match replies.into_iter().next() {
            // what was changed there is nothing
            Some(Reply::Bytes(sealed)) => self.unseal(&sealed, name),
            _ => None,
        })
    }

    /// Notes something for a time. False where the guard under which that is done has ended.
    pub(crate) async fn put_note(
        &self,
        name: &str,
        bytes: &[u8],
        lasts: Duration,
        guard: Option<&Guard>,
    ) -> Result<bool> {
        let sealed = self.seal(bytes, name)?;
        let token = guard.map_or_else(Vec::new, |guard| guard.token.clone().into_bytes());
        let (key, held) = (format!("note:{name}"), guard.map_or("", |guard| guard.name.as_str()));
        let arguments = vec![sealed, millis(lasts), token];
        let replies = self.run(&PUT, Place::Beside, &[&key, held], arguments).await?;
        Ok(replies.first().and_then(Reply::number) == Some(1))
    }

    /// A guard that ends after `lasts`; none while somebody else has it.
    pub(crate) async fn guard(self: &Arc<Self>, name: &str, lasts: Duration) -> Result<Option<Guard>> {
        let token = format!("{:032x}", rand::random::<u128>());
        let guard = Guard { shared: Arc::clone(self), name: format!("guard:{name}"), token };
        let arguments = vec![guard.token.clone().into_bytes(), millis(lasts)];
        let replies = self.run(&LOCK, Place::Beside, &[&guard.name], arguments).await?;
        Ok((replies.first().and_then(Reply::number) == Some(1)).then_some(guard))
    }
}
