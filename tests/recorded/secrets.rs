//! No secret that a test has planted is printed or recorded anywhere.

use crate::recorded;

/// Passwords of test servers and secret keys of test runs have this in them; GitHub's tokens are these two kinds.
const PLANTED: [&str; 3] = ["planted-", "ghp_world", "ghs_world"];

#[test]
fn no_secret_of_any_test_was_printed_or_written_to_a_receipt() {
    let Some(texts) = recorded("printed-") else { return };
    let lines = texts.iter().map(|text| text.lines().count()).sum::<usize>();
    assert!(lines > 5_000, "only {lines} lines were recorded: were all end-to-end tests run?");
    let told: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| PLANTED.iter().any(|secret| line.contains(secret)))
        .collect();
    assert!(told.is_empty(), "secrets were told:\n{}", told.join("\n"));
}
