//! What one place in an answer has.
//!
//! Owns [`Node`] and [`Sort`]. The idea: what a member is follows from its name and its form, once for each place of a
//! document, however many answers lead there.
//!
//! Must not: count, or decide what is left out.

use std::collections::HashSet;

use crate::connectors::openapi::words_of;
use crate::connectors::shape::Look;

/// Relations that links have, where a document does not say that they are addresses.
const RELATIONS: [&str; 10] =
    ["self", "next", "prev", "previous", "first", "last", "related", "up", "about", "describedby"];
/// Last words of what names a thing.
const NAMING: [&str; 12] =
    ["id", "ids", "uuid", "guid", "key", "code", "number", "name", "slug", "urn", "arn", "sku"];
/// Members that hold the things themselves.
const HOLDING: [&str; 7] = ["data", "items", "value", "results", "_embedded", "entries", "records"];
const AUDIT: [&str; 16] = [
    "changeLog",
    "changelog",
    "change_log",
    "auditInfo",
    "audit_info",
    "auditTrail",
    "_audit",
    "createdBy",
    "created_by",
    "updatedBy",
    "updated_by",
    "modifiedBy",
    "modified_by",
    "lastModifiedBy",
    "last_modified_by",
    "deletedBy",
];
/// What a member is, the surest first; where a name is used for two of them, the later counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Links,
    Annotation,
    Version,
    Address,
    Kind,
    About,
    Audit,
    Deprecated,
    Echo,
}

impl Sort {
    pub(super) const fn says(self) -> &'static str {
        match self {
            Self::Links => "links to other addresses",
            Self::Annotation => "how the data is described, not the data",
            Self::Version => "a version that no operation takes back",
            Self::Address => "addresses of things",
            Self::Kind => "which kind of thing each one is",
            Self::About => "what the API notes about a thing",
            Self::Audit => "who made or changed it",
            Self::Deprecated => "deprecated, says the document",
            Self::Echo => "what was asked for, once more",
        }
    }

    pub(super) const fn is_sure(self) -> bool {
        matches!(self, Self::Links | Self::Annotation | Self::Version | Self::Address)
    }
}

/// A member that was found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) name: &'a str,
    pub(super) sort: Sort,
    /// Whether nothing beside it names the thing.
    pub(super) alone: bool,
}

/// A place in the schemas, looked at once.
#[derive(Default)]
pub(super) struct Node<'a> {
    pub(super) found: Vec<Found<'a>>,
    /// Members that are something else.
    pub(super) others: Vec<&'a str>,
    /// Links that may lead on, and whether they say so.
    pub(super) leading: Vec<(&'a str, bool)>,
    /// Whether it has a list of things.
    pub(super) things: bool,
    pub(super) is_odata: bool,
    pub(super) may_be_null: bool,
    /// What is in it, each once, and whether it is an item.
    pub(super) inner: Vec<(Look<'a>, bool)>,
    /// Whether an answer was seen to have it.
    pub(super) seen: bool,
}

impl<'a> Node<'a> {
    pub(super) fn of(look: Look<'a>) -> Self {
        let members = look.properties();
        let named = members.iter().any(|(name, member)| names(name, *member) || HOLDING.contains(name));
        let things = members.iter().any(|(name, it)| it.is("array") && sort(name, *it).is_none());
        let mut node = Self { things, ..Self::default() };
        let mut inner = look.others();
        for (name, member) in &members {
            node.is_odata |= name.starts_with("@odata.");
            node.may_be_null |= member.is("null");
            let sort = sort(name, *member);
            let sort = sort.or_else(|| member.flag("deprecated").then_some(Sort::Deprecated));
            if let Some(sort) = sort.filter(|_| !name.is_empty()) {
                let alone = match sort {
                    Sort::Links => !named && !things,
                    Sort::Address => !named,
                    _ => false,
                };
                node.found.push(Found { name, sort, alone });
            } else {
                node.others.push(name);
            }
            // what is inside of links is links
            if sort == Some(Sort::Links) {
                node.leading.extend(leads(*member).map(|says| (*name, says)));
            } else {
                inner.push((*member, false));
            }
        }
        let mut seen = HashSet::new();
        inner.retain(|(it, _)| !it.is_leaf() && seen.insert(it.identity()));
        Self { inner, ..node }
    }
}

/// What a member is by its name and its form.
fn sort(name: &str, member: Look<'_>) -> Option<Sort> {
    let text = member.is("string");
    Some(match name {
        "_links" => Sort::Links,
        "links" | "Links" if is_links(member) => Sort::Links,
        "jsonapi" if member.is("object") => Sort::Annotation,
        "$schema" if text && member.word("format") == "uri" => Sort::Annotation,
        "@odata.context" => Sort::Annotation,
        "@odata.etag" => Sort::Version,
        "@odata.id" | "@odata.editLink" | "@odata.readLink" => Sort::Address,
        "@odata.type" => Sort::Kind,
        "href" | "_href" | "selfLink" | "self_link" | "self" if text => Sort::Address,
        "_metadata" | "__metadata" if !member.properties().is_empty() => Sort::About,
        _ if AUDIT.contains(&name) && !member.properties().is_empty() => Sort::Audit,
        _ => return None,
    })
}

/// Whether a member holds nothing but addresses: a list of objects with an `href`, or an object of them by relation.
fn is_links(member: Look<'_>) -> bool {
    let has_href =
        |look: Look<'_>| look.properties().iter().any(|(name, it)| *name == "href" && it.is("string"));
    if let Some(items) = member.items() {
        let flat = items.properties().iter().all(|(_, it)| !it.is("array"));
        return has_href(items) && flat;
    }
    let members = member.properties();
    let link = |(name, it): &(&str, Look<'_>)| {
        let address = it.is("string") && (RELATIONS.contains(name) || it.word("format").starts_with("uri"));
        address || has_href(*it)
    };
    !members.is_empty() && (has_href(member) || members.iter().all(link))
}

/// Whether links may hold the address of a next page, and whether they say so.
fn leads(links: Look<'_>) -> Option<bool> {
    let members = links.properties();
    let says = members.iter().any(|(name, _)| *name == "next");
    (says || members.is_empty()).then_some(says)
}

/// Whether a member names the thing that has it.
fn names(name: &str, member: Look<'_>) -> bool {
    let words = words_of(name);
    let last = words.last().map(String::as_str).unwrap_or_default();
    NAMING.contains(&last) && !member.is("object") && !member.is("array")
}
