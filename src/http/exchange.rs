//! One exchange with a token endpoint.
//!
//! Owns how [`Fetcher`] asks. The idea: look first whether somebody else has a token already, then whether asking may cost
//! the account, then ask once; what an answer hands out is kept before it is used. A refresh token is good for one
//! exchange, so nobody else of this machine, or of the instances that share a store, asks meanwhile.
//!
//! Must not: ask twice, or send a secret that the endpoint is known to refuse.

use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::Bytes;

use super::account::{Account, May, Try};
use super::credentials::read;
use super::drawer::Drawer;
use super::endpoint::Asked;
use super::failed::Failed;
use super::granted;
use super::oauth::{Attempt, Fetcher, Grant, MARGIN, OUT};
use super::refresh::{self, Next};
use super::retry;
use super::sharing::{self, Begun};
use super::token::{self, read_token};
use super::wire::Leaving;
use crate::error::Kind;
use crate::json::Digest;
use crate::redaction::Redactor;
use crate::secret::Secret;
use crate::state::{Folder, Held as Turn};

/// Longest answer of a token endpoint.
const LIMIT: u64 = 256 * 1024;

/// How an answer ends the exchange.
enum Said {
    Token {
        token: Secret,
        lasts: u64,
        next: Option<Secret>,
    },
    /// The refresh token is not taken any more.
    Spent(u16),
    Refused(Failed),
    Broken(Failed),
}

impl Fetcher {
    pub(super) async fn attempt(&self, redactor: &Redactor) -> Attempt {
        let former = self.lock().exchanged.clone();
        let (id, secret) = match (read(&self.id).await, read(&self.secret).await) {
            (Ok(id), Ok(secret)) => (id, secret),
            // what was replaced by something that cannot be read is used on
            (Ok(id), Err(error)) if former.is_some() => {
                tracing::warn!(
                    reference = self.secret.reference(),
                    reason = error.message(),
                    "a client secret has changed and cannot be used; the former one stays in use"
                );
                (id, former.unwrap_or_else(|| Secret::new("")))
            }
            (Err(error), _) | (_, Err(error)) => return Attempt::Missing(Failed::of(error)),
        };
        let own = match &self.grant {
            Grant::Refresh { own: Some(own), .. } => match read(own).await {
                Ok(own) => Some(own),
                Err(error) => return Attempt::Missing(Failed::of(error)),
            },
            Grant::Client | Grant::Refresh { own: None, .. } => None,
        };
        let refreshes = matches!(self.grant, Grant::Refresh { .. });
        let endpoint = &self.endpoint;
        let (scope, audience) = (endpoint.scope.as_deref(), endpoint.audience.as_deref());
        let parts =
            [endpoint.url.as_str(), id.expose(), scope.unwrap_or_default(), audience.unwrap_or_default()];
        let drawer = Drawer::of(self.store.as_ref(), redactor, &parts, &secret);
        let chain =
            refreshes.then(|| Drawer::of_chain(self.store.as_ref(), redactor, &parts, &secret)).flatten();
        self.lock().drawer.clone_from(&drawer);
        // a refresh token is good once: whoever has the turn may have got what is needed here
        let _turn = match self.turn(refreshes, &parts, &secret).await {
            Ok(turn) => turn,
            Err(failed) => return Attempt::Missing(failed),
        };
        let refused = self.lock().rejected;
        if let Some(drawer) = &drawer
            && let Some((token, lasts)) = drawer.take(self.clock.wall().as_secs(), MARGIN.as_secs()).await
            && refused != Some(Digest::of(token.expose().as_bytes()))
        {
            let held = redactor.hold(&token, "access-token");
            return Attempt::Token { token, held, lasts, exchanged: secret };
        }
        let label = if refreshes { "refresh-token" } else { "client-secret" };
        let mut sent = vec![redactor.hold(&secret, label)];
        sent.extend(own.as_ref().map(|own| redactor.hold(own, "client-secret")));
        let account = self.logins.as_ref().and_then(|folder| {
            Account::of(
                folder,
                redactor,
                &[&self.name, self.endpoint.url.as_str(), id.expose()],
                secret.expose(),
            )
        });
        let out = account.is_none() && {
            let state = self.lock();
            state.strikes >= OUT && state.refused.as_ref().is_some_and(|old| old.expose() == secret.expose())
        };
        let name = &self.name;
        if out {
            let message = format!(
                "{name}'s token endpoint refused this client secret {OUT} times; it is not sent again, because the \
                 vendor may lock the account: correct {} and try again",
                self.secret.reference()
            );
            return Attempt::Missing(Failed::new(Kind::UpstreamRefused, message));
        }
        let time = (&self.clock, MARGIN, self.timeout);
        let asking = match sharing::begin(self.logins.as_deref(), &parts, &secret, refused, time).await {
            Ok(Begun::Token(token, lasts, beside)) => {
                if let Some(beside) = beside.filter(|_| refreshes) {
                    refresh::copy(&beside, chain.as_ref()).await;
                }
                let held = redactor.hold(&token, "access-token");
                return Attempt::Token { token, held, lasts, exchanged: secret };
            }
            Ok(Begun::Ask(asking)) => asking,
            Err(failed) => return Attempt::Missing(failed),
        };
        if matches!(self.grant, Grant::Refresh { rotates: true, .. }) && chain.is_none() && asking.is_none() {
            let message = format!(
                "{name}'s token endpoint was not asked: it may hand out another refresh token, and nothing here keeps \
                 that; set [tokens] persist"
            );
            return Attempt::Missing(Failed::new(Kind::ToolFailed, message));
        }
        let link = if refreshes {
            let link = refresh::current(&self.chain, &secret, chain.as_ref(), asking.as_ref()).await;
            if link.spent {
                return Attempt::Missing(self.spent(&link, None));
            }
            sent.push(redactor.hold(&link.token, "refresh-token"));
            Some(link)
        } else {
            None
        };
        let asked = match &link {
            Some(link) => {
                Asked::Refresh { token: link.token.expose(), secret: own.as_ref().map(Secret::expose) }
            }
            None => Asked::Client { secret: secret.expose() },
        };
        let (headers, body) = match self.endpoint.question(id.expose(), &asked, redactor, &mut sent) {
            Ok(question) => question,
            Err(error) => return Attempt::Missing(Failed::of(error)),
        };
        self.lock().sent = sent;
        let permit = match &account {
            None => None,
            Some(account) => match self.permit(account).await {
                Ok(permit) => Some(permit),
                Err(failed) => return Attempt::Missing(failed),
            },
        };
        let said = self.exchange(headers, body).await;
        // first of all: what was handed out cannot be had again, and what was taken is spent
        match (&link, &said) {
            (Some(link), Said::Token { next: Some(next), .. }) if !next.same(&link.token) => {
                let held = redactor.hold(next, "refresh-token");
                let next = link.after(next.clone());
                let kept = refresh::keep(&self.chain, &secret, &next, chain.as_ref(), asking.as_ref()).await;
                self.lock().sent.push(held);
                if !kept {
                    tracing::error!(
                        reference = self.secret.reference(),
                        "a refresh token was replaced by another one that could not be kept: it ends with this process, \
                         and then somebody has to log in anew; set [tokens] persist"
                    );
                }
            }
            (Some(link), Said::Spent(_)) => {
                let spent = Next { spent: true, ..link.clone() };
                refresh::keep(&self.chain, &secret, &spent, chain.as_ref(), asking.as_ref()).await;
            }
            _ => {}
        }
        if let (Some(drawer), Said::Token { token, lasts, .. }) = (&drawer, &said) {
            drawer.put(token, self.clock.wall().as_secs().saturating_add(*lasts)).await;
        }
        if let (Some(asking), Said::Token { token, lasts, .. }) = (asking, &said) {
            asking.share(token, *lasts).await;
        }
        let strikes = match (permit, &said) {
            (None, _) => Ok(None),
            (Some(permit), Said::Token { .. }) => permit.accepted().await.map(|()| None),
            (Some(permit), Said::Refused(_)) => permit.refused(self.clock.wall().as_secs()).await.map(Some),
            (Some(permit), Said::Broken(_) | Said::Spent(_)) => permit.neither().await.map(|()| None),
        };
        match (strikes, said) {
            (Err(error), _) => Attempt::Missing(Failed::of(error)),
            (Ok(_), Said::Token { token, lasts, .. }) => {
                let held = redactor.hold(&token, "access-token");
                Attempt::Token { token, held, lasts, exchanged: secret }
            }
            (Ok(_), Said::Spent(status)) => {
                let link = link.unwrap_or(Next { token: secret, number: 0, spent: true });
                Attempt::Missing(self.spent(&link, Some(status)))
            }
            (Ok(strikes), Said::Refused(failed)) => Attempt::Refused { secret, failed, strikes },
            (Ok(_), Said::Broken(failed)) => Attempt::Broken(failed),
        }
    }

    /// The turn to use a refresh token, among the processes of this machine. Where instances share a store, they take
    /// turns there.
    async fn turn(&self, refreshes: bool, parts: &[&str], seed: &Secret) -> Result<Option<Turn>, Failed> {
        let Some(folder) = self.logins.clone().filter(|_| refreshes) else { return Ok(None) };
        if matches!(*folder, Folder::Shared(_)) {
            return Ok(None);
        }
        let name = Digest::of(format!("{}\0{}", parts.join("\0"), seed.expose()).as_bytes()).hex();
        let turn =
            tokio::task::spawn_blocking(move || folder.lock(&format!("refresh-{}", &name[..16]))).await;
        match turn {
            Ok(Ok(turn)) => Ok(Some(turn)),
            Ok(Err(error)) => Err(Failed::of(error)),
            Err(_) => Err(Failed::interrupted()),
        }
    }

    /// What is said of a refresh token that is of no use any more.
    fn spent(&self, link: &Next, status: Option<u16>) -> Failed {
        let name = &self.name;
        let which =
            if link.number == 0 { "the refresh token" } else { "the refresh token that it handed out last" };
        let said = match status {
            Some(status) => format!("does not take {which} any more (status {status})"),
            None => format!("does not take {which} any more, so it is not sent again"),
        };
        let message = format!(
            "{name}'s token endpoint {said}: it was used by somebody else, revoked, or has ended; log in anew and put the \
             new refresh token at {}",
            self.secret.reference()
        );
        Failed::new(Kind::UpstreamRefused, message)
    }

    /// Asks whether all processes together may try once more.
    async fn permit(&self, account: &Account) -> Result<Try, Failed> {
        let name = &self.name;
        let place = account.place();
        let way_out = format!(
            "correct {} and {}, then remove {place} to be let try at once",
            self.id.reference(),
            self.secret.reference(),
        );
        let patience = self.clock.monotonic() + self.timeout;
        loop {
            let failed = match account.may_try(self.clock.wall().as_secs()).await.map_err(Failed::of)? {
                May::Try(permit) => return Ok(permit),
                May::Never => Failed::new(
                    Kind::UpstreamRefused,
                    format!(
                        "{name}'s token endpoint refused this client secret {OUT} times; it is not sent again, because \
                         the vendor may lock the account: {way_out}"
                    ),
                ),
                May::Wait(wait, strikes) => Failed::new(
                    Kind::UpstreamRefused,
                    format!(
                        "{name}'s token endpoint refused the client credentials {strikes} times in a row, and the \
                         vendor may lock the account: {way_out}"
                    ),
                )
                .until(wait),
                May::Busy if self.clock.monotonic() < patience => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                May::Busy => Failed::new(
                    Kind::UpstreamFailed,
                    format!("other processes are logging in to {name} with the same client id; try again later"),
                ),
            };
            return Err(failed);
        }
    }

    async fn exchange(&self, headers: HeaderMap, body: Bytes) -> Said {
        let name = &self.name;
        let leaving = Leaving { method: Method::POST, url: self.endpoint.url.clone(), headers, body };
        let asked = self.wire.send(leaving, None, LIMIT);
        let answer = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => return Said::Broken(Failed::of(failure.error)),
            Err(_) => {
                let message = format!("{name}'s token endpoint did not answer in time");
                return Said::Broken(Failed::new(Kind::TimedOut, message));
            }
        };
        let broken = |message: String| Said::Broken(Failed::new(Kind::UpstreamFailed, message));
        match answer.status {
            200..=299 => match read_token(&answer.body) {
                Some((token, lasts)) => {
                    let now = self.clock.wall().as_secs();
                    if let Some(what) = token::misfit(&token, now, self.endpoint.audience.as_deref()) {
                        return broken(format!("{name}'s token endpoint answered a token that {what}"));
                    }
                    let lasts = token::stated(&token, now).map_or(lasts, |stated| lasts.min(stated));
                    self.lock().granted = granted::answered(&answer.body);
                    let next = refresh::handed_out(&answer.body);
                    Said::Token { token, lasts, next }
                }
                None => broken(format!("{name}'s token endpoint answered something that is not a token")),
            },
            status @ 400..=499
                if matches!(self.grant, Grant::Refresh { .. }) && refresh::is_spent(&answer.body) =>
            {
                Said::Spent(status)
            }
            400..=499 if answer.status != 429 && answer.status != 408 => {
                let message = format!(
                    "{name}'s token endpoint refused the client credentials (status {}); check {} and {}",
                    answer.status,
                    self.id.reference(),
                    self.secret.reference()
                );
                Said::Refused(Failed::new(Kind::UpstreamRefused, message))
            }
            status => {
                let asked = retry::retry_after(&answer.headers, self.clock.wall());
                let hint =
                    asked.map_or(String::new(), |wait| format!(" and asks to wait {} s", wait.as_secs()));
                broken(format!("{name}'s token endpoint is out of order (status {status}){hint}"))
            }
        }
    }
}
