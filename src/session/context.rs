//! What contexts are called.

/// Bytes of a context's name at most.
pub(crate) const MAX_CONTEXT_LENGTH: usize = 64;

/// Returns whether a layer can have this context, the default one included. A malicious peer may send
/// sessions of any other, and [maps](super::app_map) are of others.
pub(crate) fn is_of_layer(context: &str) -> bool {
    context.is_empty() || (is_token(context) && context.len() <= MAX_CONTEXT_LENGTH)
}

/// Returns whether a text may be the name of a cookie.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_of_a_layer_is_none_or_can_be_part_of_a_cookies_name() {
        let longest = "x".repeat(MAX_CONTEXT_LENGTH);
        assert!(
            ["", "shop", "sign-on", &longest]
                .into_iter()
                .all(is_of_layer)
        );
        let too_long = format!("{longest}x");
        for foreign in ["map:flags", "a b", "\n", "ü", &too_long] {
            assert!(!is_of_layer(foreign), "{foreign:?}");
        }
    }
}
