//! Two tools that show that the line works.
//!
//! Owns the toolset `diagnostics`: `echo` and `whoami`. The idea: both only read, need no upstream, and walk the same
//! line as everything else.
//!
//! Must not: do anything else.

use std::sync::Arc;

use crate::error::{Error, Kind};
use crate::json::{Value, json};
use crate::limits::Limiter;
use crate::pipeline::{Approved, BoxFuture, Context, Halt, Reply, Tool, ToolSpec};
use crate::policy::Effect;
use crate::protocol::types::{ToolAnnotations, ToolResult};
use crate::schema::LazySchema;

/// The tools of the toolset.
pub fn tools(limiter: &Arc<Limiter>) -> Vec<Arc<dyn Tool>> {
    vec![Arc::new(Echo::new()), Arc::new(Whoami::new(Arc::clone(limiter)))]
}

/// Most bytes that `echo` answers.
const LONGEST: usize = 256 * 1024;

fn spec(name: &str, title: &str, description: &str, input: LazySchema) -> ToolSpec {
    ToolSpec {
        title: Some(title.to_owned()),
        description: Some(description.to_owned()),
        input,
        effect: Effect::Read,
        toolset: String::from("diagnostics"),
        annotations: ToolAnnotations {
            read_only_hint: Some(true),
            idempotent_hint: Some(true),
            open_world_hint: Some(false),
            ..ToolAnnotations::default()
        },
        ..ToolSpec::new(name)
    }
}

struct Echo {
    spec: ToolSpec,
}

impl Echo {
    fn new() -> Self {
        let input = LazySchema::new(json!({
            "type": "object",
            "properties": {
                "message": {"type": "string", "description": "What to say.", "maxLength": 65536},
                "repeat": {
                    "type": "integer", "description": "How often to say it.", "minimum": 1, "maximum": 100, "default": 1
                }
            },
            "required": ["message"],
            "additionalProperties": false
        }));
        Self { spec: spec("echo", "Echo", "Says the message back, once or several times.", input) }
    }
}

impl Tool for Echo {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, call: &'a Approved, _context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let arguments = call.arguments();
            let message = arguments.get("message").and_then(Value::as_str).unwrap_or_default();
            // An integral float such as 2.0 is an integer to JSON Schema.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the schema says 1 to 100"
            )]
            let repeat = arguments.get("repeat").and_then(Value::as_f64).map_or(1, |times| times as usize);
            if message.len().saturating_mul(repeat) > LONGEST {
                return Err(Error::new(
                    Kind::BadArguments,
                    "That would be a long echo; repeat it less often.",
                )
                .into());
            }
            Ok(Reply::Tool(ToolResult::text(if repeat == 1 {
                message.to_owned()
            } else {
                message.repeat(repeat)
            })))
        })
    }
}

struct Whoami {
    spec: ToolSpec,
    limiter: Arc<Limiter>,
}

impl Whoami {
    fn new(limiter: Arc<Limiter>) -> Self {
        let count = json!({"type": "integer", "minimum": 0});
        let texts = json!({"type": "array", "items": {"type": "string"}});
        let output = LazySchema::new(json!({
            "type": "object",
            "properties": {
                "principal": {"type": "string", "description": "Who the server takes the caller for."},
                "kind": {"type": "string", "description": "How that was established."},
                "scopes": texts,
                "roles": texts,
                "quota_left": {
                    "type": "object",
                    "description": "Calls that could be made right now.",
                    "properties": {"read": count, "write": count, "destroy": count},
                    "required": ["read", "write", "destroy"],
                    "additionalProperties": false
                }
            },
            "required": ["principal", "kind", "scopes", "roles", "quota_left"],
            "additionalProperties": false
        }));
        let mut spec = spec(
            "whoami",
            "Who am I",
            "Says who the server takes the caller for, with which scopes and roles, and what is left of each quota.",
            LazySchema::empty_object(),
        );
        spec.output = Some(output);
        Self { spec, limiter }
    }
}

impl Tool for Whoami {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    fn call<'a>(&'a self, _call: &'a Approved, context: &'a Context) -> BoxFuture<'a, Result<Reply, Halt>> {
        Box::pin(async move {
            let principal = &context.principal;
            let left = |effect: Effect| self.limiter.left(&principal.id, effect.name());
            Ok(Reply::Tool(ToolResult::structured(json!({
                "principal": &*principal.id,
                "kind": principal.kind,
                "scopes": principal.scopes,
                "roles": principal.roles,
                "quota_left": {
                    "read": left(Effect::Read), "write": left(Effect::Write), "destroy": left(Effect::Destroy)
                }
            }))))
        })
    }
}
