//! What somebody meant who wrote a name that there is not.

/// The one of `known` that `written` is most like: the same but for capitals (templates of stacks write ECS's names with
/// one), cut off (`taskRole` of `taskRoleArn`), or a slip or two away. None when nothing is near.
pub fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = written.to_lowercase();
    known
        .iter()
        .map(|name| {
            let known = name.to_lowercase();
            let cut_off = lower.chars().count() > 3 && known.starts_with(&lower) && known != lower;
            (if cut_off { 1 } else { strsim::damerau_levenshtein(&lower, &known) }, *name)
        })
        .min()
        .filter(|(distance, _)| *distance <= written.chars().count() / 3)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognized_and_another_word_is_not() {
        let known = ["command", "environment", "environmentFiles", "name"];
        for (written, meant) in [
            ("comand", Some("command")),
            ("Environment", Some("environment")),
            ("enviromentFile", Some("environmentFiles")),
            ("nmae", Some("name")),
            ("environ", Some("environment")),
            ("privileged", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, &known), meant, "{written}");
        }
    }
}
