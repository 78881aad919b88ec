//! The operator's side.
//!
//! Owns enrolling, listing, showing and deciding. The idea: the command line reads the same records as the server and
//! leaves a signed decision beside them; it needs the passphrase, the server never does.
//!
//! Must not: grant anything by itself.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::factor::Proven;
use super::operator::{self, Decision, Operator, Signed, Testimony};
use super::record::{Party, Record, Status};
use super::{Approvals, is_id, named};
use crate::error::{Error, Kind, Result};
use crate::json::Digest;
use crate::ownership;
use crate::principal::Principal;
use crate::secret::Secret;

/// An approval and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The record.
    #[serde(flatten)]
    pub record: Record,
    /// Where it stands.
    pub status: Status,
    /// Who decided, if somebody did.
    pub by: Option<String>,
    /// The second factor that was shown with the decision, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<Proven>,
    /// All the arguments, where one approval is shown: redacted, and what hides made visible.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// Where the halves of a new key are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Enrolled {
    /// The locked private half; the operator keeps it.
    pub key: PathBuf,
    /// The public half; the server reads it.
    pub public: PathBuf,
}

impl Approvals {
    /// Makes a key for an operator. The locked private half goes to `key`, or `NAME.key` among the operators. An
    /// operator that exists already is refused.
    pub fn enrol(&self, name: &str, passphrase: &Secret, key: Option<&Path>) -> Result<Enrolled> {
        let (private, public) = operator::enrol(name, passphrase)?;
        let public_path = self.operators.join(format!("{name}.pub"));
        let key_path = key.map_or_else(|| self.operators.join(format!("{name}.key")), Path::to_path_buf);
        write_new(&public_path, &public)?;
        if let Err(error) = write_new(&key_path, &private) {
            let _ = fs::remove_file(&public_path);
            return Err(error);
        }
        Ok(Enrolled { key: key_path, public: public_path })
    }

    /// The names of the enrolled operators, sorted.
    pub fn operators(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.operators).map_err(|cause| {
            Error::new(
                Kind::BadConfig,
                "The directory of operators cannot be read; check [approvals] operators.",
            )
            .with_source(cause)
        })?;
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok()?.strip_suffix(".pub").map(String::from))
            .filter(|name| operator::is_name(name))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Unlocks an operator's key: the file at `key`, or `NAME.key` among the operators.
    pub fn operator(&self, name: &str, key: Option<&Path>, passphrase: &Secret) -> Result<Operator> {
        if !operator::is_name(name) {
            return Err(Error::new(
                Kind::BadConfig,
                "That is no operator's name; see the list of operators.",
            ));
        }
        let path = key.map_or_else(|| self.operators.join(format!("{name}.key")), Path::to_path_buf);
        let bytes = fs::read(&path).map_err(|cause| {
            Error::new(
                Kind::BadConfig,
                format!("There is no operator key at {}; run bartizan approvals enrol.", path.display()),
            )
            .with_source(cause)
        })?;
        let operator = Operator::unlock(&bytes, passphrase)?;
        if operator.name() != name {
            return Err(Error::new(
                Kind::BadConfig,
                "The key file belongs to another operator; name that one.",
            ));
        }
        Ok(operator)
    }

    /// Whether an enrolled operator signed this statement. It holds from then on: a second factor is asked for when it is
    /// signed, and one that is enrolled later takes nothing back.
    pub fn attests(&self, proof: &Testimony, statement: &str) -> bool {
        operator::is_name(&proof.operator)
            && fs::read(self.operators.join(format!("{}.pub", proof.operator)))
                .is_ok_and(|public| proof.verify(&public, statement))
    }

    /// Every approval, newest first.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for file in self.files.names()? {
            let Some(one) = named(&file) else { continue };
            if let Some(record) = self.record(&one)? {
                all.push(self.listed(record, one.state)?);
            }
        }
        all.sort_by(|left, right| {
            right.record.created.cmp(&left.record.created).then_with(|| left.record.id.cmp(&right.record.id))
        });
        Ok(all)
    }

    /// One approval.
    pub fn show(&self, id: &str) -> Result<Listed> {
        let id = id.trim().to_ascii_lowercase();
        let unknown =
            || Error::new(Kind::BadConfig, "There is no approval of that id; see bartizan approvals list.");
        if !is_id(&id) {
            return Err(unknown());
        }
        for file in self.files.names()? {
            let Some(one) = named(&file).filter(|one| one.id == id) else { continue };
            if let Some(record) = self.record(&one)? {
                let mut listed = self.listed(record, one.state)?;
                listed.arguments = self.arguments(&listed.record)?;
                return Ok(listed);
            }
        }
        Err(unknown())
    }

    /// All the arguments; none if what lies beside the record is not what belongs to it.
    fn arguments(&self, record: &Record) -> Result<Option<String>> {
        let Some(whole) = &record.shown.whole else { return Ok(Some(record.shown.arguments.clone())) };
        let text = self.files.read(&format!("{}.arguments", record.id))?;
        Ok(text
            .filter(|text| Digest::of(text).hex() == whole.digest)
            .and_then(|text| String::from_utf8(text).ok()))
    }

    pub(super) fn listed(&self, record: Record, state: &str) -> Result<Listed> {
        let signed = self
            .files
            .read(&format!("{}.decision", record.id))?
            .and_then(|bytes| serde_json::from_slice::<Signed>(&bytes).ok())
            .filter(|signed| {
                // Only a decision that the server would accept counts; it checks the binding against the call itself.
                let terms = self.terms_of(&record);
                signed.id == record.id
                    && self.proves(signed, &record.binding, &record.shown.digest().hex()).unwrap_or(false)
                    && (signed.decision == Decision::Refuse || self.keeps(signed, &terms))
            });
        let status = match (state, &signed) {
            ("pending", _) if !self.is_open(&record) => Status::Expired,
            ("pending", None) => Status::Pending,
            ("pending", Some(signed)) if signed.decision == Decision::Approve => Status::Approved,
            ("pending" | "refused", _) => Status::Refused,
            ("used", _) => Status::Used,
            ("carried", _) => Status::Carried,
            ("void", _) => Status::Void,
            _ => Status::Unknown,
        };
        let factor = signed.as_ref().and_then(|signed| signed.factor);
        let by = signed.map(|signed| signed.operator);
        Ok(Listed { record, status, by, factor, arguments: None })
    }

    /// Signs a decision about exactly the record that was shown. Only what is pending or decided otherwise, and has
    /// not expired, can be decided; and nothing can be agreed to that could not be shown in full, by whoever asked for
    /// it, or without a second factor where one is due.
    pub fn decide(&self, shown: &Listed, decision: Decision, operator: &Operator) -> Result<()> {
        let by = Party { names: vec![operator.name().to_owned()], ..Party::default() };
        self.write_down(shown, decision, &by, operator.factor(), |record, at| {
            operator.sign(record, decision, at)
        })
    }

    /// Whether an agreement to this needs a second factor.
    pub fn needs_factor(&self, record: &Record) -> bool {
        self.terms_of(record).factor
    }

    /// The same for a principal whom the page let in.
    pub fn decide_on_page(
        &self,
        shown: &Listed,
        decision: Decision,
        principal: &Principal,
        factor: Option<Proven>,
    ) -> Result<()> {
        let by = self.party(principal);
        if !self.may_see(shown, principal) {
            return Err(Error::new(Kind::Forbidden, "Nobody decides about the calls of another tenant."));
        }
        self.write_down(shown, decision, &by, factor, |record, at| {
            Signed::on_page(&self.instance, record, (&principal.id, by.clone()), decision, at, factor)
        })
    }

    fn write_down(
        &self,
        shown: &Listed,
        decision: Decision,
        by: &Party,
        factor: Option<Proven>,
        sign: impl FnOnce(&Record, u64) -> Signed,
    ) -> Result<()> {
        let record = &shown.record;
        if decision == Decision::Approve {
            self.may_agree(shown, by, factor)?;
        }
        let _lock = self.files.lock("approvals")?;
        let current = self.show(&record.id)?;
        if current.record != *record {
            return Err(Error::new(
                Kind::Forbidden,
                "The approval has changed since it was shown; look at it again.",
            ));
        }
        if decision == Decision::Approve && current.status != shown.status {
            return Err(Error::new(
                Kind::Forbidden,
                "Somebody else has decided since the approval was shown; look at it again.",
            ));
        }
        if !matches!(current.status, Status::Pending | Status::Approved | Status::Refused)
            || !self.is_open(record)
        {
            return Err(Error::new(
                Kind::Forbidden,
                format!("The approval is {} and cannot be decided any more.", current.status.name()),
            ));
        }
        let bytes = serde_json::to_vec_pretty(&sign(record, self.now())).map_err(|cause| {
            Error::new(Kind::Internal, "A decision could not be written down.").with_source(cause)
        })?;
        self.files.write(&format!("{}.decision", record.id), &bytes)
    }

    fn may_agree(&self, shown: &Listed, by: &Party, factor: Option<Proven>) -> Result<()> {
        if shown.arguments.is_none() {
            return Err(Error::new(
                Kind::Forbidden,
                "The arguments of this approval cannot be shown in full (their file is missing or was changed), so \
                 nobody can agree to them; refuse it, and let the call be made again.",
            ));
        }
        let terms = self.terms_of(&shown.record);
        if let Some(why) = self.bars(&terms, by) {
            return Err(Error::new(Kind::Forbidden, why));
        }
        if terms.factor && factor.is_none() {
            return Err(Error::new(
                Kind::Forbidden,
                "This call needs a second factor beside the passphrase; enrol one with: bartizan approvals factor \
                 enrol NAME.",
            ));
        }
        Ok(())
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |cause: std::io::Error| {
        let shown = path.display();
        let message = if cause.kind() == std::io::ErrorKind::AlreadyExists {
            format!("{shown} exists already; choose another name, or remove it first.")
        } else {
            format!("{shown} cannot be written; check the directory.")
        };
        Error::new(Kind::BadConfig, message).with_source(cause)
    };
    let mut file =
        ownership::private(OpenOptions::new().create_new(true).write(true)).open(path).map_err(fail)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)
}
