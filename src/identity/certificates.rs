//! Callers by certificate.
//!
//! Owns [`Certificates`]. The idea: that an authority of the configuration vouches for a certificate says that it is
//! genuine; only the configuration says whose it is. One that is nobody's opens nothing.
//!
//! Must not: check a chain; TLS has done that.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::grant::Grant;
use crate::clock::SharedClock;
use crate::error::{Error, Kind, Result};
use crate::principal::{Principal, PrincipalKind};
use crate::transport::Holder;
use crate::transport::auth::{Authenticator, Certificate, Lease, Presented, Refusal, Verdict};

/// Which certificate.
enum Mark {
    Subject(String),
    Name(String),
    Thumbprint(String),
}

impl Mark {
    fn of(holder: &Holder) -> Result<Self> {
        let one = match (&holder.subject, &holder.san, &holder.fingerprint) {
            (Some(subject), None, None) => Some(Self::Subject(subject.clone())),
            (None, Some(name), None) => {
                let known = ["dns:", "uri:", "email:", "ip:"].iter().any(|kind| name.starts_with(kind));
                known.then(|| Self::Name(name.clone()))
            }
            (None, None, Some(print)) => thumbprint(print).map(Self::Thumbprint),
            _ => None,
        };
        one.ok_or_else(|| {
            Error::new(
                Kind::BadConfig,
                "Each `[[http.certificate]]` names one certificate by one of `subject` (\"CN=nightly, O=Acme\"), `san` \
                 (\"dns:nightly.example.com\", \"uri:spiffe://...\") and `fingerprint` (SHA-256, in hex or base64url).",
            )
        })
    }

    fn fits(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Subject(subject) => certificate.subject == *subject,
            Self::Name(name) => certificate.names.contains(name),
            Self::Thumbprint(print) => *certificate.thumbprint == **print,
        }
    }
}

/// A SHA-256 in base64url; it may come in hex.
fn thumbprint(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|letter| *letter != ':').collect();
    if let Ok(bytes) = data_encoding::HEXLOWER_PERMISSIVE.decode(plain.as_bytes()) {
        return (bytes.len() == 32).then(|| URL_SAFE_NO_PAD.encode(bytes));
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    (bytes.len() == 32).then(|| text.to_owned())
}

/// A certificate that the configuration knows, and whom it stands for.
struct Known {
    mark: Mark,
    issuer: Option<String>,
    principal: Arc<Principal>,
}

impl Known {
    fn fits(&self, certificate: &Certificate) -> bool {
        self.mark.fits(certificate)
            && self.issuer.as_ref().is_none_or(|issuer| *certificate.issuer == **issuer)
    }
}

/// Those whose certificates the configuration knows.
pub struct Certificates {
    holders: Vec<Known>,
    clock: SharedClock,
}

impl Certificates {
    /// Who they stand for; nothing where there are none.
    pub fn new(holders: &[Holder], clock: SharedClock) -> Result<Option<Self>> {
        let known = |holder: &Holder| {
            let grant = Grant {
                owner: holder.owner.clone(),
                scopes: holder.scopes.clone(),
                roles: holder.roles.clone(),
                tenant: holder.tenant.clone(),
                ..Grant::named(holder.name.clone())
            };
            grant.check().map_err(|error| {
                let said = format!("In an `[[http.certificate]]`: {}", error.message());
                Error::new(Kind::BadConfig, said)
            })?;
            let principal = Principal {
                scopes: grant.scopes,
                roles: grant.roles,
                tenant: grant.tenant,
                owner: Some(Arc::from(&*grant.owner)),
                ..Principal::new(format!("cert:{}", grant.name), PrincipalKind::Certificate)
            };
            let (mark, issuer) = (Mark::of(holder)?, holder.issuer.clone());
            Ok(Known { mark, issuer, principal: Arc::new(principal) })
        };
        let owners: BTreeMap<&str, &str> = holders.iter().map(|one| (&*one.name, &*one.owner)).collect();
        if holders.iter().any(|one| owners.get(&*one.name) != Some(&&*one.owner)) {
            return Err(Error::new(
                Kind::BadConfig,
                "Two `[[http.certificate]]` of one `name` have different owners; a name is one caller, so give the other \
                 one a name of its own.",
            ));
        }
        let holders: Vec<_> = holders.iter().map(known).collect::<Result<_>>()?;
        Ok((!holders.is_empty()).then_some(Self { holders, clock }))
    }

    fn verify(&self, certificate: &Certificate) -> Result<Arc<Principal>, Refusal> {
        let found = self.holders.iter().find(|known| known.fits(certificate));
        let Some(Known { principal, .. }) = found else {
            return Err(Refusal::refused("client certificate of nobody that is known"));
        };
        if self.clock.wall() >= certificate.expires {
            return Err(Refusal::refused("expired client certificate"));
        }
        Ok(Arc::new(Principal {
            issuer: Some(certificate.issuer.clone()),
            bearer: Some(certificate.thumbprint.clone()),
            ..(**principal).clone()
        }))
    }
}

impl Authenticator for Certificates {
    fn authenticate<'a>(&'a self, presented: &'a Presented<'a>) -> Verdict<'a> {
        let shown = presented.certificate.ok_or_else(Refusal::missing);
        Verdict::Now(shown.and_then(|certificate| self.verify(certificate)))
    }

    fn lease(&self, presented: &Presented<'_>) -> Option<Lease> {
        let (clock, ends) = (Arc::clone(&self.clock), presented.certificate?.expires);
        Some(Box::new(move || clock.wall() < ends))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    fn shown() -> Certificate {
        Certificate {
            thumbprint: URL_SAFE_NO_PAD.encode([0xab; 32]).into(),
            subject: "CN=nightly, O=Acme".into(),
            names: vec!["dns:nightly.example.com".into()],
            issuer: "CN=Acme CA".into(),
            expires: Duration::from_secs(2000),
        }
    }

    fn holder() -> Holder {
        Holder {
            name: "nightly".into(),
            owner: "nightly-backup".into(),
            scopes: ["read".to_owned()].into(),
            ..Holder::default()
        }
    }

    #[test]
    fn a_certificate_is_whose_the_configuration_says_until_it_ends() {
        let clock = ManualClock::at(Duration::from_secs(1000));
        let colons = ["AB"; 32].join(":");
        for (holder, fits) in [
            (Holder { subject: Some("CN=nightly, O=Acme".into()), ..holder() }, true),
            (Holder { subject: Some("CN=nightly".into()), ..holder() }, false),
            (Holder { san: Some("dns:nightly.example.com".into()), ..holder() }, true),
            (Holder { san: Some("dns:example.com".into()), ..holder() }, false),
            (Holder { fingerprint: Some("ab".repeat(32)), ..holder() }, true),
            (Holder { fingerprint: Some(colons), ..holder() }, true),
            (Holder { fingerprint: Some(URL_SAFE_NO_PAD.encode([0xab; 32])), ..holder() }, true),
            (Holder { fingerprint: Some("ac".repeat(32)), ..holder() }, false),
            (
                Holder {
                    san: Some("dns:nightly.example.com".into()),
                    issuer: Some("CN=Acme CA".into()),
                    ..holder()
                },
                true,
            ),
            (
                Holder {
                    san: Some("dns:nightly.example.com".into()),
                    issuer: Some("CN=Other CA".into()),
                    ..holder()
                },
                false,
            ),
        ] {
            let known = Certificates::new(std::slice::from_ref(&holder), clock.clone()).unwrap().unwrap();
            let found = known.verify(&shown());
            assert_eq!(found.is_ok(), fits, "{holder:?}");
            if let Ok(principal) = found {
                assert_eq!((&*principal.id, principal.scopes.len()), ("cert:nightly", 1));
                assert_eq!(principal.issuer.as_deref(), Some("CN=Acme CA"));
            }
        }
        let known = Holder { subject: Some("CN=nightly, O=Acme".into()), ..holder() };
        let known = Certificates::new(&[known], clock.clone()).unwrap().unwrap();
        clock.advance(Duration::from_secs(1000));
        assert_eq!(known.verify(&shown()).unwrap_err().what, "expired client certificate");
    }

    #[test]
    fn a_holder_that_says_nothing_or_too_much_is_refused() {
        let clock = ManualClock::at(Duration::ZERO);
        assert!(Certificates::new(&[], clock.clone()).unwrap().is_none());
        for wrong in [
            holder(),
            Holder { subject: Some("a".into()), san: Some("dns:b".into()), ..holder() },
            Holder { san: Some("nightly.example.com".into()), ..holder() },
            Holder { fingerprint: Some("abc".into()), ..holder() },
            Holder { subject: Some("a".into()), owner: "everyone".into(), ..holder() },
            Holder { subject: Some("a".into()), scopes: [].into(), ..holder() },
        ] {
            assert!(Certificates::new(&[wrong], clock.clone()).is_err());
        }
        let one = |subject: &str, owner: &str| Holder {
            subject: Some(subject.into()),
            owner: owner.into(),
            ..holder()
        };
        assert!(Certificates::new(&[one("CN=a", "anna"), one("CN=b", "bert")], clock.clone()).is_err());
        assert!(Certificates::new(&[one("CN=a", "anna"), one("CN=b", "anna")], clock.clone()).is_ok());
    }
}
