//! Who may agree to what.
//!
//! Owns [`Way`] and the terms of an agreement. The idea: the effect of a call and who asked for it say what an
//! agreement needs; that is worked out from the configuration and the enrolled keys each time, when somebody decides and
//! again when the grant is taken, so that neither a file nor an order of events can lower it.
//!
//! Must not: ask, or sign.

use std::fs;

use super::operator::{self, Signed};
use super::record::{Party, Record};
use super::{Approvals, Channel, SecondFactor};
use crate::error::{Error, Kind, Result};
use crate::ownership;
use crate::principal::{Principal, PrincipalKind};

/// How the name of a record begins that says which policy was accepted.
const ACCEPTED: &str = "policy-";

/// What an agreement has to keep to.
pub(super) struct Terms {
    /// Who may not agree: the people who asked.
    pub(super) people: Vec<String>,
    /// Whether a second factor is due.
    pub(super) factor: bool,
    /// Who asked.
    pub(super) asker: Party,
}

/// Who can be asked about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// Whether the caller's own client is asked first.
    pub client: bool,
    /// Who else can be asked: an operator or an approver on the page.
    pub desk: Option<Channel>,
}

/// One sentence for whatever a client could otherwise agree to.
pub(super) fn beyond_clients() -> Error {
    Error::new(
        Kind::NeedsApproval,
        "This call needs a second factor, and no client is asked for that; an operator has to agree.",
    )
}

/// The sentence for a call that nobody can be asked about.
pub(crate) fn nobody() -> Error {
    Error::new(
        Kind::NeedsApproval,
        "A person would have to agree to this, and there is nobody to ask: no operator is enrolled, and no other \
         channel is configured. Enrol one with `bartizan approvals enrol NAME`, then make the same call again.",
    )
}

impl Approvals {
    /// Who can be asked about a call of that effect, where `client` says whether the caller's own client could be; an
    /// error where nobody can, or where a second factor is due that nobody has.
    pub fn way(&self, effect: &str, client: bool) -> Result<Way> {
        let factor = self.factor_due(effect)?;
        let client = client && !factor;
        let (mut asks_client, mut desk) = (false, None);
        for channel in &self.config.channels {
            match channel {
                Channel::Client => asks_client = client && desk.is_none(),
                Channel::Operator if desk.is_none() && self.has_operators()? => desk = Some(*channel),
                Channel::Webhook if desk.is_none() && self.config.webhook.is_some() => desk = Some(*channel),
                Channel::Operator | Channel::Webhook => {}
            }
        }
        if asks_client || desk.is_some() { Ok(Way { client: asks_client, desk }) } else { Err(nobody()) }
    }

    fn has_operators(&self) -> Result<bool> {
        self.operators().map(|names| !names.is_empty())
    }

    pub(super) fn terms(&self, principal: &Principal, effect: &str) -> Result<Terms> {
        Ok(Terms {
            people: self.people(principal),
            factor: self.factor_due(effect)?,
            asker: self.party(principal),
        })
    }

    /// The terms of a record, as far as it tells them.
    pub(super) fn terms_of(&self, record: &Record) -> Terms {
        Terms {
            people: if self.config.self_approval { Vec::new() } else { record.people.clone() },
            factor: self.factor_due(&record.shown.effect).unwrap_or(true),
            asker: record.asker.clone(),
        }
    }

    /// Whether an agreement to a call of that effect needs a second factor. An error where it does and nobody has one.
    fn factor_due(&self, effect: &str) -> Result<bool> {
        let enrolled = || self.has_factors();
        match self.config.second_factor {
            SecondFactor::Off => Ok(false),
            SecondFactor::Destroy if effect != "destroy" => Ok(false),
            SecondFactor::Destroy | SecondFactor::Always if enrolled()? => Ok(true),
            SecondFactor::Destroy if self.stands_apart() => Ok(false),
            SecondFactor::Destroy => Err(Error::new(
                Kind::NeedsApproval,
                "Calls that destroy need a second factor here, because whatever runs as this user could enrol an operator \
                 of its own. Enrol one with `bartizan approvals factor enrol NAME`, or let another user own the \
                 directory of operators ([approvals] operators); then make the same call again.",
            )),
            SecondFactor::Always => Err(Error::new(
                Kind::NeedsApproval,
                "Every approval needs a second factor here, and nobody has one; enrol one with `bartizan approvals factor \
                 enrol NAME`, then make the same call again.",
            )),
        }
    }

    /// Whether an act of an operator that is no approval (a key, the end of a freeze) needs a second factor.
    pub fn factor_for_acts(&self) -> Result<bool> {
        match self.config.second_factor {
            SecondFactor::Off => Ok(false),
            SecondFactor::Destroy => self.has_factors(),
            SecondFactor::Always => self.factor_due("destroy"),
        }
    }

    /// Whether an operator, and nobody without a second factor, has to accept the policy that holds. Where one did once,
    /// a directory of operators that is empty, or cannot be read, changes nothing about that.
    pub fn guards_policy(&self) -> Result<bool> {
        let accepted = || Ok(self.factors.names()?.iter().any(|name| name.starts_with(ACCEPTED)));
        Ok(self.has_factors()? && (accepted()? || self.has_operators()?))
    }

    /// The name of what says, beside the second factors, which policy was accepted for a profile.
    pub fn accepted_as(profile: &str) -> String {
        format!("{ACCEPTED}{profile}.json")
    }

    /// Whether the public keys of operators belong to another user, and this one cannot change them: then nothing that
    /// runs as this user can make an operator of its own.
    pub fn stands_apart(&self) -> bool {
        ownership::is_apart(&self.operators)
    }

    /// The people behind a caller, where they may not agree to what they ask for: over HTTP, unless the configuration
    /// says that one person does both. Whoever sits at this machine is the operator, mostly, and is not meant.
    fn people(&self, principal: &Principal) -> Vec<String> {
        if self.config.self_approval {
            return Vec::new();
        }
        match principal.kind {
            PrincipalKind::Local | PrincipalKind::Process | PrincipalKind::Anonymous => Vec::new(),
            PrincipalKind::ApiKey | PrincipalKind::Token | PrincipalKind::Certificate => {
                self.names_of(principal)
            }
        }
    }

    /// The names that a caller goes by: its own, that of whoever answers for it, and those that the configuration knows.
    pub(super) fn names_of(&self, principal: &Principal) -> Vec<String> {
        let mut names = vec![principal.id.to_string()];
        names.extend(principal.owner.as_ref().map(ToString::to_string));
        names.extend(principal.id.split_once(':').map(|(_, name)| name.to_owned()));
        if principal.kind == PrincipalKind::Token {
            names.extend(principal.id.splitn(3, ':').nth(2).map(str::to_owned));
        }
        let known = self.config.people.iter();
        let among = |name: &String| names.iter().any(|one| is_same(one, name));
        let known = known.filter(|(name, ids)| among(name) || ids.iter().any(among));
        let known: Vec<String> = known.map(|(name, _)| name.clone()).collect();
        names.extend(known);
        names
    }

    /// What a caller is compared by.
    pub(super) fn party(&self, principal: &Principal) -> Party {
        let names = self.names_of(principal);
        let listed = |(name, ids): (&String, &Vec<String>)| {
            ids.iter().chain([name]).any(|known| names.iter().any(|one| is_same(one, known)))
        };
        Party {
            kind: Some(principal.kind),
            tenant: principal.tenant.clone(),
            issuer: principal.issuer.as_ref().map(ToString::to_string),
            known: principal.owner.is_some() || self.config.people.iter().any(listed),
            names,
        }
    }

    /// Why this one may not agree to what was asked on these terms, if it may not. Where two came in by different ways and
    /// one of them could be anybody, nothing says that they are two people.
    pub(super) fn bars(&self, terms: &Terms, by: &Party) -> Option<&'static str> {
        if by.kind.is_some() && !by.shares_tenant(&terms.asker) {
            return Some("Nobody agrees to the calls of another tenant.");
        }
        if by.names.iter().any(|name| self.is_one_of(&terms.people, name)) {
            return Some(
                "Whoever asked cannot agree: another person has to. Where one person does both on purpose, set \
                 `self_approval = true` under [approvals].",
            );
        }
        let apart = match (by.kind, terms.asker.kind) {
            (Some(by), Some(asker)) => by != asker,
            _ => false,
        };
        if apart && !terms.people.is_empty() && !(by.known && terms.asker.known) {
            return Some(
                "It cannot be told whether the caller and the approver are two people, because one of them came in with a \
                 token and nothing says whose it is: name both under [approvals.people].",
            );
        }
        None
    }

    /// Whose second factor a principal shows on the page.
    pub(super) fn person(&self, principal: &Principal) -> String {
        let known = self.config.people.iter().find(|(_, ids)| ids.iter().any(|id| **id == *principal.id));
        let named = || principal.id.split_once(':').map_or(&*principal.id, |(_, name)| name);
        known.map_or_else(|| named().to_ascii_lowercase(), |(name, _)| name.clone())
    }

    /// Whether a name, of an operator or of a principal on the page, is one of the people who asked.
    pub(super) fn is_one_of(&self, people: &[String], name: &str) -> bool {
        let is = |known: &str| people.iter().any(|person| is_same(person, known));
        let person = name.split_once(':').map_or(name, |(_, name)| name);
        let same = |(operator, ids): (&String, &Vec<String>)| {
            (is_same(operator, name) || ids.iter().any(|id| is_same(id, name)))
                && (is(operator) || ids.iter().any(|id| is(id)))
        };
        is(name) || is(person) || self.config.people.iter().any(same)
    }

    /// Whether an agreement keeps to the terms.
    pub(super) fn keeps(&self, signed: &Signed, terms: &Terms) -> bool {
        let by = match (&signed.by, signed.page) {
            (Some(by), _) => by.clone(),
            (None, true) => return false,
            (None, false) => Party::default(),
        };
        self.bars(terms, &by).is_none()
            && !self.is_one_of(&terms.people, &signed.operator)
            && (!terms.factor || signed.factor.is_some())
    }

    /// Whether what is written down was said by somebody who may: an operator's key signed it, or this server, where it
    /// has an approval page.
    pub(super) fn proves(&self, signed: &Signed, binding: &str, shown: &str) -> Result<bool> {
        if signed.page {
            return Ok(self.config.has_page() && signed.is_ours(&self.instance, binding, shown));
        }
        if !self.config.channels.contains(&Channel::Operator) || !operator::is_name(&signed.operator) {
            return Ok(false);
        }
        match fs::read(self.operators.join(format!("{}.pub", signed.operator))) {
            Ok(public) => Ok(signed.verify(&public, binding, shown)),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(cause) => {
                let message = "An operator's public key cannot be read; check the directory of operators.";
                Err(Error::new(Kind::Internal, message).with_source(cause))
            }
        }
    }
}

/// Whether two names are one person's: `anna@example.com` is `Anna`, too, as a key's owner may be written.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |name: &str, mail: &str| {
        !name.contains(['@', ':'])
            && !mail.contains(':')
            && mail.split_once('@').is_some_and(|(local, _)| local.eq_ignore_ascii_case(name))
    };
    one.eq_ignore_ascii_case(other) || plain(one, other) || plain(other, one)
}
