//! What protects forms: nobody but a page of this kind can have a browser end a session.
//!
//! It knows nothing of the app's authentication, and any node may get a form that another one made.
//! So the proof is in the browser alone: a random cookie, and the same text in the form. Other sites
//! can have a browser send the cookie, but they cannot read it, and so they cannot put it into a
//! form. Browsers also say themselves where a request comes from, in `Sec-Fetch-Site`.

use axum::http::{HeaderMap, HeaderValue, Uri, header::COOKIE};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cookie::Cookie;
use subtle::ConstantTimeEq as _;

/// The text that a form and the browser's cookie must both have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormToken {
    text: String,
    /// Whether the browser has it already.
    is_known: bool,
    scheme: Scheme,
}

/// How the browser came to the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Why a form is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forged {
    #[error("the request comes from another site")]
    OtherSite,
    #[error("the form has not the token of this browser")]
    Token,
}

impl FormToken {
    /// Returns the token that the browser has, or else one of these random bytes.
    pub(super) fn of(headers: &HeaderMap, uri: &Uri, random: [u8; 16]) -> Self {
        let scheme = Scheme::of(headers, uri);
        let known = cookie(headers, scheme.cookie_name());
        let is_known = known.is_some();
        Self {
            text: known.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(random)),
            is_known,
            scheme,
        }
    }

    /// Returns what the form holds.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the cookie that the browser is to be given, if it has none.
    pub(super) fn set_cookie(&self) -> Option<HeaderValue> {
        if self.is_known {
            return None;
        }
        let secure = match self.scheme {
            Scheme::Http => "",
            Scheme::Https => "; Secure",
        };
        let (name, text) = (self.scheme.cookie_name(), &self.text);
        let cookie = format!("{name}={text}; Path=/; HttpOnly; SameSite=Strict{secure}");
        HeaderValue::try_from(cookie).ok()
    }
}

impl Scheme {
    /// Returns what a request came by. A proxy that ends HTTPS says so; one that does not costs the
    /// cookie its `Secure`, and nothing else.
    fn of(headers: &HeaderMap, uri: &Uri) -> Self {
        let forwarded = headers.get("x-forwarded-proto");
        let is_https = uri.scheme_str() == Some("https")
            || forwarded.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"https"));
        if is_https { Self::Https } else { Self::Http }
    }

    const fn cookie_name(self) -> &'static str {
        match self {
            Self::Http => "cluster-status-form",
            Self::Https => "__Host-cluster-status-form",
        }
    }
}

/// Checks that a form was made for the browser that sends it.
///
/// # Errors
///
/// When another site may have sent it.
pub(super) fn check(headers: &HeaderMap, uri: &Uri, token: &str) -> Result<(), Forged> {
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
    {
        return Err(Forged::OtherSite);
    }
    let known = cookie(headers, Scheme::of(headers, uri).cookie_name());
    let known = known.ok_or(Forged::Token)?;
    if bool::from(known.as_bytes().ct_eq(token.as_bytes())) {
        Ok(())
    } else {
        Err(Forged::Token)
    }
}

/// Returns the token in the cookie of this name, if it can be one.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let fields = headers.get_all(COOKIE).iter();
    let fields = fields.filter_map(|field| field.to_str().ok());
    let mut cookies = fields.flat_map(Cookie::split_parse).filter_map(Result::ok);
    let found = cookies.find(|cookie| cookie.name() == name)?;
    let is_token = URL_SAFE_NO_PAD
        .decode(found.value())
        .is_ok_and(|bytes| bytes.len() == 16);
    is_token.then(|| found.value().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AQEBAQEBAQEBAQEBAQEBAQ";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn uri() -> Uri {
        Uri::from_static("/")
    }

    #[test]
    fn browser_without_a_token_gets_one_and_keeps_it() {
        let token = FormToken::of(&HeaderMap::new(), &uri(), [1; 16]);
        assert_eq!(token.text(), TOKEN);
        let cookie = token.set_cookie().expect("it is new");
        let expected = format!("cluster-status-form={TOKEN}; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(cookie, expected);
        let known = headers(&[("cookie", "a=b; cluster-status-form=AQEBAQEBAQEBAQEBAQEBAQ")]);
        let again = FormToken::of(&known, &uri(), [2; 16]);
        assert_eq!(again.text(), TOKEN);
        assert_eq!(again.set_cookie(), None);
    }

    #[test]
    fn behind_https_no_other_host_can_set_the_cookie() {
        let https = headers(&[("x-forwarded-proto", "https")]);
        let token = FormToken::of(&https, &uri(), [1; 16]);
        let cookie = token.set_cookie().expect("it is new");
        let cookie = cookie.to_str().expect("plain");
        assert!(
            cookie.starts_with("__Host-cluster-status-form="),
            "{cookie}"
        );
        assert!(cookie.ends_with("; Secure"), "{cookie}");
        let unsafe_one = headers(&[
            ("x-forwarded-proto", "https"),
            ("cookie", "cluster-status-form=AQEBAQEBAQEBAQEBAQEBAQ"),
        ]);
        assert_eq!(check(&unsafe_one, &uri(), TOKEN), Err(Forged::Token));
    }

    #[test]
    fn form_is_taken_from_the_browser_that_it_was_made_for_alone() {
        let own = ("cookie", "cluster-status-form=AQEBAQEBAQEBAQEBAQEBAQ");
        assert_eq!(check(&headers(&[own]), &uri(), TOKEN), Ok(()));
        let same = headers(&[own, ("sec-fetch-site", "same-origin")]);
        assert_eq!(check(&same, &uri(), TOKEN), Ok(()));
        for wrong in ["", "AQEBAQEBAQEBAQEBAQEBAA", "AQEBAQEBAQEBAQEBAQEBAQEB"] {
            assert_eq!(check(&same, &uri(), wrong), Err(Forged::Token));
        }
        assert_eq!(check(&HeaderMap::new(), &uri(), ""), Err(Forged::Token));
        assert_eq!(check(&HeaderMap::new(), &uri(), TOKEN), Err(Forged::Token));
        for site in ["cross-site", "same-site", "none"] {
            let other = headers(&[own, ("sec-fetch-site", site)]);
            assert_eq!(check(&other, &uri(), TOKEN), Err(Forged::OtherSite));
        }
    }

    #[test]
    fn text_that_is_no_token_is_none() {
        for cookie in [
            "cluster-status-form=",
            "cluster-status-form=short",
            "cluster-status-form=\"><script>alert(1)</script>",
        ] {
            let known = headers(&[("cookie", cookie)]);
            assert_eq!(FormToken::of(&known, &uri(), [1; 16]).text(), TOKEN);
            assert_eq!(check(&known, &uri(), ""), Err(Forged::Token));
        }
    }
}
