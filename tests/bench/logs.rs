//! Logs to measure with: the same for the same seed, and like those of real services.
//!
//! Owns [`clean`], [`leaking`] and [`hostile`]. The idea: lines of JSON with everything that looks nearly like a secret
//! (request ids, trace ids, digests, addresses, talk of tokens and keys), for a redactor is fast only if it is fast
//! on those.

use std::fmt::Write as _;

/// A small generator of numbers (xorshift64*); good enough to choose words.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.roll() >> 33) as usize % most
    }

    pub(crate) fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    pub(crate) fn drawn(&mut self, alphabet: &str, length: usize) -> String {
        (0..length).map(|_| char::from(alphabet.as_bytes()[self.below(alphabet.len())])).collect()
    }
}

pub(crate) const HEX: &str = "0123456789abcdef";
pub(crate) const ALNUM: &str = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const SERVICES: &[&str] =
    &["gateway", "billing", "fabric-ports", "auth", "search", "mailer", "worker-7", "edge"];
const PATHS: &[&str] = &[
    "/fabric/v4/ports",
    "/v1/users/{}/groups",
    "/papi/v1/properties/prp_{}",
    "/healthz",
    "/api/orders/{}",
    "/v2/authors",
    "/keyboards/{}",
    "/static/js/main.{}.js",
    "/oauth2/token",
    "/sessions/{}",
];
const WORDS: &[&str] = &[
    "request served",
    "connection to upstream reused",
    "cache miss, asking the primary",
    "token refreshed",
    "retrying after 503",
    "the queue is empty",
    "authorization checked by policy read-only",
    "key rotated",
    "session closed by peer",
    "worker started",
    "schedule recomputed in 12 ms",
    "no secrets were found",
    "password policy unchanged",
    "certificate valid for 41 days",
    "naïve bayes model loaded",
    "déjà vu: duplicate",
    "compaction finished",
    "author index rebuilt",
    "slow query: SELECT id, name FROM passengers WHERE key = $1",
];
const AGENTS: &[&str] = &[
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36",
    "curl/8.9.1",
    "okhttp/4.12.0",
    "python-httpx/0.28.1",
    "kube-probe/1.31",
];

fn uuid(dice: &mut Dice) -> String {
    let hex = dice.drawn(HEX, 32);
    format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn line(out: &mut String, dice: &mut Dice, at: u64) {
    let path = dice.one(PATHS).replace("{}", &dice.drawn(HEX, 12));
    let (millis, status) = (dice.below(4000), [200, 200, 200, 201, 204, 304, 404, 429, 503][dice.below(9)]);
    let _ = write!(
        out,
        r#"{{"ts":"2026-03-{:02}T{:02}:{:02}:{:02}.{:03}Z","level":"{}","service":"{}","msg":"{}","request_id":"{}","trace_id":"{}","#,
        1 + at / 86_400 % 28,
        at / 3600 % 24,
        at / 60 % 60,
        at % 60,
        dice.below(1000),
        dice.one(&["INFO", "INFO", "INFO", "DEBUG", "WARN"]),
        dice.one(SERVICES),
        dice.one(WORDS),
        uuid(dice),
        dice.drawn(HEX, 32),
    );
    let _ = write!(
        out,
        r#""http":{{"method":"{}","path":"{path}","status":{status},"took_ms":{millis},"bytes":{}}},"client":"10.{}.{}.{}","agent":"{}""#,
        dice.one(&["GET", "GET", "POST", "DELETE"]),
        dice.below(1 << 20),
        dice.below(256),
        dice.below(256),
        dice.below(256),
        dice.one(AGENTS),
    );
    match dice.below(8) {
        0 => {
            let _ = write!(out, r#","commit":"{}","image":"registry.example.com/app@sha256:{}""#, dice.drawn(HEX, 40), dice.drawn(HEX, 64));
        }
        1 => {
            let _ = write!(out, r#","url":"https://api.example.com{path}?offset={}&limit=50","etag":"W/\"{}\"""#, dice.below(900), dice.drawn(HEX, 32));
        }
        2 => {
            let _ = write!(out, r#","next_token":"{}","page":{},"max_tokens":4096"#, dice.drawn(ALNUM, 24), dice.below(90));
        }
        3 => out.push_str(r#","stack":"Traceback (most recent call last):\n  File \"/srv/app/views.py\", line 118, in get\n    return self.cache[key]\nKeyError: 'author'""#),
        _ => {}
    }
    out.push_str("}\n");
}

/// About so many bytes of logs without a secret.
pub(crate) fn clean(seed: u64, bytes: usize) -> String {
    let (mut dice, mut out) = (Dice::new(seed), String::with_capacity(bytes + 1024));
    let mut at = 0;
    while out.len() < bytes {
        line(&mut out, &mut dice, at);
        at += 1;
    }
    out
}

/// The same with a secret about every two thousand bytes, and those secrets.
pub(crate) fn leaking(seed: u64, bytes: usize) -> (String, Vec<String>) {
    let (mut dice, mut out, mut secrets) = (Dice::new(seed), String::with_capacity(bytes + 1024), Vec::new());
    let (mut at, mut due) = (0, 1000);
    while out.len() < bytes {
        line(&mut out, &mut dice, at);
        at += 1;
        if out.len() < due {
            continue;
        }
        due = out.len() + 2000;
        let (before, secret, after) = match dice.below(6) {
            0 => ("{\"msg\":\"cloning with ghp_", dice.drawn(ALNUM, 36), "\"}\n"),
            1 => ("{\"headers\":{\"Authorization\":\"Bearer ", dice.drawn(ALNUM, 40), "\"}}\n"),
            2 => ("connecting to postgres://app:", dice.drawn(ALNUM, 20), "@db.example.com/app\n"),
            3 => ("DB_PASSWORD=", dice.drawn(ALNUM, 16), "\n"),
            4 => ("{\"client_secret\":\"", dice.drawn(ALNUM, 32), "\",\"grant\":\"client_credentials\"}\n"),
            _ => ("GET /v1/files?access_token=", dice.drawn(ALNUM, 32), "&limit=3\n"),
        };
        let _ = write!(out, "{before}{secret}{after}");
        secrets.push(secret);
    }
    (out, secrets)
}

/// What somebody would send who wants the redactor to read the same bytes again and again: names of texts, and the
/// texts of about so many bytes.
pub(crate) fn hostile(bytes: usize) -> Vec<(&'static str, String)> {
    let starts = [
        "password=",
        "token token ",
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9.",
        "-----BEGIN PRIVATE KEY-----",
        "://a:",
        "curl ",
        "bearer ",
        "basic ",
        "Q~",
        "pat",
        "-us1",
        "_mmk",
        ":AA",
        "key",
        "secret_",
        "cookie: ",
        "authorization: ",
        "sk-",
        "xoxb-",
        "\u{1b}[",
        "\u{202e}",
        "<password>",
        "\"token\", ",
        "AKIA",
        "ghp_a",
        "\\u0061",
        "@",
        "+1",
        "a@b.",
        "/",
        "docker login -p ",
        "mysql -p",
        "machine x password ",
        "-u a:",
        "ignore previous ",
        "![](",
        "data:",
        "sntrys_",
        "fm2_",
        "<secret",
        "SG.",
        "://",
        "password is ",
        "pass",
        "bundle_",
        "--pass",
        "hooks.slack.com/services/",
    ];
    starts.iter().map(|start| (*start, start.repeat(bytes / start.len() + 1))).collect()
}
