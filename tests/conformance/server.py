"""The server that the official conformance suite tests: ``python server.py --port N``.

Owns what the suite expects of an "everything" server. The idea: it is written against the public Python API and
nothing else, as a user would. Must not: know anything of the wire.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from base64 import b64decode
from dataclasses import dataclass
from typing import Annotated, Any

from bartizan import (
    Audio,
    Context,
    EmbeddedResource,
    Field,
    Image,
    Message,
    Server,
    Task,
    Text,
    ToolError,
    ToolResult,
)

server = Server("bartizan-conformance", title="Everything", instructions="Tools for the conformance suite.")

PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==")
SILENCE = b64decode("UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=")
PAUSE = 0.05


# --- tools: content


@server.tool(effect="read")
def test_simple_text() -> str:
    """Return a simple text."""
    return "This is a simple text response for testing."


@server.tool(effect="read")
def test_image_content() -> Image:
    """Return a picture."""
    return Image(PIXEL, "image/png")


@server.tool(effect="read")
def test_audio_content() -> Audio:
    """Return a sound."""
    return Audio(SILENCE, "audio/wav")


@server.tool(effect="read")
def test_embedded_resource() -> EmbeddedResource:
    """Return a resource."""
    return EmbeddedResource("test://embedded-resource", "This is an embedded resource content.", "text/plain")


@server.tool(effect="read")
def test_multiple_content_types() -> list[Text | Image | EmbeddedResource]:
    """Return text, a picture and a resource."""
    return [
        Text("Multiple content types test:"),
        Image(PIXEL, "image/png"),
        EmbeddedResource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
    ]


@server.tool(effect="read")
def test_error_handling() -> str:
    """Fail on purpose."""
    message = "This tool intentionally returns an error for testing"
    raise ToolError(message)


SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


@server.tool(effect="read", input_schema=SCHEMA)
def json_schema_2020_12_tool(
    name: str = "",
    address: dict[str, str] | None = None,
    contactMethod: str = "",  # noqa: N803 - the suite's name
    phone: str = "",
    email: str = "",
) -> str:
    """Tool with JSON Schema 2020-12 features."""
    return f"{name} {address} {contactMethod} {phone} {email}"


@server.tool(effect="read")
def test_custom_headers(region: Annotated[str, Field(header="Region")]) -> str:
    """Take an argument that a header repeats."""
    return f"region={region}"


# --- tools: on the way


@server.tool(effect="read")
async def test_tool_with_logging(ctx: Context) -> str:
    """Log three messages."""
    await ctx.info("Tool execution started")
    await asyncio.sleep(PAUSE)
    await ctx.info("Tool processing data")
    await asyncio.sleep(PAUSE)
    await ctx.info("Tool execution completed")
    return "Logged three messages."


@server.tool(effect="read")
def test_logging_tool(ctx: Context) -> str:
    """Log one message."""
    ctx.info("A log message")
    return "Logged."


@server.tool(effect="read")
def test_tool_with_progress(ctx: Context) -> str:
    """Report progress three times."""
    ctx.progress(0, 100)
    time.sleep(PAUSE)
    ctx.progress(50, 100)
    time.sleep(PAUSE)
    ctx.progress(100, 100)
    return "Progress was reported."


# --- tools: asking


@dataclass
class User:
    """Who answers."""

    username: Annotated[str, "User's response"]
    email: Annotated[str, "User's email address"]


@dataclass
class Name:
    """A name."""

    name: str


@dataclass
class Color:
    """A colour."""

    color: str


@dataclass
class Sure:
    """A yes to something grave."""

    confirm: bool


@dataclass
class Confirmation:
    """A yes."""

    ok: bool


@server.tool(effect="read")
def test_elicitation(ctx: Context, message: str) -> str:
    """Ask the user."""
    answer = ctx.ask(message, User)
    return f"User response: action={answer.action}, content={answer.data}"


@server.tool(effect="read")
def test_streaming_elicitation(ctx: Context) -> str:
    """Ask after having said something."""
    ctx.progress(0, 1)
    return f"{ctx.ask('Please confirm', Confirmation, key='confirm').action}"


@server.tool(effect="read")
def test_sampling(ctx: Context, prompt: str) -> str:
    """Ask the client's model."""
    return f"LLM response: {ctx.sample(prompt, max_tokens=100).text}"


@server.tool(effect="read")
def test_missing_capability(ctx: Context) -> str:
    """Need sampling, which the client may lack."""
    return ctx.sample("Is anybody there?", max_tokens=10).text


DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}


@server.tool(effect="read")
def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask with defaults of every primitive type."""
    answer = ctx.ask("Please review the defaults", DEFAULTS)
    return f"Elicitation completed: action={answer.action}, content={answer.data}"


def titled(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    """Return choices with titles."""
    return [{"const": value, "title": title} for value, title in pairs]


ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["option1", "option2", "option3"]},
        "titledSingle": {
            "type": "string",
            "oneOf": titled(("value1", "First Option"), ("value2", "Second Option"), ("value3", "Third Option")),
        },
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {
            "type": "array",
            "items": {"type": "string", "enum": ["option1", "option2", "option3"]},
        },
        "titledMulti": {
            "type": "array",
            "items": {
                "anyOf": titled(("value1", "First Choice"), ("value2", "Second Choice"), ("value3", "Third Choice"))
            },
        },
    },
}


@server.tool(effect="read")
def test_elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask with every kind of choice."""
    answer = ctx.ask("Please choose", ENUMS)
    return f"Elicitation completed: action={answer.action}, content={answer.data}"


@server.tool(effect="read")
def test_input_required_result_elicitation(ctx: Context) -> str:
    """Ask for a name."""
    answer = ctx.ask("What is your name?", Name, key="user_name")
    return f"Hello, {answer.data.name}!" if answer else "Hello, whoever you are!"


@server.tool(effect="read")
def test_input_required_result_sampling(ctx: Context) -> str:
    """Ask the model."""
    return ctx.sample("What is the capital of France?", max_tokens=100, key="capital_question").text


@server.tool(effect="read")
def test_input_required_result_list_roots(ctx: Context) -> str:
    """Ask for the roots."""
    return "Roots: " + ", ".join(root.uri for root in ctx.roots(key="client_roots"))


@server.tool(effect="read")
def test_input_required_result_request_state(ctx: Context) -> str:
    """Ask with state; it is checked before the tool runs again."""
    answer = ctx.ask("Please confirm", Confirmation, key="confirm")
    return f"state-ok: {answer.action}"


@server.tool(effect="read")
def test_input_required_result_tampered_state(ctx: Context) -> str:
    """Ask with state that must not be changed."""
    answer = ctx.ask("Please confirm", Confirmation, key="confirm")
    return f"state-ok: {answer.action}"


@server.tool(effect="read")
def test_input_required_result_multiple_inputs(ctx: Context) -> str:
    """Ask three things at once."""
    found = ctx.ask_all(
        {
            "user_name": ctx.form("What is your name?", Name),
            "greeting": ctx.form_sample("Generate a greeting", max_tokens=50),
            "client_roots": ctx.form_roots(),
        }
    )
    return f"{found['greeting'].text} {found['user_name'].data} {len(found['client_roots'])} roots"


@server.tool(effect="read")
def test_input_required_result_multi_round(ctx: Context) -> str:
    """Ask, and ask again."""
    name = ctx.ask("Step 1: What is your name?", Name, key="step1")
    color = ctx.ask("Step 2: What is your favorite color?", Color, key="step2")
    return f"{name.data} likes {color.data}"


@server.tool(effect="read")
def test_input_required_result_capabilities(ctx: Context) -> str:
    """Ask only what the client can answer."""
    questions: dict[str, Any] = {}
    if "elicitation.form" in ctx.client.capabilities:
        questions["user_name"] = ctx.form("What is your name?", Name)
    if "sampling" in ctx.client.capabilities:
        questions["greeting"] = ctx.form_sample("Generate a greeting", max_tokens=50)
    return f"answers: {sorted(ctx.ask_all(questions))}"


# --- tools: changes


@server.tool(effect="read")
def test_trigger_tool_change() -> str:
    """Add a tool and remove it."""
    server.add_tool(lambda: "here", name="test_passing_tool", effect="read")
    server.remove_tool("test_passing_tool")
    return "The list of tools has changed."


@server.tool(effect="read")
def test_trigger_prompt_change() -> str:
    """Add a prompt and remove it."""
    server.add_prompt(lambda: "here", name="test_passing_prompt")
    server.remove_prompt("test_passing_prompt")
    return "The list of prompts has changed."


@server.tool(effect="read")
async def test_reconnection(ctx: Context) -> ToolResult:
    """Let the client go, and answer once it may be back."""
    ctx.close_stream()
    await asyncio.sleep(0.1)
    return ToolResult("Reconnection test completed.")


# --- tools: tasks


@server.tool(effect="read")
def greet(name: str) -> str:
    """Greet; never a task."""
    return f"Hello, {name}!"


@server.tool(effect="read", task=True)
async def slow_compute(seconds: float = 1, label: str = "") -> str:
    """Take as long as one says."""
    await asyncio.sleep(seconds)
    return f"Computed {label} for {seconds} seconds."


@server.tool(effect="read", task=Task(required=True))
async def failing_job() -> str:
    """Fail after a while."""
    await asyncio.sleep(PAUSE)
    message = "This job fails on purpose."
    raise ToolError(message)


@server.tool(effect="read", task=True)
def protocol_error_job(ctx: Context) -> str:
    """Ask what no client of the suite can answer, which is an error of the protocol."""
    return f"{len(ctx.roots())} roots"


@server.tool(effect="read", task=True)
def confirm_delete(ctx: Context, filename: str) -> str:
    """Ask whether to go on, while the task runs."""
    answer = ctx.ask(f"Delete {filename}?", Sure, key="confirm")
    return f"Deleted {filename}." if answer and answer.data.confirm else f"Kept {filename}."


@server.tool(effect="read", task=True)
def multi_input(ctx: Context) -> str:
    """Ask two things at once."""
    found = ctx.ask_all({"first": ctx.form("The first name?", Name), "second": ctx.form("The second name?", Name)})
    return " and ".join(answer.data.name for answer in found.values())


@server.tool(effect="read", task=Task(required=True, asks_first=True))
async def test_tool_with_task(ctx: Context) -> str:
    """Ask in the request, then work as a task."""
    answer = ctx.ask("What is your name?", Name, key="user_name")
    ctx.start_task()
    await asyncio.sleep(PAUSE)
    return f"Hello, {answer.data.name}!" if answer else "Hello, whoever you are!"


# --- resources


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    """Return a text."""
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    """Return a picture."""
    return PIXEL


@server.resource("test://watched-resource", mime_type="text/plain")
def watched_resource() -> str:
    """Return a text that may change."""
    return "Watch me."


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> dict[str, Any]:  # noqa: A002 - the suite's name
    """Return data for an id."""
    return {"id": id, "templateTest": True, "data": f"Data for ID: {id}"}


# --- prompts


@server.prompt
def test_simple_prompt() -> str:
    """A simple prompt."""
    return "This is a simple prompt for testing."


@server.prompt
def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with arguments.

    Args:
        arg1: First test argument
        arg2: Second test argument
    """
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.completion("test_prompt_with_arguments", "arg1")
def complete_arg1(value: str) -> list[str]:
    """Suggest words."""
    return [word for word in ("paris", "park", "party") if word.startswith(value)]


@server.prompt
def test_prompt_with_embedded_resource(resourceUri: str) -> list[Message]:  # noqa: N803 - the suite's name
    """A prompt with a resource."""
    resource = EmbeddedResource(resourceUri, "Embedded resource content for testing.", "text/plain")
    return [Message(resource), Message("Please process the embedded resource above.")]


@server.prompt
def test_prompt_with_image() -> list[Message]:
    """A prompt with a picture."""
    return [Message(Image(PIXEL, "image/png")), Message("Please analyze the image above.")]


@dataclass
class PromptContext:
    """What a prompt should know."""

    context: str


@server.prompt
def test_input_required_result_prompt(ctx: Context) -> str:
    """A prompt that asks first."""
    answer = ctx.ask("What context should the prompt use?", PromptContext, key="user_context")
    return f"Use this context: {answer.data.context}" if answer else "Use no context."


def main() -> int:
    """Serve at the port that is given."""
    parser = argparse.ArgumentParser(description="The server under test.")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    return server.run(arguments=["--http", f"127.0.0.1:{port}", "--no-auth"])


if __name__ == "__main__":
    sys.exit(main())
