//! `bartizan approvals`.
//!
//! Owns the operator's side of an approval. The idea: the operator sees what the server rendered, and signs a decision
//! about exactly that with a key that only a passphrase opens. What an operator does is in the audit before it is done.
//!
//! Must not: decide without showing, or act without a line.

use std::time::Duration;

use super::args::{ApprovalAction, Approvals as Typed, OperatorFlags};
use super::factor;
use super::operator::{Log, operator, passphrase, second_factor};
use super::screen::{Screen, Tone};
use super::settings;
use crate::approvals::{Approvals, Decision, Listed, Status, line as plain, sheet, visible};
use crate::clock::rfc3339;
use crate::error::Result;
use crate::json::{Value, json};

pub(super) fn run(typed: &Typed, screen: Screen) -> Result<()> {
    let config = settings::file(typed.state.config.as_deref())?;
    let approvals = crate::app::approvals(&config)?;
    let as_json = typed.state.json;
    match &typed.action {
        ApprovalAction::List => list(&approvals, as_json, screen),
        ApprovalAction::Show { id } => {
            show(&approvals.show(id)?, as_json, screen);
            Ok(())
        }
        ApprovalAction::Approve { id, key } => {
            let log = Log::open(config)?;
            decide(&approvals, &log, (id, Decision::Approve), key, as_json, screen)
        }
        ApprovalAction::Refuse { id, key } => {
            let log = Log::open(config)?;
            decide(&approvals, &log, (id, Decision::Refuse), key, as_json, screen)
        }
        ApprovalAction::Factor { action } => factor::run(&approvals, action, config, as_json, screen),
        ApprovalAction::Enrol { name, key } => {
            let log = Log::open(config)?;
            enrol(&approvals, &log, name, key, as_json, screen)
        }
    }
}

fn list(approvals: &Approvals, as_json: bool, screen: Screen) -> Result<()> {
    let all = approvals.list()?;
    if as_json {
        screen.json(&readable(json!({"approvals": all})));
        return Ok(());
    }
    for one in &all {
        let tone = match one.status {
            Status::Pending => Tone::Strong,
            Status::Approved | Status::Used | Status::Carried => Tone::Good,
            Status::Refused | Status::Expired | Status::Void | Status::Unknown => Tone::Note,
        };
        let shown = &one.record.shown;
        screen.line(&format!(
            "{}  {}  {} by {}",
            screen.paint(Tone::Strong, &plain(&one.record.id)),
            screen.paint(tone, &format!("{:<8}", one.status.name())),
            plain(&shown.tool),
            plain(&shown.principal)
        ));
    }
    if all.is_empty() {
        screen.note("Nothing waits and nothing was decided.");
    }
    Ok(())
}

/// What hides, made visible in every text of a JSON document.
fn readable(mut value: Value) -> Value {
    fn walk(value: &mut Value) {
        match value {
            Value::String(text) => *text = visible(text),
            Value::Array(items) => items.iter_mut().for_each(walk),
            Value::Object(members) => {
                *members = std::mem::take(members)
                    .into_iter()
                    .map(|(name, mut member)| {
                        walk(&mut member);
                        (visible(&name), member)
                    })
                    .collect();
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    walk(&mut value);
    value
}

fn show(one: &Listed, as_json: bool, screen: Screen) {
    if as_json {
        screen.json(&readable(serde_json::to_value(one).unwrap_or(Value::Null)));
        return;
    }
    let row = |name: &str, value: &str| {
        screen.line(&format!("{} {value}", screen.paint(Tone::Note, &format!("{name:<10}"))));
    };
    row("id", &plain(&one.record.id));
    row("status", one.status.name());
    row("until", &rfc3339(Duration::from_millis(one.record.expires)));
    row("policy", &plain(&one.record.policy));
    if let Some(by) = &one.by {
        let beside = one.factor.map(|factor| format!(" (second factor: {})", factor.name()));
        row("decided by", &format!("{}{}", plain(by), beside.unwrap_or_default()));
    }
    for one_row in sheet(&one.record, one.arguments.as_deref()) {
        if one_row.long {
            screen.line(&screen.paint(Tone::Note, &format!("{}:", one_row.name)));
            screen.line(&one_row.text);
        } else if one_row.warns {
            row(one_row.name, &screen.paint(Tone::Bad, &one_row.text));
        } else {
            row(one_row.name, &one_row.text);
        }
    }
    if one.arguments.is_none() {
        screen.line(
            &screen.paint(Tone::Bad, "The rest is missing or was changed, so this can only be refused."),
        );
    }
}

fn decide(
    approvals: &Approvals,
    log: &Log,
    (id, decision): (&str, Decision),
    flags: &OperatorFlags,
    as_json: bool,
    screen: Screen,
) -> Result<()> {
    let listed = approvals.show(id)?;
    if !as_json {
        show(&listed, false, screen);
    }
    let name = operator(approvals, flags)?;
    let passphrase = passphrase(flags, &format!("Passphrase of operator {name}: "), false)?;
    let act = match decision {
        Decision::Approve => "approval approved",
        Decision::Refuse => "approval refused",
    };
    let (record, shown) = (&listed.record, &listed.record.shown);
    let mut detail = json!({
        "operator": name,
        "approval": record.id,
        "tool": shown.tool,
        "effect": shown.effect,
        "principal": shown.principal,
    });
    let unlocked = approvals.operator(&name, None, &passphrase);
    let operator = log.noting(act, &detail, unlocked)?;
    let due = decision == Decision::Approve && approvals.needs_factor(record);
    let shown_factor = second_factor(approvals, log, (&name, &passphrase), flags, due);
    let factor = log.noting(act, &detail, shown_factor)?;
    if let Some(factor) = factor {
        detail["factor"] = json!(factor.name());
    }
    let operator = operator.with_factor(factor);
    log.act(act, &detail, || approvals.decide(&listed, decision, &operator))?;
    let done = approvals.show(id)?;
    if as_json {
        screen.json(&readable(serde_json::to_value(&done).unwrap_or(Value::Null)));
    } else {
        let (tone, word) = match decision {
            Decision::Approve => (Tone::Good, "approved: the caller may repeat exactly this call, once"),
            Decision::Refuse => (Tone::Bad, "refused"),
        };
        screen.line(&screen.paint(tone, word));
    }
    Ok(())
}

fn enrol(
    approvals: &Approvals,
    log: &Log,
    name: &str,
    flags: &OperatorFlags,
    as_json: bool,
    screen: Screen,
) -> Result<()> {
    let passphrase = passphrase(flags, "Passphrase for the new key: ", true)?;
    let enrolled = log
        .act("operator enrolled", &json!({"operator": name}), || approvals.enrol(name, &passphrase, None))?;
    if as_json {
        screen.json(&serde_json::to_value(&enrolled).unwrap_or(Value::Null));
        return Ok(());
    }
    screen.line(&format!("{name} may decide approvals from now on."));
    screen.line(&format!(
        "private half  {} (encrypted; keep it where the server's user cannot read it)",
        enrolled.key.display()
    ));
    screen.line(&format!("public half   {}", enrolled.public.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cannot_write_to_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[2J\nstatus   approved\u{202e}"),
            "a<U+001B>[2J<U+000A>status   approved<U+202E>"
        );
        let shown = readable(json!({"to\u{200b}ol": ["x\u{202e}y", 1, {"z": "\u{7f}"}]})).to_string();
        assert_eq!(shown, r#"{"to<U+200B>ol":["x<U+202E>y",1,{"z":"<U+007F>"}]}"#);
    }
}
