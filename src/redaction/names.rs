//! Which names tell that a secret follows.
//!
//! Owns [`telling`]. The idea: a name is a row of words (`clientSecret`, `client-secret`, `CLIENT_SECRET` are the same
//! two), and its last word says what it names: `api_token` is a token, `token_type` is a type. Page tokens, cursors,
//! ids and the like are none, whatever else they are called.
//!
//! Must not: look at values.

/// How much a name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// What follows is a secret.
    Secret(&'static str),
    /// What follows is a secret if it looks like one.
    Maybe(&'static str),
    /// Nothing.
    No,
}

/// Words that make a following `key` a secret.
const KEYS: &[&str] = &[
    "api",
    "access",
    "secret",
    "private",
    "encryption",
    "encrypt",
    "decryption",
    "decrypt",
    "signing",
    "shared",
    "master",
    "auth",
    "authentication",
    "account",
    "storage",
    "service",
    "admin",
    "hmac",
    "subscription",
    "webhook",
    "deploy",
    "session",
    "server",
    "consumer",
    "app",
    "application",
    "license",
    "seed",
    "root",
    "integration",
    "rest",
    "jwt",
];

/// Who hands out keys: their name before `key` makes it one, and alone it may name one. Not those whose name is a word of
/// every day, or who have more commits and digests to their name than keys.
#[rustfmt::skip]
pub(super) const VENDORS: &[&str] = &[
    "adafruit", "airtable", "algolia", "alphavantage", "amplitude", "anthropic", "asana", "beamer", "bitrise", "bittrex", "braintree", "bugsnag", "buildkite", "calendly", "censys", "circleci", "clickhouse", "cloudflare", "codacy", "codecov", "codeclimate", "coinbase", "confluent", "contentful", "coveralls", "crowdin", "databricks", "datadog", "deepseek", "digitalocean", "docusign", "doppler", "droneci", "dropbox", "duffel", "dynatrace", "easypost", "elevenlabs", "etsy", "fastly", "figma", "finicity", "finnhub", "flickr", "flutterwave", "flyio", "frameio", "freshbooks", "freshdesk", "giphy", "gitter", "gocardless", "groq", "heroku", "hetzner", "honeycomb", "hubspot", "huggingface", "infracost", "intercom", "ipinfo", "ipstack", "jfrog", "klaviyo", "kucoin", "launchdarkly", "linode", "logdna", "loggly", "lokalise", "mailchimp", "mailgun", "mandrill", "mapbox", "mattermost", "meraki", "messagebird", "mistral", "mixpanel", "netlify", "newrelic", "nexmo", "nytimes", "okta", "openai", "openrouter", "openweathermap", "opsgenie", "pagerduty", "papertrail", "perplexity", "pinecone", "pipedrive", "plaid", "planetscale", "plivo", "postmark", "postman", "privateai", "pulumi", "rapidapi", "rollbar", "scaleway", "scalingo", "securitytrails", "sendbird", "sendgrid", "sendinblue", "sentry", "settlemint", "shippo", "shodan", "shopify", "snyk", "sonarqube", "sourcegraph", "sparkpost", "splunk", "squarespace", "stripe", "sumologic", "supabase", "tmdb", "transifex", "travisci", "trello", "twilio", "twitch", "typeform", "unsplash", "upstash", "vercel", "virustotal", "vonage", "vultr", "weatherapi", "yandex", "zapier", "zendesk", "zoho", "hashicorp", "kraken", "looker", "nuget", "octopus",
];

/// Words that make a following `token` something a later call needs, or nothing secret.
const PAGES: &[&str] = &[
    "next",
    "http",
    "challenge",
    "validation",
    "page",
    "previous",
    "prev",
    "continuation",
    "continue",
    "cursor",
    "sync",
    "delta",
    "resume",
    "skip",
    "pagination",
    "paging",
    "start",
    "starting",
    "end",
    "last",
    "first",
    "marker",
    "scroll",
    "max",
    "min",
    "total",
    "input",
    "output",
    "prompt",
    "completion",
    "cached",
    "idempotency",
    "progress",
    "per",
    "of",
    "num",
    "change",
    "concurrency",
    "stop",
    "pad",
    "special",
    "unk",
    "word",
    "eos",
    "bos",
    "cancellation",
    "cancel",
];

/// What a name tells about its value.
pub(super) fn telling(name: &str) -> Telling {
    if name.len() > 128 || !name.is_ascii() {
        return Telling::No;
    }
    let mut words: [Word; 3] = [Word::default(); 3];
    split(name, &mut words);
    let [last, before, third] = words;
    // `SECRET_KEY_BASE`
    if last.is("base") && before.is("key") {
        return judge(before, third, name);
    }
    // `secret_value`, `token2`, `passwordHash`: the word before says it.
    if last.is_any(&[
        "value",
        "val",
        "text",
        "plain",
        "plaintext",
        "raw",
        "old",
        "new",
        "current",
        "prod",
        "dev",
    ]) {
        return match judge(before, third, name) {
            Telling::No => Telling::No,
            told => told,
        };
    }
    judge(last, before, name)
}

/// The same for a name in running text, where a name of one word may follow the word that says of what it is.
pub(super) fn told_by<'a>(name: &str, before: impl FnOnce() -> &'a str) -> Telling {
    let told = telling(name);
    match told {
        Telling::Maybe("key") if name.len() == 3 => {
            let before = Word(before().as_bytes());
            if before.is_any(KEYS) || before.is_any(&["unseal", "recovery", "licence", "your"]) {
                Telling::Secret("key")
            } else {
                told
            }
        }
        Telling::No if is_bundle(name) => Telling::Secret("bundle"),
        _ => told,
    }
}

/// Bundler's settings: `BUNDLE_GEMS__EXAMPLE__COM=user:password`.
fn is_bundle(name: &str) -> bool {
    name.starts_with("BUNDLE_") && name.contains("__")
}

/// Whether a name says that what it names is none.
pub(super) fn is_pretended(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    ["fake", "dummy", "mock", "bogus", "example", "sample", "nonmatching", "placeholder"]
        .iter()
        .any(|word| lower.contains(word))
}

fn judge(last: Word<'_>, before: Word<'_>, name: &str) -> Telling {
    let Some(first) = last.0.first() else { return Telling::No };
    match first.to_ascii_lowercase() {
        b't' if last.is("token") || last.is("tok") => {
            if before.is_any(PAGES) {
                Telling::No
            } else {
                Telling::Secret("token")
            }
        }
        b't' if last.is("tokens") => {
            if before.is_any(&["access", "refresh", "api", "auth", "bearer", "session"]) {
                Telling::Secret("token")
            } else {
                Telling::No
            }
        }
        b's' if last.is("secret") || last.is("secrets") => Telling::Secret("secret"),
        b's' if last.is("sid") || last.is("session") => Telling::Maybe("session"),
        b's' if last.is("string") && before.is_any(&["connection", "conn"]) => {
            Telling::Secret("connection-string")
        }
        b's' if last.is("srt") && before.is("client") => Telling::Secret("secret"),
        b'p' if last.is_any(&["password", "passwd", "passphrase", "pwd", "passcode", "passwort", "psw"]) => {
            Telling::Secret("password")
        }
        b'p' if last.is("pass") => {
            if before.0.is_empty() {
                Telling::Maybe("password")
            } else {
                Telling::Secret("password")
            }
        }
        b'p' if last.is("pw") => Telling::Maybe("password"),
        b'p' if last.is_any(&["privatekey", "pat"]) => Telling::Secret("key"),
        b'a' if last.is("authorization") => Telling::Secret("authorization"),
        b'a' if last.is_any(&["apikey", "accesskey", "apitoken", "accesstoken", "authtoken"]) => {
            Telling::Secret("key")
        }
        b'a' if last.is("auth") => Telling::Maybe("authorization"),
        b'b' if last.is("bearer") => Telling::Maybe("authorization"),
        b'c' if last.is("credential") || last.is("credentials") || last.is("creds") => {
            Telling::Secret("credential")
        }
        b'c' if last.is("clientsecret") => Telling::Secret("secret"),
        b'c' if last.is("connectionstring") => Telling::Secret("connection-string"),
        b'c' if last.is("cookie") => {
            if name.len() <= 10 {
                Telling::Secret("cookie")
            } else {
                Telling::Maybe("cookie")
            }
        }
        b'd' if last.is("data") && before.is("key") => Telling::Maybe("key"),
        b'i' if last.is("id") && before.is("secret") => Telling::Maybe("access-id"),
        b'i' if last.is("id") && before.is("access") => Telling::Maybe("access-id"),
        b'a' if last.is("accessid") => Telling::Maybe("access-id"),
        b'p' if last.is("psk") => Telling::Secret("key"),
        b'p' if last.is("phpsessid") => Telling::Maybe("session"),
        b'j' if last.is("jsessionid") => Telling::Maybe("session"),
        b'm' if last.is("mnemonic") => Telling::Secret("password"),
        b's' | b'k' | b't'
            if last.is_any(&["storepass", "keypass", "truststorepass", "keystorepass", "userpass"]) =>
        {
            Telling::Secret("password")
        }
        b'k' if last.is("key") => {
            if before.is_any(KEYS) || before.is_any(VENDORS) {
                Telling::Secret("key")
            } else if before.is_any(&[
                "public",
                "primary",
                "foreign",
                "partition",
                "sort",
                "cache",
                "routing",
                "row",
                "map",
                "dedup",
                "idempotency",
                "object",
                "project",
                "issue",
                "i18n",
                "translation",
                "tag",
                "label",
                "lookup",
                "hash",
            ]) {
                Telling::No
            } else {
                Telling::Maybe("key")
            }
        }
        _ if last.is_any(VENDORS) => Telling::Maybe("vendor"),
        // `PGPASSWORD`, `dbpassword`
        _ if last.ends(&["password", "passwd"]) => Telling::Secret("password"),
        _ if last.ends(&["secretkey", "apikey", "authtoken", "accesstoken", "clientsecret"]) => {
            Telling::Secret("key")
        }
        _ => Telling::No,
    }
}

/// One word of a name; digits at its end are not part of it.
#[derive(Debug, Clone, Copy, Default)]
struct Word<'a>(&'a [u8]);

impl Word<'_> {
    fn is(&self, word: &str) -> bool {
        self.0.eq_ignore_ascii_case(word.as_bytes())
    }

    fn ends(&self, words: &[&str]) -> bool {
        words.iter().any(|word| {
            self.0.len() > word.len()
                && self.0[self.0.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
        })
    }

    fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(word))
    }
}

/// The last three words, the last one first.
fn split<'a>(name: &'a str, words: &mut [Word<'a>; 3]) {
    let bytes = name.as_bytes();
    let mut end = bytes.len();
    let mut found = 0;
    while end > 0 && found < words.len() {
        while end > 0 && !bytes[end - 1].is_ascii_alphabetic() {
            end -= 1;
        }
        let mut start = end;
        while start > 0 && bytes[start - 1].is_ascii_alphabetic() {
            start -= 1;
            // camelCase: a capital after a small letter begins a word, and so does one before a small letter.
            let begins = bytes[start].is_ascii_uppercase()
                && (start == 0
                    || bytes[start - 1].is_ascii_lowercase()
                    || (start + 1 < end && bytes[start + 1].is_ascii_lowercase()));
            if begins {
                break;
            }
        }
        if start < end {
            words[found] = Word(&bytes[start..end]);
            found += 1;
        }
        end = start;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tell() {
        for name in [
            "password",
            "PASSWORD",
            "db_password",
            "dbPassword",
            "client_secret",
            "clientSecret",
            "CLIENT-SECRET",
            "api_key",
            "apiKey",
            "apikey",
            "APIKEY",
            "X-Api-Key",
            "access_token",
            "refreshToken",
            "id_token",
            "GITLAB_TOKEN",
            "authorization",
            "Authorization",
            "private_key",
            "privateKey",
            "connection_string",
            "secret_value",
            "token2",
            "AWS_SECRET_ACCESS_KEY",
            "AccountKey",
            "SharedAccessKey",
            "gitlabToken",
            "APIToken",
            "passwd",
            "userPass",
        ] {
            assert!(matches!(telling(name), Telling::Secret(_)), "{name}");
        }
    }

    #[test]
    fn names_that_later_calls_need_do_not_tell() {
        for name in [
            "nextToken",
            "next_token",
            "NextPageToken",
            "pageToken",
            "page_token",
            "continuationToken",
            "continuation-token",
            "cursor",
            "etag",
            "ETag",
            "id",
            "uuid",
            "token_type",
            "tokenType",
            "token_timeout",
            "max_tokens",
            "maxTokens",
            "total_tokens",
            "secret_name",
            "api_key_id",
            "access_key_id",
            "password_policy",
            "publicKey",
            "public_key",
            "primaryKey",
            "keyboard",
            "monkey",
            "sync_token",
            "syncToken",
            "deltaToken",
            "tokenizer",
            "compass",
            "author",
            "progressToken",
            "progress_token",
            "@odata.nextLink",
            "$skiptoken",
            "If-Match",
            "key_id",
            "expires_in",
        ] {
            assert!(!matches!(telling(name), Telling::Secret(_)), "{name}");
        }
    }
}
