use super::parse_tag;

#[test]
fn a_tag_is_what_git_takes_as_one() {
    for good in ["v2.1.0", "RALLY-V2_1_0_0-RELEASE", "release/2.1", "sprint12", "v1.0.0+build.5"] {
        assert!(parse_tag(good).is_ok(), "{good}");
    }
    for bad in ["", "v 1", "refs/tags/v1", "a..b", "v1.", "-v1", "a//b", "x.lock", "a@{b", "@", ".a", "a\nb", "v~1"] {
        assert!(parse_tag(bad).is_err(), "{bad}");
    }
}
