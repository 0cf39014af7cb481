//! What this program was built from, for records.

/// The commit that the program was built from, in hexadecimal; empty where it was not built in a git checkout.
/// Changes that were not committed do not show.
pub fn commit() -> &'static str {
    option_env!("VGGKIT_COMMIT").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn commit_is_hexadecimal_or_absent() {
        let commit = super::commit();
        assert!(commit.is_empty() || (commit.len() >= 40 && commit.chars().all(|c| c.is_ascii_hexdigit())), "{commit}");
    }
}
