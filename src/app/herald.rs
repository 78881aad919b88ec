//! Telling people that something waits for them.
//!
//! Owns the webhook of `[approvals.webhook]`. The idea: every approval that is asked for is told once it is written down,
//! in the background and until it was heard or is over. What another process asked for (`bartizan call`, or a server that
//! was killed) is found by looking now and then, so it may be told twice, under the same name.
//!
//! Must not: tell an argument, a state or a secret: the message goes elsewhere, and its link shows the rest to whoever
//! may see it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::approvals::{Approvals, Record, Webhook, line};
use crate::audit::Audit;
use crate::clock::{SharedClock, rfc3339};
use crate::config::Config;
use crate::error::{Error, Kind, Result};
use crate::http::hook::Hook;
use crate::json::{Value, json};
use crate::redaction::{Held, Redactor};
use crate::vault::Reference;

/// Approvals that wait to be told, and that are remembered as told; beyond, the next look finds them.
const MOST: usize = 10_000;
/// How often what others asked for is looked for, and how long it is theirs to tell.
const SWEEP: Duration = Duration::from_secs(15);
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Tells, until it is dropped.
pub(super) struct Herald {
    over: CancellationToken,
    /// Keeps the signing secret out of results.
    _held: Held,
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

struct Teller {
    hook: Hook,
    origin: String,
    approvals: Arc<Approvals>,
    audit: Arc<Audit>,
    clock: SharedClock,
}

impl Herald {
    /// Begins to tell, where the configuration says whom.
    pub(super) fn begin(
        config: &Config,
        approvals: &Arc<Approvals>,
        audit: &Arc<Audit>,
        redactor: &Redactor,
        clock: &SharedClock,
    ) -> Result<Option<Self>> {
        let Some(webhook) = config.approvals.webhook.as_ref().filter(|_| config.approvals.has_page()) else {
            return Ok(None);
        };
        let (hook, held) = hook(webhook, config, redactor, clock)?;
        let origin = webhook.origin().unwrap_or_default().to_owned();
        let teller = Arc::new(Teller {
            hook,
            origin,
            approvals: approvals.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
        });
        let (send, mut heard) = mpsc::channel::<Record>(MOST);
        approvals.heard_by(move |record| {
            if send.try_send(record.clone()).is_err() {
                tracing::warn!("too many approvals wait to be told; this one is told later");
            }
        });
        let over = CancellationToken::new();
        let until = over.clone();
        tokio::spawn(async move {
            let all = async {
                let mut known = HashSet::new();
                let mut since = Duration::ZERO;
                loop {
                    for record in teller.untold(since).await {
                        teller.tell_once(record, &mut known, &until);
                    }
                    since = SWEEP;
                    let listening = async {
                        while let Some(record) = heard.recv().await {
                            teller.tell_once(record, &mut known, &until);
                        }
                        std::future::pending::<()>().await;
                    };
                    let _ = tokio::time::timeout(SWEEP, listening).await;
                }
            };
            tokio::select! {
                () = all => {}
                () = until.cancelled() => {}
            }
        });
        Ok(Some(Self { over, _held: held }))
    }
}

fn hook(
    webhook: &Webhook,
    config: &Config,
    redactor: &Redactor,
    clock: &SharedClock,
) -> Result<(Hook, Held)> {
    let secret = Reference::parse(&webhook.secret).and_then(|secret| secret.resolve()).map_err(|error| {
        let said = format!("`secret` under [approvals.webhook]: {}", error.message());
        Error::new(Kind::BadConfig, said).with_source(error)
    })?;
    let held = redactor.hold(&secret, "webhook");
    let how = (webhook.url.as_str(), secret, webhook.key_id.as_str());
    let hook = Hook::new("[approvals.webhook]", how, &config.egress, redactor.clone(), clock.clone())?;
    Ok((hook, held))
}

impl Teller {
    async fn untold(&self, since: Duration) -> Vec<Record> {
        let approvals = self.approvals.clone();
        let found = tokio::task::spawn_blocking(move || approvals.untold(since)).await;
        found.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Begins to tell an approval that this process has not told before.
    fn tell_once(self: &Arc<Self>, record: Record, known: &mut HashSet<String>, until: &CancellationToken) {
        if known.len() >= MOST {
            known.clear();
        }
        if !known.insert(record.id.clone()) {
            return;
        }
        let (own, until) = (self.clone(), until.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = own.tell(&record) => {}
                () = until.cancelled() => {}
            }
        });
    }

    /// Tells one approval, again and again with growing pauses until it is heard or over.
    async fn tell(&self, record: &Record) {
        let message = message(record, &self.origin);
        let (mut wait, mut tries) = (FIRST_WAIT, 0_u32);
        loop {
            tries += 1;
            let said = self.hook.send(&record.id, &message).await;
            let why = match &said {
                Ok(status @ 200..=299) => {
                    self.note("approval told", record, &json!({"status": status, "tries": tries}));
                    let (approvals, id) = (self.approvals.clone(), record.id.clone());
                    let _ = tokio::task::spawn_blocking(move || approvals.told(&id)).await;
                    return;
                }
                // it was heard, and refused for good
                Ok(status @ 300..=499) if !matches!(status, 408 | 425 | 429) => json!({"status": status}),
                Ok(status) => json!({"status": status, "again": true}),
                Err(error) => json!({"kind": error.kind().name(), "again": error.kind() != Kind::Forbidden}),
            };
            if why["again"] != true || tries == 1 {
                self.note("approval not told", record, &why);
            }
            let pause = wait.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            let ends = Duration::from_millis(record.expires);
            if why["again"] != true || self.clock.wall() + pause >= ends {
                return;
            }
            tokio::time::sleep(pause).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            let (approvals, id) = (self.approvals.clone(), record.id.clone());
            if !tokio::task::spawn_blocking(move || approvals.awaits(&id)).await.unwrap_or(false) {
                return;
            }
        }
    }

    fn note(&self, event: &'static str, record: &Record, facts: &Value) {
        self.audit.note(event, &json!({"approval": record.id, "about": facts}));
    }
}

/// What is told: who asks for what, until when, and where to look.
fn message(record: &Record, origin: &str) -> Value {
    let shown = &record.shown;
    json!({
        "type": "approval.asked",
        "approval": record.id,
        "asked_at": rfc3339(Duration::from_millis(record.created)),
        "expires_at": rfc3339(Duration::from_millis(record.expires)),
        "asked_by": line(&shown.principal),
        "tool": line(&shown.tool),
        "effect": shown.effect,
        "source": line(&shown.source),
        "sends": shown.target.as_deref().map(line),
        "unseen": shown.unseen.len(),
        "link": format!("{origin}/approvals/{}", record.id),
    })
}
