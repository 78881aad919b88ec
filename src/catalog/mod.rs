//! Everything that can be called, by name.
//!
//! Owns [`Catalog`] and its [`Snapshot`]s. The idea: readers hold a snapshot that never changes under them; adding or
//! removing makes a new one. A snapshot also holds the line that its entries are called along, so that a reload changes
//! tools and rules in one step and no call can meet the one without the other. The order of a list is the order of
//! registration, for everybody, always; what configuration brought comes first.
//!
//! Must not: decide who may see what.

mod check;
mod mirror;
mod template;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use check::{bad, check, whose};
pub use mirror::Mirror;
use template::Template;

use crate::error::Result;
use crate::json::{Map, Value};
use crate::pipeline::{Family, Line, Tool, ToolSpec};
use crate::protocol::Revision;

/// One of the protocol's four lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum List {
    /// `tools/list`.
    Tools,
    /// `resources/list`.
    Resources,
    /// `resources/templates/list`.
    Templates,
    /// `prompts/list`.
    Prompts,
}

impl List {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Tools, Self::Resources, Self::Templates, Self::Prompts];

    /// Which list something is in.
    pub const fn of(family: &Family) -> Self {
        match family {
            Family::Tool => Self::Tools,
            Family::Resource { .. } => Self::Resources,
            Family::Template { .. } => Self::Templates,
            Family::Prompt { .. } => Self::Prompts,
        }
    }
}

/// One thing in the catalog.
pub struct Entry {
    tool: Arc<dyn Tool>,
    configured: bool,
    mirrors: Vec<Mirror>,
    template: Option<Template>,
    shown: [OnceLock<Box<str>>; Revision::ALL.len()],
}

impl Entry {
    /// What is called.
    pub fn tool(&self) -> &Arc<dyn Tool> {
        &self.tool
    }

    /// What is known about it.
    pub fn spec(&self) -> &ToolSpec {
        self.tool.spec()
    }

    /// Arguments that HTTP headers repeat.
    pub fn mirrors(&self) -> &[Mirror] {
        &self.mirrors
    }

    /// How it looks in a list of that revision; `make` is asked once.
    pub fn shown(&self, revision: Revision, make: impl FnOnce(&ToolSpec) -> String) -> &str {
        self.shown[revision.index()].get_or_init(|| make(self.spec()).into_boxed_str())
    }
}

/// The catalog at one moment.
#[derive(Default)]
pub struct Snapshot {
    version: u64,
    tools: Vec<Arc<Entry>>,
    resources: Vec<Arc<Entry>>,
    templates: Vec<Arc<Entry>>,
    prompts: Vec<Arc<Entry>>,
    // by name, resources by address
    names: [HashMap<Box<str>, Arc<Entry>>; 4],
    ever: [bool; 4],
    line: Option<Arc<Line>>,
}

impl Snapshot {
    /// Changes with every change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Everything in a list, in its order.
    pub fn list(&self, list: List) -> &[Arc<Entry>] {
        match list {
            List::Tools => &self.tools,
            List::Resources => &self.resources,
            List::Templates => &self.templates,
            List::Prompts => &self.prompts,
        }
    }

    /// What was added at run time, beside what configuration brought.
    pub fn added(&self) -> impl Iterator<Item = &Arc<Entry>> {
        List::ALL.iter().flat_map(|list| self.list(*list)).filter(|entry| !entry.configured)
    }

    /// Whether there is, or ever was, anything in a list: what was offered once stays a method, with an empty answer.
    pub fn ever(&self, list: List) -> bool {
        self.ever[list as usize]
    }

    /// The line that calls of these entries walk, once it is known.
    pub fn line(&self) -> Option<&Arc<Line>> {
        self.line.as_ref()
    }

    /// The tool of that name.
    pub fn tool(&self, name: &str) -> Option<&Arc<Entry>> {
        self.names[List::Tools as usize].get(name)
    }

    /// The prompt of that name.
    pub fn prompt(&self, name: &str) -> Option<&Arc<Entry>> {
        self.names[List::Prompts as usize].get(name)
    }

    /// The template that is written exactly so.
    pub fn template(&self, uri_template: &str) -> Option<&Arc<Entry>> {
        self.names[List::Templates as usize].get(uri_template)
    }

    /// Whoever answers for an address, with the arguments the address holds: an exact one before a template.
    pub fn resource(&self, uri: &str) -> Option<(&Arc<Entry>, Map<String, Value>)> {
        if let Some(entry) = self.names[List::Resources as usize].get(uri) {
            return Some((entry, Map::new()));
        }
        self.templates.iter().find_map(|entry| Some((entry, entry.template.as_ref()?.matches(uri)?)))
    }

    fn list_mut(&mut self, list: List) -> &mut Vec<Arc<Entry>> {
        match list {
            List::Tools => &mut self.tools,
            List::Resources => &mut self.resources,
            List::Templates => &mut self.templates,
            List::Prompts => &mut self.prompts,
        }
    }

    /// An empty one that comes after this one.
    fn emptied(&self) -> Self {
        Self { version: self.version + 1, ever: self.ever, line: self.line.clone(), ..Self::default() }
    }

    fn successor(&self) -> Self {
        Self {
            tools: self.tools.clone(),
            resources: self.resources.clone(),
            templates: self.templates.clone(),
            prompts: self.prompts.clone(),
            names: self.names.clone(),
            ..self.emptied()
        }
    }

    fn take(&mut self, entry: Arc<Entry>) -> Result<()> {
        let spec = entry.spec();
        let list = List::of(&spec.family);
        // tools and prompts are known by their names; what is known by its address has a name besides
        let taken = |other: &&Arc<Entry>| other.spec().name == spec.name;
        let addressed = matches!(list, List::Resources | List::Templates);
        let other = self.names[list as usize].get(key(spec));
        let other = other.or_else(|| self.list(list).iter().filter(|_| addressed).find(|other| taken(other)));
        if let Some(other) = other {
            let (one, two) = (whose(other.spec()), whose(spec));
            let what =
                format!("is there twice, from {one} and from {two}; give each its own name and address");
            return Err(bad(spec, &what));
        }
        self.names[list as usize].insert(key(spec).into(), Arc::clone(&entry));
        self.ever[list as usize] = true;
        self.list_mut(list).push(entry);
        Ok(())
    }

    /// The lists in which something is otherwise than before.
    fn differing(&self, before: &Self) -> Vec<List> {
        let same = |(one, other): (&Arc<Entry>, &Arc<Entry>)| {
            Arc::ptr_eq(one, other) || one.spec().fingerprint() == other.spec().fingerprint()
        };
        let seen_alike = match (&self.line, &before.line) {
            (Some(line), Some(before)) => line.shows_as(before),
            (line, before) => line.is_none() == before.is_none(),
        };
        let differs = |list: &List| {
            let (now, before) = (self.list(*list), before.list(*list));
            now.len() != before.len() || (!seen_alike && !now.is_empty()) || !now.iter().zip(before).all(same)
        };
        List::ALL.into_iter().filter(differs).collect()
    }
}

type Watcher = Box<dyn Fn(&[List]) + Send + Sync>;

/// Everything that can be called; it may change at run time.
pub struct Catalog {
    now: ArcSwap<Snapshot>,
    writing: Mutex<()>,
    watchers: Mutex<Vec<Watcher>>,
}

impl Catalog {
    /// A catalog of these, which configuration brought. Two of one name, an illegal name or an unusable schema refuse
    /// the whole.
    pub fn build(tools: Vec<Arc<dyn Tool>>) -> Result<Self> {
        let mut first = Snapshot::default();
        for tool in tools {
            first.take(entry(tool, true)?)?;
        }
        Ok(Self { now: ArcSwap::from_pointee(first), writing: Mutex::default(), watchers: Mutex::default() })
    }

    /// The catalog as it is now.
    pub fn now(&self) -> Arc<Snapshot> {
        self.now.load_full()
    }

    /// Says along which line calls go from now on.
    pub fn govern(&self, line: Arc<Line>) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let next = Snapshot { line: Some(line), ..self.now.load().successor() };
        self.now.store(Arc::new(next));
    }

    /// Adds to the ends of the lists; all of them or none.
    pub fn add(&self, tools: Vec<Arc<dyn Tool>>) -> Result<()> {
        let entries = tools.into_iter().map(|tool| entry(tool, false)).collect::<Result<Vec<_>>>()?;
        let changed = {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.now.load();
            let mut next = before.successor();
            entries.into_iter().try_for_each(|entry| next.take(entry))?;
            let changed = next.differing(&before);
            self.now.store(Arc::new(next));
            changed
        };
        self.tell(&changed);
        Ok(())
    }

    /// Puts these in the place of all that configuration brought, and a new line in the place of the old one: both at
    /// once, or neither. What was added at run time stays.
    pub fn reconfigure(&self, tools: Vec<Arc<dyn Tool>>, line: Arc<Line>) -> Result<()> {
        let entries = tools.into_iter().map(|tool| entry(tool, true)).collect::<Result<Vec<_>>>()?;
        let changed = {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.now.load();
            let mut next = Snapshot { line: Some(line), ..before.emptied() };
            entries.into_iter().try_for_each(|entry| next.take(entry))?;
            before.added().try_for_each(|entry| next.take(Arc::clone(entry)))?;
            let changed = next.differing(&before);
            self.now.store(Arc::new(next));
            changed
        };
        self.tell(&changed);
        Ok(())
    }

    /// Removes one by its name. False when it was not there. Calls of it that run go on.
    pub fn remove(&self, list: List, name: &str) -> bool {
        {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = self.now.load().successor();
            let entries = next.list_mut(list);
            let Some(place) = entries.iter().position(|entry| entry.spec().name == name) else {
                return false;
            };
            let entry = entries.remove(place);
            next.names[list as usize].remove(key(entry.spec()));
            if let Some(line) = &next.line {
                line.policy().forget();
            }
            self.now.store(Arc::new(next));
        }
        self.tell(&[list]);
        true
    }

    /// Calls back after every change, with the lists that changed.
    pub fn watch(&self, watcher: impl Fn(&[List]) + Send + Sync + 'static) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(watcher));
    }

    fn tell(&self, changed: &[List]) {
        if !changed.is_empty() {
            let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            watchers.iter().for_each(|watcher| watcher(changed));
        }
    }
}

fn entry(tool: Arc<dyn Tool>, configured: bool) -> Result<Arc<Entry>> {
    let (mirrors, template) = check(tool.spec())?;
    Ok(Arc::new(Entry { configured, mirrors, template, shown: Default::default(), tool }))
}

fn key(spec: &ToolSpec) -> &str {
    match &spec.family {
        Family::Tool | Family::Prompt { .. } => &spec.name,
        Family::Resource { uri, .. } => uri,
        Family::Template { uri_template, .. } => uri_template,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Kind};
    use crate::json::json;
    use crate::pipeline::{Approved, BoxFuture, Context, Halt, Reply};
    use crate::policy::FINDERS;
    use crate::schema::LazySchema;

    struct Fake(ToolSpec);

    impl Tool for Fake {
        fn spec(&self) -> &ToolSpec {
            &self.0
        }

        fn call<'a>(&'a self, _: &'a Approved, _: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
            Box::pin(async { Err(Error::new(Kind::Internal, "not called here").into()) })
        }
    }

    fn tool(name: &str) -> Arc<dyn Tool> {
        Arc::new(Fake(ToolSpec::new(name)))
    }

    fn family(name: &str, family: Family) -> Arc<dyn Tool> {
        Arc::new(Fake(ToolSpec { family, ..ToolSpec::new(name) }))
    }

    fn template(text: &str) -> Arc<dyn Tool> {
        family("t", Family::Template { uri_template: text.into(), mime_type: None })
    }

    #[test]
    fn clashes_and_illegal_names_are_refused() {
        for (tools, words) in [
            (vec![tool("a"), tool("a")], "twice"),
            (vec![tool("a b")], "A-Z"),
            (vec![tool("")], "1 to 64"),
            (vec![tool(&"a".repeat(65))], "1 to 64"),
            (
                vec![family("r", Family::Resource { uri: "nothing".into(), mime_type: None, size: None })],
                "scheme",
            ),
            (vec![template("a://{x}{y}")], "between"),
        ] {
            let error = Catalog::build(tools).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), Kind::BadConfig);
            assert!(error.message().contains(words), "{error}");
        }
        let prompt = family("a", Family::Prompt { arguments: Vec::new() });
        assert!(Catalog::build(vec![tool("a"), prompt]).is_ok());
    }

    #[test]
    fn a_clash_names_both_sources_and_our_own_names_are_nobody_elses() {
        let from = |source: &str, name: &str, toolset: &str| {
            Arc::new(Fake(ToolSpec { source: source.into(), toolset: toolset.into(), ..ToolSpec::new(name) }))
                as Arc<dyn Tool>
        };
        let refusal = |tools: Vec<Arc<dyn Tool>>| Catalog::build(tools).map(|_| ()).unwrap_err().to_string();
        let said = refusal(vec![from("acme", "a", "acme"), from("openapi", "a", "widgets")]);
        assert!(said.contains("from the connector `acme` and from the API document `widgets`"), "{said}");
        let said = refusal(vec![tool("echo"), from("python", "echo", "mine")]);
        assert!(said.contains("from bartizan itself and from Python"), "{said}");
        for name in FINDERS {
            for source in ["python", "acme", "openapi"] {
                assert!(
                    refusal(vec![from(source, name, "mine")]).contains("bartizan's own tools"),
                    "{source}"
                );
            }
        }
        for toolset in ["search", "results"] {
            for source in ["python", "acme", "openapi"] {
                assert!(
                    refusal(vec![from(source, "a", toolset)]).contains("toolset of bartizan's own"),
                    "{source}"
                );
            }
        }
    }

    #[test]
    fn the_order_is_that_of_registration_and_changes_are_told() {
        let catalog = Catalog::build(vec![tool("b"), tool("a")]).unwrap();
        let told = Arc::new(Mutex::new(Vec::<List>::new()));
        let told_too = Arc::clone(&told);
        catalog.watch(move |lists| told_too.lock().unwrap().extend(lists));
        let before = catalog.now();
        catalog.add(vec![tool("c")]).unwrap();
        assert!(catalog.remove(List::Tools, "b"));
        assert!(!catalog.remove(List::Tools, "b"));
        assert!(catalog.add(vec![tool("d"), tool("a")]).is_err());
        let names = |snapshot: &Snapshot| -> Vec<String> {
            snapshot.list(List::Tools).iter().map(|entry| entry.spec().name.clone()).collect()
        };
        assert_eq!(names(&before), ["b", "a"]);
        assert_eq!(names(&catalog.now()), ["a", "c"]);
        assert_eq!(*told.lock().unwrap(), [List::Tools, List::Tools]);
        assert!(catalog.now().version() > before.version());
        assert!(before.ever(List::Tools) && !before.ever(List::Prompts));
        assert!(catalog.remove(List::Tools, "a") && catalog.remove(List::Tools, "c"));
        assert!(catalog.now().ever(List::Tools), "what was offered once stays a method");
    }

    #[test]
    fn an_exact_address_wins_over_a_template() {
        let exact = family("r", Family::Resource { uri: "a://x/1".into(), mime_type: None, size: None });
        let catalog = Catalog::build(vec![template("a://x/{id}"), exact]).unwrap();
        let now = catalog.now();
        assert_eq!(now.resource("a://x/1").unwrap().0.spec().name, "r");
        let (entry, arguments) = now.resource("a://x/2").unwrap();
        assert_eq!((entry.spec().name.as_str(), &arguments["id"]), ("t", &json!("2")));
        assert!(now.resource("b://x/2").is_none());
    }

    #[test]
    fn header_annotations_are_checked_when_a_tool_is_registered() {
        let with = |input: Value| {
            let spec = ToolSpec { input: LazySchema::new(input), ..ToolSpec::new("a") };
            Catalog::build(vec![Arc::new(Fake(spec)) as Arc<dyn Tool>])
        };
        let fine = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "deep": {"type": "object", "properties": {"n": {"type": "integer", "x-mcp-header": "N"}}},
        }});
        let catalog = with(fine).unwrap();
        let now = catalog.now();
        let mirrors = now.tool("a").unwrap().mirrors();
        assert_eq!(mirrors.iter().map(|one| one.header.as_str()).collect::<Vec<_>>(), ["region", "n"]);
        assert_eq!(mirrors[1].path, ["deep", "n"]);
        for properties in [
            json!({"a": {"type": "number", "x-mcp-header": "A"}}),
            json!({"a": {"type": "string", "x-mcp-header": ""}}),
            json!({"a": {"type": "string", "x-mcp-header": "A B"}}),
            json!({"a": {"type": "string", "x-mcp-header": "A\r\nB"}}),
            json!({"a": {"type": "string", "x-mcp-header": "A"}, "b": {"type": "string", "x-mcp-header": "a"}}),
            json!({"a": {"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}}),
            json!({"a": {"anyOf": [{"type": "string", "x-mcp-header": "A"}]}}),
        ] {
            assert!(with(json!({"type": "object", "properties": properties})).is_err(), "{properties}");
        }
    }
}
