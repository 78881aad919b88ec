//! The methods most callers want.
//!
//! Owns lists (all pages), resources, prompts, completion. The idea: each is one request; a list follows its cursor to
//! the end.
//!
//! Must not: keep what it listed, except which parameters travel as headers.

use serde_json::{Value, json};

use super::error::{Error, Result};
use super::{CallOptions, Client};

/// Pages before a list is given up.
const MAX_PAGES: usize = 10_000;

impl Client {
    /// Every tool. Tools whose header marks break the rules are left out.
    pub async fn list_tools(&self) -> Result<Vec<Value>> {
        let mut tools = self.list("tools/list", "tools").await?;
        tools.retain(|tool| self.marked.learn(tool));
        Ok(tools)
    }

    /// Every resource.
    pub async fn list_resources(&self) -> Result<Vec<Value>> {
        self.list("resources/list", "resources").await
    }

    /// Every resource template.
    pub async fn list_resource_templates(&self) -> Result<Vec<Value>> {
        self.list("resources/templates/list", "resourceTemplates").await
    }

    /// Every prompt.
    pub async fn list_prompts(&self) -> Result<Vec<Value>> {
        self.list("prompts/list", "prompts").await
    }

    async fn list(&self, method: &str, key: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let mut page = self.request(method, params, &CallOptions::default()).await?;
            match page.get_mut(key).map(Value::take) {
                Some(Value::Array(items)) => all.extend(items),
                _ => return Err(Error::Malformed("a list without its items")),
            }
            match page.get("nextCursor").and_then(Value::as_str) {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => return Ok(all),
            }
        }
        Err(Error::Malformed("a list that does not end"))
    }

    /// Reads a resource: the whole result, with `contents`.
    pub async fn read_resource(&self, uri: &str) -> Result<Value> {
        self.request("resources/read", json!({"uri": uri}), &CallOptions::default()).await
    }

    /// Fills in a prompt: the whole result, with `messages`.
    pub async fn get_prompt(&self, name: &str, arguments: Value) -> Result<Value> {
        let params = json!({"name": name, "arguments": arguments});
        self.request("prompts/get", params, &CallOptions::default()).await
    }

    /// Suggests values for an argument of a prompt or a resource template: the whole result, with `completion`.
    pub async fn complete(&self, reference: Value, argument: &str, value: &str) -> Result<Value> {
        let params = json!({"ref": reference, "argument": {"name": argument, "value": value}});
        self.request("completion/complete", params, &CallOptions::default()).await
    }
}
