//! A token request, read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use serde::Deserialize;
use url::form_urlencoded;

use super::refusal::Refusal;

/// The longest form that is read.
const MAX_FORM_BYTES: usize = 64 * 1024;

/// The longest audience that is put into a token.
const MAX_AUDIENCE_BYTES: usize = 512;

/// A well-formed request for a token by client credentials.
pub(super) struct TokenRequest {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    /// What goes into claim `aud`.
    pub(super) audience: String,
    /// Whether the client says that it can handle claims challenges (client capability `CP1`).
    pub(super) handles_claims: bool,
}

impl TokenRequest {
    /// Reads form and headers. Form fields that are not known are ignored.
    pub(super) fn parse(request: &Request<Bytes>) -> Result<Self, Refusal> {
        let fields = Fields::parse(request)?;
        match fields.grant_type.as_deref() {
            None => return Err(Refusal::Missing("grant_type")),
            Some("client_credentials") => {}
            Some(_) => return Err(Refusal::GrantType),
        }
        let audience = match (fields.resource, fields.scope) {
            (Some(resource), _) => resource,
            // One suffix only: what az asks for, `https://host//.default`, is for `https://host/`.
            (None, Some(scope)) => scope.strip_suffix("/.default").ok_or(Refusal::Scope)?.to_owned(),
            (None, None) => return Err(Refusal::Missing("scope")),
        };
        let legal =
            (1..=MAX_AUDIENCE_BYTES).contains(&audience.len()) && audience.bytes().all(|b| b.is_ascii_graphic());
        if !legal {
            return Err(Refusal::Scope);
        }
        let (client_id, client_secret) = match (basic(request)?, fields.client_secret) {
            (Some(_), Some(_)) => return Err(Refusal::Form),
            (Some((id, secret)), None) => {
                if fields.client_id.is_some_and(|other| other != id) {
                    return Err(Refusal::Form);
                }
                (id, secret)
            }
            (None, secret) => {
                let id = fields.client_id.ok_or(Refusal::Missing("client_id"))?;
                (id, secret.ok_or(Refusal::NoSecret)?)
            }
        };
        let handles_claims = match fields.claims {
            Some(claims) => handles_claims(&claims).ok_or(Refusal::Form)?,
            None => false,
        };
        Ok(Self { client_id, client_secret, audience, handles_claims })
    }
}

#[derive(Default)]
struct Fields {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
    claims: Option<String>,
}

impl Fields {
    fn parse(request: &Request<Bytes>) -> Result<Self, Refusal> {
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let body = request.body();
        if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") || body.len() > MAX_FORM_BYTES {
            return Err(Refusal::Form);
        }
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match name.as_ref() {
                "grant_type" => &mut fields.grant_type,
                "client_id" => &mut fields.client_id,
                "client_secret" => &mut fields.client_secret,
                "scope" => &mut fields.scope,
                "resource" => &mut fields.resource,
                "claims" => &mut fields.claims,
                _ => continue,
            };
            if field.replace(value.into_owned()).is_some() {
                return Err(Refusal::Form);
            }
        }
        Ok(fields)
    }
}

/// Client id and secret from an `Authorization: Basic` header. They are not percent-decoded: the ids and secrets made
/// here have no character that would be encoded.
fn basic(request: &Request<Bytes>) -> Result<Option<(String, String)>, Refusal> {
    let Some(header) = request.headers().get(AUTHORIZATION) else { return Ok(None) };
    let decoded = || {
        let (scheme, rest) = header.to_str().ok()?.split_once(' ')?;
        let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        scheme.eq_ignore_ascii_case("basic").then(|| (id.to_owned(), secret.to_owned()))
    };
    decoded().map(Some).ok_or(Refusal::Form)
}

/// Looks for `{"access_token":{"xms_cc":{"values":["CP1"]}}}`; `None` if this is no claims request at all.
fn handles_claims(claims: &str) -> Option<bool> {
    #[derive(Deserialize)]
    struct Claims {
        access_token: Option<AccessToken>,
    }
    #[derive(Deserialize)]
    struct AccessToken {
        xms_cc: Option<Capabilities>,
    }
    #[derive(Deserialize)]
    struct Capabilities {
        #[serde(default)]
        values: Vec<String>,
    }
    let claims: Claims = serde_json::from_str(claims).ok()?;
    let asked = claims.access_token.and_then(|token| token.xms_cc);
    Some(asked.is_some_and(|asked| asked.values.iter().any(|value| value.eq_ignore_ascii_case("CP1"))))
}
