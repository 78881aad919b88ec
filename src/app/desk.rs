//! The approval page.
//!
//! Owns what is shown at `/approvals/ID`, and what a form sent from there does. The idea: a look shows, and nothing else,
//! whoever looks (a mail program that follows links, too); a decision is a form that this approver was shown about this
//! approval, sent once, with a second factor where one is due, and is in the audit before it holds.
//!
//! Must not: let the requester agree, or show anything to who is no approver.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::approvals::{Approvals, Decision, Listed, Proven, Status, sheet};
use crate::audit::{Audit, Event};
use crate::clock::rfc3339;
use crate::error::{Error, Kind, Result};
use crate::json::json;
use crate::principal::Principal;
use crate::transport::BoxFuture;
use crate::transport::pages::{Page, Pages, Visit, escape};

/// Shows approvals and takes decisions.
pub(super) struct Desk {
    pub(super) approvals: Arc<Approvals>,
    pub(super) audit: Arc<Audit>,
}

impl Pages for Desk {
    fn visit(&self, visit: Visit) -> BoxFuture<'_, Page> {
        Box::pin(async move {
            let Visit { principal, name, form } = visit;
            match form {
                None => self.look(&principal, &name).await,
                Some(form) => self.decide(&principal, &name, form).await,
            }
        })
    }
}

fn page(status: u16, title: &str, html: String) -> Page {
    Page { status, title: title.to_owned(), html, go: None }
}

/// A sentence of ours, alone on a page.
fn said(status: u16, title: &str, sentence: &str) -> Page {
    page(status, title, format!("<h1>{}</h1><p>{}</p>", escape(title), escape(sentence)))
}

fn unknown() -> Page {
    said(404, "No such approval", "There is no approval of this name, or it is long over.")
}

impl Desk {
    async fn on_files<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Approvals) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let approvals = self.approvals.clone();
        tokio::task::spawn_blocking(move || work(&approvals)).await.map_err(|cause| {
            Error::new(Kind::Internal, "The approvals could not be looked at.").with_source(cause)
        })?
    }

    /// The approval, for somebody who may see it.
    async fn listed(&self, principal: &Principal, id: &str) -> Result<Listed, Page> {
        if !self.approvals.is_approver(principal) {
            self.audit.note(Event::Refused, &json!({"what": "no approver", "principal": principal.id}));
            return Err(said(
                403,
                "No approver",
                "This caller may not decide about approvals: it needs the role approver, or a place in [approvals] \
                 approvers.",
            ));
        }
        let id = id.to_owned();
        let listed = self.on_files(move |approvals| approvals.show(&id)).await.map_err(|_| unknown())?;
        if !self.approvals.may_see(&listed, principal) {
            self.audit.note(
                Event::Refused,
                &json!({"what": "approval of another tenant", "principal": principal.id}),
            );
            return Err(unknown());
        }
        Ok(listed)
    }

    async fn look(&self, principal: &Principal, id: &str) -> Page {
        let listed = match self.listed(principal, id).await {
            Ok(listed) => listed,
            Err(page) => return page,
        };
        let why_not = self.approvals.why_not(&listed, principal);
        let factor = self.approvals.needs_factor(&listed.record);
        let mut html = drawn(&listed);
        if matches!(listed.status, Status::Pending | Status::Approved) {
            let token = self.approvals.form_token(&listed, principal);
            html.push_str(&form(&listed, &token, why_not, factor));
        }
        page(200, &format!("Approval {}", listed.record.id), html)
    }

    async fn decide(&self, principal: &Principal, id: &str, form: Vec<(String, String)>) -> Page {
        let listed = match self.listed(principal, id).await {
            Ok(listed) => listed,
            Err(page) => return page,
        };
        let field = |name: &str| {
            let mut found = form.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
            found.next().filter(|_| found.next().is_none()).unwrap_or_default()
        };
        if !self.approvals.is_form_token(field("token"), &listed, principal) {
            self.audit.note(
                Event::Refused,
                &json!({"what": "approval form that was not shown", "principal": principal.id}),
            );
            return said(
                409,
                "Look again",
                "This form is too old, or the approval has changed or was decided since it was shown; nothing was done. \
                 Go back and look at it again.",
            );
        }
        let decision = match (field("decision"), listed.status) {
            ("approve", Status::Pending) => Decision::Approve,
            ("refuse", Status::Pending | Status::Approved) => Decision::Refuse,
            _ => return said(409, "Nothing to decide", "This cannot be decided any more; nothing was done."),
        };
        match self.done(principal, listed, decision, field("code")).await {
            Ok(id) => Page {
                status: 303,
                title: String::new(),
                html: String::new(),
                go: Some(format!("/approvals/{id}")),
            },
            Err(error) => {
                let status = if error.kind() == Kind::Internal { 500 } else { 403 };
                said(status, "Not done", error.message())
            }
        }
    }

    async fn done(
        &self,
        principal: &Principal,
        listed: Listed,
        decision: Decision,
        code: &str,
    ) -> Result<String> {
        let record = &listed.record;
        let (act, approve) = match decision {
            Decision::Approve => ("approval approved", true),
            Decision::Refuse => ("approval refused", false),
        };
        let mut detail = json!({
            "approver": principal.id, "on": "page", "approval": record.id, "tool": record.shown.tool,
            "effect": record.shown.effect, "principal": record.shown.principal,
        });
        let factor = if approve && (self.approvals.needs_factor(record) || !code.is_empty()) {
            let factor = self.factor(principal, code).await?;
            detail["factor"] = json!(factor.name());
            Some(factor)
        } else {
            None
        };
        if approve && let Some(why) = self.approvals.why_not(&listed, principal) {
            return Err(Error::new(Kind::Forbidden, why));
        }
        self.audit.event(act, &detail).await?;
        let (id, principal) = (record.id.clone(), principal.clone());
        self.on_files(move |approvals| approvals.decide_on_page(&listed, decision, &principal, factor))
            .await?;
        Ok(id)
    }

    async fn factor(&self, principal: &Principal, code: &str) -> Result<Proven> {
        let (name, code) = (self.approvals.factor_name(principal), code.to_owned());
        let whose = name.clone();
        let shown = self.on_files(move |approvals| approvals.check_factor(&whose, None, &code)).await;
        if let Err(error) = &shown
            && error.kind() == Kind::Unauthenticated
        {
            let kept = self.on_files(move |approvals| approvals.second_factor(&name)).await?;
            let event = if kept.as_ref().is_some_and(|kept| kept.locked) {
                Event::FactorLocked
            } else {
                Event::FactorFailed
            };
            let left = kept.map(|kept| kept.tries_left);
            self.audit.event(event, &json!({"who": principal.id, "left": left})).await?;
        }
        shown
    }
}

/// The rows that the terminal shows, too.
fn drawn(listed: &Listed) -> String {
    let record = &listed.record;
    let mut html = format!("<h1>May this run once?</h1><dl><dt>status</dt><dd>{}", listed.status.name());
    if let Some(by) = &listed.by {
        let _ = write!(html, " by {}", escape(by));
    }
    let until = rfc3339(Duration::from_millis(record.expires));
    let _ = write!(html, "</dd><dt>until</dt><dd>{until}</dd>");
    for row in sheet(record, listed.arguments.as_deref()) {
        let (open, close) = if row.long { ("<pre>", "</pre>") } else { ("", "") };
        let class = if row.warns { " class=\"warns\"" } else { "" };
        let _ = write!(html, "<dt>{}</dt><dd{class}>{open}{}{close}</dd>", row.name, escape(&row.text));
    }
    if listed.arguments.is_none() {
        html.push_str(
            "<dt>but</dt><dd class=\"warns\">the rest of the arguments is missing or was changed, so this can only be \
             refused</dd>",
        );
    }
    html.push_str("</dl>");
    html
}

fn form(listed: &Listed, token: &str, why_not: Option<&str>, factor: bool) -> String {
    let id = &listed.record.id;
    let mut html = format!(
        "<form method=\"post\" action=\"/approvals/{id}\" autocomplete=\"off\"><input type=\"hidden\" name=\"token\" \
         value=\"{token}\">"
    );
    let can_approve = listed.status == Status::Pending && listed.arguments.is_some() && why_not.is_none();
    if let Some(why) = why_not {
        let _ = write!(html, "<p class=\"warns\">{}</p>", escape(why));
    }
    if can_approve {
        if factor {
            html.push_str(
                "<p><label>Code of your second factor: <input name=\"code\" inputmode=\"numeric\" \
                 autocomplete=\"one-time-code\" maxlength=\"24\"></label></p>",
            );
        }
        html.push_str("<button name=\"decision\" value=\"approve\">Let it run once</button>");
    }
    html.push_str("<button name=\"decision\" value=\"refuse\">Refuse</button></form>");
    html
}
