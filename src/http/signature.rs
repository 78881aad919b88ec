//! Requests signed with a shared key.
//!
//! Owns [`Signature`]. The idea: each try is signed anew, with the time of that try, over the request as it leaves; the
//! key itself never does.
//!
//! Must not: know a vendor; a [`Recipe`] says how it is done.

use std::sync::Arc;

use ::http::header::CONTENT_TYPE;

use super::credentials::{Identity, Kept, both, read};
use super::recipe::{About, Compiled, Recipe, decoded};
use super::{BoxFuture, Credentials, Signing, Supply};
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::redaction::Redactor;

/// Signs by a recipe.
pub struct Signature {
    recipe: Compiled,
    key: Kept,
    id: Option<Arc<dyn Supply>>,
    clock: SharedClock,
}

impl Signature {
    /// Signs with `key`, which `id` names where the recipe says `{key_id}`. Errors are `BadConfig`.
    pub fn new(
        recipe: &Recipe,
        key: Arc<dyn Supply>,
        id: Option<Arc<dyn Supply>>,
        clock: SharedClock,
    ) -> Result<Self> {
        let wrong = |what: String| Error::new(Kind::BadConfig, format!("[credentials]: {what}."));
        let recipe = recipe.compile().map_err(wrong)?;
        if recipe.names_key != id.is_some() {
            return Err(wrong(String::from("`key_id` and {key_id} go together; one of them is missing")));
        }
        Ok(Self { recipe, key: Kept::new(key, "signing-key"), id, clock })
    }

    fn reference(&self) -> String {
        match &self.id {
            Some(id) => format!("HMAC with {} as {}", self.key.reference(), id.reference()),
            None => format!("HMAC with {}", self.key.reference()),
        }
    }
}

impl Credentials for Signature {
    fn account(&self) -> Option<String> {
        Some(self.reference())
    }

    fn apply<'a>(&'a self, signing: &'a mut Signing) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let (secret, generation) = self.key.get(signing.redactor()).await?;
            signing.generation(generation);
            let key = decoded(self.recipe.key_encoding, secret.expose()).ok_or_else(|| {
                let message = format!(
                    "the signing key at {} is not written as `key_encoding` says; check both",
                    self.key.reference()
                );
                Error::new(Kind::ToolFailed, message)
            })?;
            let id = match &self.id {
                Some(id) => Some(read(id).await?),
                None => None,
            };
            let nonce = uuid::Uuid::new_v4().simple().to_string();
            let content_type = signing.headers().get(CONTENT_TYPE);
            let about = About {
                method: signing.method(),
                url: signing.url(),
                content_type: content_type.and_then(|value| value.to_str().ok()).unwrap_or_default(),
                body: signing.body(),
                wall: self.clock.wall(),
                nonce: &nonce,
                key_id: id.as_ref().map_or("", |id| id.expose()),
            };
            for (name, value) in self.recipe.headers(&about, &key)? {
                signing.set(name, &value)?;
            }
            Ok(())
        })
    }

    fn identity<'a>(&'a self, redactor: &'a Redactor) -> BoxFuture<'a, Identity> {
        Box::pin(async move {
            let key = self.key.fresh(redactor).await;
            let id = match &self.id {
                Some(id) => read(id).await.ok(),
                None => None,
            };
            let print = |secret: Option<crate::secret::Secret>| {
                secret.and_then(|one| redactor.fingerprint(one.expose()))
            };
            Identity { reference: self.reference(), fingerprint: both(print(id), print(key)) }
        })
    }

    fn rejected<'a>(&'a self, generation: u64, redactor: &'a Redactor) -> BoxFuture<'a, bool> {
        Box::pin(self.key.renewed(generation, redactor))
    }

    fn forget(&self) {
        self.key.forget();
    }

    fn ready(&self) -> Result<()> {
        if let Some(id) = &self.id {
            id.secret()?;
        }
        self.key.ready()
    }
}
