//! The built-in rules, as a table.
//!
//! Owns [`SHAPES`]: what well-known credentials look like. The idea: nearly every vendor gives its tokens a prefix and
//! a fixed alphabet, so a rule is a row (prefix, alphabet, shortest and longest rest, kind), found by one automaton
//! over all prefixes and checked by counting characters. What has no such shape is in `marks.rs` (private keys, JWTs,
//! addresses with passwords) or found by the name beside it (`context.rs`).
//!
//! Must not: hold a rule that fits identifiers, digests, etags or page tokens.

use Alphabet::{Alnum, Base64, Crypt, Dotted, Hex, Loud, Url};

use super::sieve::Fits;

/// Which characters a token is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// `0-9 a-f A-F`
    Hex,
    /// `0-9 A-Z`
    Loud,
    /// `0-9 A-Z a-z`
    Alnum,
    /// Alnum and `_ -`
    Url,
    /// Url and `. = ~`
    Dotted,
    /// Alnum and `+ / = _ -`
    Base64,
    /// Alnum and `. / $ , =`
    Crypt,
}

impl Alphabet {
    pub(super) const fn has(self, byte: u8) -> bool {
        match self {
            Hex => byte.is_ascii_hexdigit(),
            Loud => byte.is_ascii_digit() || byte.is_ascii_uppercase(),
            Alnum => byte.is_ascii_alphanumeric(),
            Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'=' | b'~'),
            Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-'),
            Crypt => byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/' | b'$' | b',' | b'=' | b'+'),
        }
    }
}

impl Alphabet {
    /// The same as a function.
    pub(super) fn fits(self) -> Fits {
        match self {
            Hex => |byte| Hex.has(byte),
            Loud => |byte| Loud.has(byte),
            Alnum => |byte| Alnum.has(byte),
            Url => |byte| Url.has(byte),
            Dotted => |byte| Dotted.has(byte),
            Base64 => |byte| Base64.has(byte),
            Crypt => |byte| Crypt.has(byte),
        }
    }
}

/// What a kind of token looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// How it begins, in exactly this case.
    pub(super) prefix: &'static str,
    /// What the rest is made of.
    pub(super) alphabet: Alphabet,
    /// Shortest rest.
    pub(super) least: usize,
    /// Longest rest; a longer run is something else.
    pub(super) most: usize,
    /// What markers call it.
    pub(super) kind: &'static str,
}

const fn shape(
    kind: &'static str,
    prefix: &'static str,
    alphabet: Alphabet,
    least: usize,
    most: usize,
) -> Shape {
    Shape { prefix, alphabet, least, most, kind }
}

/// What well-known credentials look like.
pub(super) const SHAPES: &[Shape] = &[
    // clouds
    shape("aws", "AKIA", Loud, 16, 16),
    shape("aws", "ASIA", Loud, 16, 16),
    shape("aws", "ABIA", Loud, 16, 16),
    shape("aws", "ACCA", Loud, 16, 16),
    shape("aws", "A3T", Loud, 17, 17),
    shape("bedrock", "ABSK", Base64, 109, 132),
    shape("aws", "bedrock-api-key-", Base64, 40, 4000),
    shape("google", "AIza", Url, 35, 35),
    shape("google", "GOCSPX-", Url, 24, 40),
    shape("google", "ya29.", Dotted, 20, 2000),
    shape("google", "1//0", Url, 30, 300),
    shape("alibaba", "LTAI", Alnum, 16, 26),
    shape("tencent", "AKID", Alnum, 32, 36),
    shape("digitalocean", "dop_v1_", Hex, 64, 64),
    shape("digitalocean", "doo_v1_", Hex, 64, 64),
    shape("digitalocean", "dor_v1_", Hex, 64, 64),
    shape("yandex", "t1.", Dotted, 60, 400),
    shape("yandex", "AQVN", Url, 35, 38),
    shape("yandex", "YCAJE", Url, 20, 20),
    shape("scaleway", "SCW", Loud, 17, 17),
    shape("fly", "fo1_", Url, 43, 43),
    shape("fly", "fm1r_", Base64, 60, 2000),
    shape("fly", "fm1a_", Base64, 60, 2000),
    shape("fly", "fm2_", Base64, 60, 2000),
    shape("heroku", "HRKU-", Url, 36, 80),
    shape("cloudflare", "v1.0-", Hex, 24, 24),
    shape("cloudflare", "cfut_", Alnum, 40, 60),
    shape("cloudflare", "cfat_", Alnum, 40, 60),
    shape("akamai", "akab-", Url, 30, 40),
    // source, packages, builds
    shape("github", "ghp_", Alnum, 36, 255),
    shape("github", "gho_", Alnum, 36, 255),
    shape("github", "ghu_", Alnum, 36, 255),
    shape("github", "ghs_", Alnum, 36, 255),
    shape("github", "ghr_", Alnum, 36, 255),
    shape("github", "github_pat_", Url, 22, 255),
    shape("gitlab", "glpat-", Dotted, 20, 310),
    shape("gitlab", "gldt-", Url, 20, 100),
    shape("gitlab", "glrt-", Dotted, 20, 100),
    shape("gitlab", "glrtr-", Dotted, 20, 100),
    shape("gitlab", "glcbt-", Url, 20, 100),
    shape("gitlab", "glptt-", Hex, 40, 40),
    shape("gitlab", "glft-", Url, 20, 100),
    shape("gitlab", "glimt-", Url, 25, 100),
    shape("gitlab", "glagent-", Url, 50, 100),
    shape("gitlab", "gloas-", Url, 64, 64),
    shape("gitlab", "glsoat-", Url, 20, 100),
    shape("gitlab", "glffct-", Url, 20, 100),
    shape("gitlab", "_gitlab_session=", Hex, 32, 32),
    shape("gitlab", "GR1348941", Url, 20, 60),
    shape("atlassian", "ATATT3", Base64, 50, 400),
    shape("atlassian", "ATCTT3", Base64, 50, 400),
    shape("bitbucket", "ATBB", Alnum, 28, 40),
    shape("npm", "npm_", Alnum, 36, 36),
    shape("pypi", "pypi-AgEI", Url, 50, 1000),
    shape("rubygems", "rubygems_", Hex, 48, 48),
    shape("nuget", "oy2", Alnum, 43, 43),
    shape("clojars", "CLOJARS_", Alnum, 60, 60),
    shape("docker", "dckr_pat_", Url, 27, 27),
    shape("docker", "dckr_oat_", Url, 27, 60),
    shape("jfrog", "AKCp", Alnum, 69, 69),
    shape("jfrog", "cmVmdGtuO", Alnum, 55, 55),
    shape("circleci", "CCIPAT_", Url, 40, 90),
    shape("buildkite", "bkua_", Hex, 40, 40),
    shape("sourcegraph", "sgp_", Hex, 40, 40),
    shape("sourcegraph", "sgp_", Url, 57, 57),
    shape("sourcegraph", "sgp_local_", Hex, 40, 40),
    shape("sonar", "squ_", Hex, 40, 40),
    shape("sonar", "sqp_", Hex, 40, 40),
    shape("sonar", "sqa_", Hex, 40, 40),
    shape("octopus", "API-", Loud, 25, 29),
    shape("harness", "pat.", Dotted, 50, 90),
    shape("harness", "sat.", Dotted, 50, 90),
    shape("infracost", "ico-", Alnum, 32, 32),
    shape("pulumi", "pul-", Hex, 40, 40),
    shape("prefect", "pnu_", Alnum, 36, 36),
    shape("netlify", "nfp_", Alnum, 36, 60),
    // models
    shape("anthropic", "sk-ant-", Url, 20, 200),
    shape("openai", "sk-proj-", Url, 20, 250),
    shape("openai", "sk-svcacct-", Url, 20, 250),
    shape("openai", "sk-admin-", Url, 20, 250),
    shape("openrouter", "sk-or-v1-", Hex, 64, 64),
    shape("api-key", "sk-", Url, 32, 250),
    shape("perplexity", "pplx-", Alnum, 32, 60),
    shape("groq", "gsk_", Alnum, 40, 80),
    shape("huggingface", "hf_", Alnum, 30, 60),
    shape("huggingface", "api_org_", Alnum, 30, 60),
    shape("replicate", "r8_", Alnum, 37, 40),
    shape("xai", "xai-", Alnum, 70, 100),
    // messages and mail
    shape("slack", "xoxb-", Url, 20, 250),
    shape("slack", "xoxp-", Url, 20, 250),
    shape("slack", "xoxa-", Url, 20, 250),
    shape("slack", "xoxr-", Url, 20, 250),
    shape("slack", "xoxs-", Url, 20, 250),
    shape("slack", "xoxo-", Url, 20, 250),
    shape("slack", "xoxe-", Url, 20, 250),
    shape("slack", "xoxe.xox", Url, 24, 300),
    shape("slack", "xapp-", Url, 20, 250),
    shape("slack", "xwfp-", Url, 20, 250),
    shape("slack", "hooks.slack.com/services/", Base64, 40, 60),
    shape("slack", "hooks.slack.com/workflows/", Base64, 40, 100),
    shape("slack", "hooks.slack.com/triggers/", Base64, 40, 100),
    shape("discord", "discord.com/api/webhooks/", Base64, 60, 120),
    shape("twilio", "SK", Hex, 32, 32),
    shape("sendgrid", "SG.", Dotted, 66, 66),
    shape("brevo", "xkeysib-", Url, 70, 90),
    shape("mailgun", "key-", Hex, 32, 32),
    shape("mailgun", "pubkey-", Hex, 32, 32),
    // money and shops
    shape("stripe", "sk_live_", Alnum, 10, 250),
    shape("stripe", "sk_test_", Alnum, 10, 250),
    shape("stripe", "sk_prod_", Alnum, 10, 250),
    shape("stripe", "rk_live_", Alnum, 10, 250),
    shape("stripe", "rk_test_", Alnum, 10, 250),
    shape("stripe", "rk_prod_", Alnum, 10, 250),
    shape("stripe", "whsec_", Base64, 24, 100),
    shape("square", "EAAA", Url, 22, 60),
    shape("square", "sq0atp-", Url, 22, 60),
    shape("square", "sq0csp-", Url, 30, 60),
    shape("shopify", "shpat_", Hex, 32, 32),
    shape("shopify", "shpca_", Hex, 32, 32),
    shape("shopify", "shppa_", Hex, 32, 32),
    shape("shopify", "shpss_", Hex, 32, 32),
    shape("flutterwave", "FLWSECK_TEST-", Url, 12, 40),
    shape("flutterwave", "FLWSECK-", Url, 12, 40),
    shape("lob", "live_", Hex, 35, 35),
    shape("lob", "test_", Hex, 35, 35),
    shape("gocardless", "live_", Dotted, 40, 40),
    shape("duffel", "duffel_test_", Dotted, 43, 43),
    shape("duffel", "duffel_live_", Dotted, 43, 43),
    shape("easypost", "EZAK", Alnum, 54, 54),
    shape("easypost", "EZTK", Alnum, 54, 54),
    shape("shippo", "shippo_live_", Hex, 40, 40),
    shape("shippo", "shippo_test_", Hex, 40, 40),
    shape("plaid", "access-sandbox-", Url, 36, 36),
    shape("plaid", "access-development-", Url, 36, 36),
    shape("plaid", "access-production-", Url, 36, 36),
    shape("facebook", "EAA", Alnum, 80, 400),
    // observation, data, secrets
    shape("vault", "hvs.", Url, 24, 300),
    shape("vault", "hvb.", Url, 100, 400),
    shape("vault", "hvr.", Url, 24, 300),
    shape("doppler", "dp.pt.", Alnum, 40, 50),
    shape("doppler", "dp.ct.", Alnum, 40, 50),
    shape("doppler", "dp.st.", Dotted, 40, 90),
    shape("doppler", "dp.sa.", Alnum, 40, 50),
    shape("doppler", "dp.scim.", Alnum, 40, 50),
    shape("doppler", "dp.audit.", Alnum, 40, 50),
    shape("infisical", "st.", Dotted, 60, 120),
    shape("1password", "ops_eyJ", Base64, 200, 4000),
    shape("age", "AGE-SECRET-KEY-1", Loud, 58, 58),
    shape("grafana", "glc_", Base64, 32, 400),
    shape("grafana", "glsa_", Url, 41, 41),
    shape("newrelic", "NRAK-", Alnum, 27, 27),
    shape("newrelic", "NRJS-", Hex, 19, 19),
    shape("newrelic", "NRII-", Url, 32, 32),
    shape("newrelic", "NRRA-", Hex, 42, 42),
    shape("dynatrace", "dt0c01.", Dotted, 89, 89),
    shape("dynatrace", "dt0s01.", Dotted, 80, 95),
    shape("sentry", "sntryu_", Hex, 64, 64),
    shape("databricks", "dapi", Hex, 32, 32),
    shape("planetscale", "pscale_tkn_", Dotted, 32, 64),
    shape("planetscale", "pscale_pw_", Dotted, 32, 64),
    shape("planetscale", "pscale_oauth_", Dotted, 32, 64),
    shape("supabase", "sbp_", Hex, 40, 40),
    shape("supabase", "sb_secret_", Url, 20, 60),
    shape("openshift", "sha256~", Url, 43, 43),
    shape("launchdarkly", "sdk-", Url, 36, 36),
    shape("statsig", "secret-", Alnum, 40, 50),
    // passwords as systems keep them
    shape("password-hash", "$2a$", Crypt, 56, 56),
    shape("password-hash", "$2b$", Crypt, 56, 56),
    shape("password-hash", "$2y$", Crypt, 56, 56),
    shape("password-hash", "$5$", Crypt, 45, 90),
    shape("password-hash", "$6$", Crypt, 88, 140),
    shape("password-hash", "$y$", Crypt, 50, 140),
    shape("password-hash", "$1$", Crypt, 24, 32),
    shape("password-hash", "$apr1$", Crypt, 24, 32),
    shape("password-hash", "$argon2i", Crypt, 50, 300),
    shape("password-hash", "pbkdf2_sha256$", Crypt, 50, 120),
    // offices and tools
    shape("linear", "lin_api_", Alnum, 40, 48),
    shape("linear", "lin_oauth_", Alnum, 40, 64),
    shape("notion", "ntn_", Alnum, 40, 50),
    shape("notion", "secret_", Alnum, 43, 43),
    shape("figma", "figd_", Url, 38, 60),
    shape("postman", "PMAK-", Url, 59, 59),
    shape("readme", "rdme_", Alnum, 70, 70),
    shape("typeform", "tfp_", Dotted, 59, 59),
    shape("contentful", "CFPAT-", Url, 43, 43),
    shape("dropbox", "sl.", Url, 130, 160),
    shape("frameio", "fio-u-", Dotted, 64, 64),
    shape("adobe", "p8e-", Alnum, 32, 32),
    shape("intra42", "s-s4t2", Url, 60, 80),
    shape("defined", "dnkey-", Dotted, 70, 90),
    shape("settlemint", "sm_pat_", Alnum, 16, 16),
    shape("settlemint", "sm_sat_", Alnum, 16, 16),
    shape("settlemint", "sm_aat_", Alnum, 16, 16),
    shape("bartizan", "bz_", Url, 48, 64),
];
